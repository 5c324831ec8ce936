"""The real service as a process of its own: with a state directory, an API port and host ports that nobody else uses."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.integration.calling import Answer, call
from tests.integration.docker_command import EXAMPLE, clean_up, owned
from tests.integration.waiting import PortBlock, eventually

__all__ = ["Running", "a_service", "at_hand", "environment", "orchestrator"]

_MODULE: Final = (sys.executable, "-m", "worker_orchestrator")
_EXIT_S: Final = 20.0
_LATE_S: Final = 1.0
at_hand: Final[list[Running]] = []
"""The services that some test uses now: when it fails, their logs are shown."""


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRATOR_")}
    return {**kept, **(more or {})}


@dataclass(slots=True)
class Running:
    """One service. `start` and `stop` it as often as you like; `close` removes all that it made."""

    folder: Path
    flags: tuple[str, ...] = ()
    docker_host: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    ports: PortBlock = field(default_factory=PortBlock.claim)
    process: subprocess.Popen[bytes] | None = None

    # its life

    @property
    def state_dir(self) -> Path:
        return self.folder / "state"

    @property
    def command_flags(self) -> list[str]:
        """What every command on this state directory needs."""
        named = ["--docker-host", self.docker_host] if self.docker_host else []
        return ["--state-dir", str(self.state_dir), *named]

    def start(self, *, command: tuple[str, ...] = _MODULE, await_answer: bool = True) -> Running:
        assert self.process is None, "it runs"
        ports = ("--port", self.ports.api, "--first-port", self.ports.first, "--last-port", self.ports.last)
        words = [*command, "serve", *map(str, ports), "--image", EXAMPLE, *self.command_flags, *self.flags]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=environment(self.variables),
            )
        if await_answer:
            eventually(self._answers_or_ended, "the service answers", within_s=30)
            assert self.process.poll() is None, f"the service ended with {self.process.poll()}:\n{self.log}"
        return self

    def _answers_or_ended(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            return True
        try:
            return self.get("/", timeout_s=5).status == 200
        except OSError:
            return False

    @property
    def log_file(self) -> Path:
        return self.folder / "log"

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    @property
    def pid(self) -> int:
        assert self.process is not None, "it does not run"
        return self.process.pid

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal and return its exit code."""
        assert self.process is not None, "it does not run"
        self.process.send_signal(how)
        return self.wait()

    def wait(self) -> int:
        assert self.process is not None, "it does not run"
        code = self.process.wait(_EXIT_S)
        self.process = None
        return code

    def close(self) -> None:
        if self.process is not None:
            self.end(signal.SIGKILL)
        if self.has_store:
            self._await_late_creates()
            clean_up(self.owner, host=self.docker_host)
        self.ports.close()

    def _await_late_creates(self) -> None:
        """What it was just creating may appear a moment after its end, and nobody would remove it then."""
        coming = {row[0] for row in self.rows("SELECT id FROM machine WHERE state = 'starting' AND project IS NULL")}
        deadline = time.monotonic() + _LATE_S
        while coming - set(self.containers()) and time.monotonic() < deadline:
            time.sleep(0.05)

    # its API

    def get(self, path: str, headers: Mapping[str, str | None] | None = None, *, timeout_s: float = 45.0) -> Answer:
        return call(self.ports.api, "GET", path, None, headers, timeout_s=timeout_s)

    def delete(self, name: str) -> Answer:
        return call(self.ports.api, "DELETE", f"/{name}")

    def post_destroy(self, container_id: str) -> Answer:
        return call(self.ports.api, "POST", "/destroy", {"containerId": container_id})

    def assign(self, project: str) -> Any:
        """The reply to an assign that must succeed."""
        answer = self.get(f"/{project}")
        assert answer.status == 200, f"{answer.status} {answer.text}"
        return answer.json

    def release(self, name: str) -> None:
        answer = self.delete(name)
        assert answer.status == 200, f"{answer.status} {answer.text}"

    def destroy(self, name: str) -> None:
        answer = self.post_destroy(name)
        assert answer.status == 200, f"{answer.status} {answer.text}"

    def machines(self) -> list[Any]:
        answer = self.get("/machines/list")
        assert answer.status == 200, f"{answer.status} {answer.text}"
        return list(answer.json["machines"])

    def idle(self) -> list[str]:
        return [machine["id"] for machine in self.machines() if not machine["isUsed"]]

    def machine_of(self, project: str) -> Any | None:
        return next((m for m in self.machines() if m["assignedProject"] == project), None)

    def await_idle(self, count: int, *, within_s: float = 30.0) -> list[str]:
        """The ids of the idle machines, as soon as there are exactly so many."""
        return eventually(
            lambda: idle if len(idle := self.idle()) == count else [], f"{count} idle machines", within_s=within_s
        )

    # its store and its containers

    @property
    def has_store(self) -> bool:
        try:
            return bool(self.rows("SELECT 1 FROM meta WHERE key = 'owner'"))
        except sqlite3.DatabaseError:  # none yet, or none any more
            return False

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What its database holds, seen from outside."""
        with closing(sqlite3.connect(f"file:{self.state_dir}/orchestrator.db?mode=ro", uri=True, timeout=10)) as db:
            return db.execute(query).fetchall()

    @property
    def owner(self) -> str:
        return str(self.rows("SELECT value FROM meta WHERE key = 'owner'")[0][0])

    def containers(self) -> list[str]:
        """Names of its containers, in any state."""
        return owned(self.owner, host=self.docker_host)


@contextmanager
def a_service(folder: Path, *flags: str, docker_host: str = "", start: bool = True) -> Iterator[Running]:
    """A service that runs while the block does, and leaves nothing behind."""
    folder.mkdir(parents=True, exist_ok=True)
    service = Running(folder, flags, docker_host)
    at_hand.append(service)
    try:
        yield service.start() if start else service
    finally:
        at_hand.remove(service)
        service.close()


def orchestrator(*words: str, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `orchestrator WORDS` to its end."""
    return subprocess.run(
        [*_MODULE, *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(env),
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )
