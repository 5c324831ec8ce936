"""A computer of its own that systemd runs: the tree of `scripts/systemd-tree`, booted by systemd-nspawn.

It has this computer's network and Docker engine, and forgets at its end what was written. It has the wheel of this clone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import pytest
from tests.integration.docker_command import a_name, engine_socket
from tests.integration.waiting import eventually

__all__ = ["BIN", "Computer", "Ran", "a_computer"]

ROOT: Final = Path(__file__).parents[2]
TREE: Final = ROOT / "build" / "systemd" / "tree"
BIN: Final = "/opt/worker-orchestrator/bin"
_PATH: Final = f"{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BOOT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Computer:
    """`first`: the process id that its systemd has out here."""

    first: int

    def words(self, *command: str) -> list[str]:
        """What runs this command in there, with the program on its PATH."""
        enter = ("nsenter", "--target", str(self.first), "--mount", "--uts", "--ipc", "--pid", "--root", "--wd")
        environ = (f"PATH={_PATH}", "HOME=/root", "LC_ALL=C.UTF-8", f"TERM={os.environ.get('TERM', 'xterm')}")
        return [*enter, "env", "--ignore-environment", *environ, *command]

    def run(self, *command: str, given: str = "", check: bool = True, timeout_s: float = 90.0) -> Ran:
        """As root, in its root folder. `given`: standard input. Fails if it does, unless `check` is False."""
        done = subprocess.run(
            self.words(*command), input=given, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        ran = Ran(done.returncode, done.stdout, done.stderr)
        assert not (check and ran.code), f"{command} ended with {ran.code}: {ran.out}{ran.err}"
        return ran

    def shell(self, script: str) -> str:
        """What a script prints. It ends where one of its commands fails."""
        return self.run("bash", "-euo", "pipefail", "-c", script).out.strip()

    def write(self, path: str, text: str) -> None:
        self.run("tee", path, given=text)


@contextmanager
def a_computer(folder: Path) -> Iterator[Computer]:
    """One that runs while the block does. `folder`: for the wheel and the log of its start."""
    if not TREE.is_dir() or os.geteuid() != 0:
        pytest.fail(
            f"There is no tree in {TREE}, or you are not root: run `make systemd-check` as root.", pytrace=False
        )
    words = ["wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, timeout=120)
    options = ("--quiet", "--boot", "--register=no", "--keep-unit", "--volatile=overlay", "--console=pipe")
    binds = (f"--bind={engine_socket()}:/run/docker.sock", f"--bind-ro={folder}:/mnt")
    boot = ["systemd-nspawn", *options, *binds, f"--directory={TREE}", f"--machine={a_name('systemd')}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(boot, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield _set_up(process, folder)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.terminate()  # now without asking
            process.wait(30)


def _set_up(process: subprocess.Popen[bytes], folder: Path) -> Computer:
    def first() -> int:
        assert process.poll() is None, f"it did not start:\n{(folder / 'log').read_text(errors='replace')}"
        return next((it.pid for it in psutil.Process(process.pid).children() if it.name() == "systemd"), 0)

    computer = Computer(eventually(first, "its systemd is there", within_s=_BOOT_S))

    def runs() -> bool:
        return computer.run("systemctl", "is-system-running", check=False).out.strip() in {"running", "degraded"}

    eventually(runs, "it has booted", within_s=_BOOT_S)
    engine = Path(engine_socket()).stat()
    assert engine.st_mode & 0o060 == 0o060, "the engine's socket is not for a group"
    computer.run("groupadd", "--non-unique", "--gid", str(engine.st_gid), "docker")
    computer.shell(f"{BIN}/pip install --quiet --no-deps --no-index /mnt/*.whl")
    return computer
