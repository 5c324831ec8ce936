"""A page as its reader follows it: writes the files that it shows and runs its commands, in order, in one shell.

So a page and its test cannot differ. What a page must keep to:

* A block below a line that ends with "`NAME`:" is the content of that file.
* In a `console` block, a line that begins with "$ " is a command, which must end with exit code 0. Lines below it are what
  it prints, where "…" stands for anything, and each machine id and each port of a worker for every other. A program that
  serves until its end is left running, and "^C" ends the one that was started last.
* No other block may stand on the page.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.integration.docker_command import EXAMPLE, clean_up, owned
from tests.integration.running import environment
from tests.integration.waiting import PortBlock, eventually

__all__ = ["ROOT", "Reader", "a_reader"]

ROOT: Final = Path(__file__).parents[2]
_BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAME: Final = re.compile(r"`([\w./-]+)`:$")
_MACHINE: Final = re.compile(r"worker-\d{13}-[a-z0-9]{9}")
_COMMAND_S: Final = 90.0
_END_S: Final = 20.0
_LATE_S: Final = 1.0
SERVING: Final = {
    "orchestrator serve": "The pool is at",
    "make run": "The pool is at",
    "node server.mjs": "listening",
    "nginx -e stderr": "start worker processes",
}
"""Programs that go on until they are ended, and what each prints as soon as it serves."""


@dataclass(slots=True)
class Reader:
    """One reader with a folder, ports and a shell of their own."""

    folder: Path
    ports: PortBlock
    shell: subprocess.Popen[bytes]
    replacing: Mapping[str, str] = field(default_factory=dict)
    """Words of the page that must be others here. Each must occur."""
    serving: list[tuple[int, Path]] = field(default_factory=list)
    replaced: set[str] = field(default_factory=set)

    def follow(self, page: Path) -> None:
        """Do all that a page says. Fails with the command that did not do what the page says, and with what it printed."""
        for language, name, content in self._blocks(page):
            if language == "console":
                self._run_all(content)
            else:
                self._write(name, content)
        assert self.replaced == set(self.replacing), f"{page} has no {set(self.replacing) - self.replaced}"

    def write_files_of(self, page: Path) -> None:
        """Write the files that a page shows, and run nothing."""
        for language, name, content in self._blocks(page):
            if language != "console":
                self._write(name, content)

    def _blocks(self, page: Path) -> Iterator[tuple[str, str, str]]:
        """Language, name of the file, content."""
        text = page.read_text(encoding="utf-8")
        assert _BLOCK.search(text), f"{page} has no block"
        for block in _BLOCK.finditer(text):
            name = _NAME.search(text[: block.start()].rstrip())
            assert name or block[1] == "console", f"{page}: a block of {block[1]} without the name of its file"
            yield block[1], name[1] if name else "", self.adapted(block[2])

    def _write(self, name: str, content: str) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")

    def adapted(self, text: str) -> str:
        """The text with the reader's own ports of service and first worker, an image that exists, and what replaces."""
        text = re.sub(r"\b9092\b", str(self.ports.api), text)
        text = re.sub(r"\b9093\b", str(self.ports.first), text).replace("my/worker:latest", EXAMPLE)
        for word, own in self.replacing.items():
            if word in text:
                self.replaced.add(word)
                text = text.replace(word, own)
        return text

    def _run_all(self, block: str) -> None:
        for step in re.split(r"^(?=\$ |\^C$)", block, flags=re.MULTILINE):
            if step.strip() == "^C":
                self.interrupt()
                continue
            assert step.startswith("$ ") or not step, f"neither a command nor its output: {step}"
            if not step:
                continue
            command, _, shown = step.removeprefix("$ ").partition("\n")
            self.run(command, shown.strip())

    def run(self, command: str, shown: str = "", *, given: str = "/dev/null") -> str:
        """Run one command, with this file as its input. What it prints must be what is shown, if anything is. Returns it."""
        serves = next((said for start, said in SERVING.items() if f"{start} " in f"{command} "), None)
        if serves is not None:
            self._serve(command, serves)
            return ""
        output = self.folder / ".output"
        (self.folder / ".command").write_text(command)
        code = self._tell(f'eval "$(cat {self.folder}/.command)" <{given} >{output} 2>&1; echo $?')
        said = output.read_text(errors="replace").strip()
        assert code == 0, f"`{command}` ended with {code}:\n{said}\n{self.logs()}"
        if shown:
            expected = re.escape(self.alike(shown)).replace("…", ".*")
            assert re.fullmatch(expected, self.alike(said)), (
                f"`{command}` printed\n{said}\nThe page shows\n{shown}\n{self.logs()}"
            )
        return said

    def alike(self, printed: str) -> str:
        """The same for all machines and their ports: which one a project gets is not for a page to say."""
        printed = _MACHINE.sub("worker-ID", printed)
        ours = range(self.ports.first, self.ports.last + 1)
        return re.sub(r"\d+", lambda number: "PORT" if int(number[0]) in ours else number[0], printed)

    def _serve(self, command: str, said: str) -> None:
        log = self.folder / f".log-{len(list(self.folder.glob('.log-*')))}"
        log.touch()
        script = log.with_name(log.name.replace("log", "command"))
        script.write_text(command)
        pid = self._tell(f"setsid bash {script} </dev/null >{log} 2>&1 & echo $!")
        self.serving.append((pid, log))
        eventually(
            lambda: said in log.read_text(errors="replace") or not _is_there(pid),
            f"{command} serves",
            within_s=_COMMAND_S,
        )
        assert _is_there(pid), f"`{command}` ended:\n{log.read_text(errors='replace')}"

    def _tell(self, line: str) -> int:
        """Give the shell one line, and return the number that it prints."""
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        self.shell.stdin.write(f"{line}\n".encode())
        self.shell.stdin.flush()
        ready, _, _ = select.select([self.shell.stdout], [], [], _COMMAND_S)
        assert ready, f"not within {_COMMAND_S:g} s: {(self.folder / '.command').read_text()}\n{self.logs()}"
        return int(self.shell.stdout.readline())

    def interrupt(self) -> None:
        """Ctrl-C for what was started last."""
        pid, _ = self.serving.pop()
        _end(pid, signal.SIGINT)

    def logs(self) -> str:
        return "\n".join(f"{log.name}:\n{log.read_text(errors='replace')[-4000:]}" for _, log in self.serving)

    def close(self) -> None:
        for pid, _ in reversed(self.serving):
            _end(pid, signal.SIGTERM)
        self.shell.communicate(timeout=10)
        for database in self.folder.rglob("orchestrator.db"):
            _remove_containers(database)
        self.ports.close()


def _remove_containers(database: Path) -> None:
    """Those of the service that this database belongs to. One that was just being created may appear a moment later."""
    with closing(sqlite3.connect(database)) as opened:
        (owner,) = opened.execute("SELECT value FROM meta WHERE key = 'owner'").fetchone()
        coming = {row[0] for row in opened.execute("SELECT id FROM machine WHERE state = 'starting'")}
    deadline = time.monotonic() + _LATE_S
    while coming - set(owned(owner)) and time.monotonic() < deadline:
        time.sleep(0.05)
    clean_up(owner)


def _is_there(pid: int) -> bool:
    """Whether it runs. Its shell may not have noticed its end yet."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _end(group: int, how: signal.Signals) -> None:
    """End a program that serves, with all that it started; by force if it takes too long."""
    deadline = time.monotonic() + _END_S
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, how)
        while _is_there(group) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(group, signal.SIGKILL)


@contextmanager
def a_reader(folder: Path, *, shell: tuple[str, ...] = ("bash", "--norc"), **more: str) -> Iterator[Reader]:
    """A reader in this folder, whose shell has `more` variables. At its end nothing is left of what it started."""
    ports = PortBlock.claim()
    (folder / ".curlrc").write_text("no-progress-meter\n")  # as on a terminal
    given = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "ORCHESTRATOR_STATE_DIR": str(folder / "state"),
        "ORCHESTRATOR_PORT": str(ports.api),
        "ORCHESTRATOR_FIRST_PORT": str(ports.first),
        "ORCHESTRATOR_LAST_PORT": str(ports.last),
        "ORCHESTRATOR_URL": f"http://localhost:{ports.api}",
        "ORCHESTRATOR_MIN_IDLE": "1",
        "npm_config_cache": str(ROOT / "build" / "recipes" / "npm"),
        "npm_config_prefer_offline": "true",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "NO_COLOR": "1",
        "CURL_HOME": str(folder),
        **more,
    }
    process = subprocess.Popen(
        shell,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=folder,
        env=environment(given),
        start_new_session=True,
    )
    reader = Reader(folder, ports, process)
    try:
        yield reader
    finally:
        reader.close()
