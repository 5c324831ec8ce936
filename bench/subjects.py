"""The processes that are measured: the service, the Express service, an empty server. Each ends with its `with` block."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import psutil

__all__ = [
    "BUILD",
    "IMAGE",
    "PATHS",
    "ROOT",
    "Subject",
    "ask",
    "empty",
    "express",
    "free_port",
    "in_memory",
    "own_folder",
    "running",
    "service",
    "until",
]

ROOT: Final = Path(__file__).parents[1]
BUILD: Final = ROOT / "build" / "bench"
IMAGE: Final = "worker-orchestrator-example:latest"
EXPRESS: Final = ROOT / "bench" / "peers" / "express"
PATHS: Final = {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
_LAST_CHARS: Final = 3000
_STOP_S: Final = 30.0
_MIB: Final = 2**20


def until(holds: Callable[[], bool], what: str, within_s: float, pause_s: float = 0.002) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within_s:g} s: {what}")
        time.sleep(pause_s)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, bytes]:
    """One request on a connection of its own: status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Host": "localhost", "Content-Type": "application/json"})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


@dataclass(slots=True)
class Subject:
    """One process that answers HTTP on a port of 127.0.0.1."""

    name: str
    port: int
    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self, *, await_answer: bool = True, within_s: float = 120.0) -> None:
        log: IO[bytes]
        with (self.folder / f"{self.name}.log").open("ab") as log:
            kept = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRATOR_")}
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**kept, **self.environment},
            )
        if await_answer:
            until(self.is_listening, f"{self.name} listens", within_s)

    def is_listening(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended: {self.log[-2000:]}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def log(self) -> str:
        path = self.folder / f"{self.name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    # what it uses

    @property
    def _seen(self) -> psutil.Process:
        assert self.process is not None, f"{self.name} does not run"
        return psutil.Process(self.process.pid)

    def memory_mib(self) -> float:
        return float(self._seen.memory_info().rss) / _MIB

    def cpu_s(self) -> float:
        times = self._seen.cpu_times()
        return float(times.user + times.system)

    # the service's own routes

    def machines(self) -> list[Any]:
        status, body = ask(self.port, "GET", "/machines/list")
        assert status == 200, body
        return list(json.loads(body)["machines"])

    def idle(self) -> int:
        return sum(not machine["isUsed"] for machine in self.machines())

    def parked(self) -> int:
        """How many machines are paused until somebody needs them."""
        status, body = ask(self.port, "GET", "/v1/machines?state=parked&limit=1000")
        assert status == 200, body
        return len(json.loads(body)["machines"])

    def await_idle(self, count: int, within_s: float = 600.0) -> None:
        until(lambda: self.idle() >= count, f"{count} idle machines", within_s, pause_s=0.05)


@contextmanager
def own_folder(name: str) -> Iterator[Path]:
    """A folder on the disk of the build: a temporary folder may be in memory, where a commit costs nothing."""
    BUILD.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=BUILD))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def empty(*, stores: bool = False) -> Iterator[Subject]:
    """The empty server. With `stores` it makes one commit for each request."""
    with own_folder("empty") as folder:
        port = free_port()
        command = [sys.executable, "-m", "bench.empty_server", str(port)]
        database = [str(folder / "bare.db")] if stores else []
        yield from running(Subject("empty", port, [*command, *database], folder, PATHS))


@contextmanager
def express(machines: int) -> Iterator[Subject]:
    home = BUILD / "peers" / "express"
    if not (home / "node_modules" / "express").exists() or not _is_current(home):
        home.mkdir(parents=True, exist_ok=True)
        for file in ("package.json", "server.js"):
            shutil.copy(EXPRESS / file, home)
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=home, check=True)
    with own_folder("express") as folder:
        port = free_port()
        command = ["node", str(home / "server.js"), str(port), str(machines)]
        yield from running(Subject("express", port, command, folder, {"NODE_ENV": "production"}))


def _is_current(home: Path) -> bool:
    return all((home / name).read_bytes() == (EXPRESS / name).read_bytes() for name in ("package.json", "server.js"))


def _users_python() -> str:
    """The Python of an environment that has what a user's has: the tools of the tests are loaded where they are there."""
    home, wanted = BUILD / "installed", (ROOT / "pyproject.toml").read_bytes()
    stamp, python = home / "pyproject.toml", str(home / "bin" / "python")
    if not stamp.exists() or stamp.read_bytes() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--editable", str(ROOT)], check=True)
        stamp.write_bytes(wanted)
    return python


@contextmanager
def service(*flags: str, machines: int = 0, start: bool = True, as_users: bool = False) -> Iterator[Subject]:
    """The service on real Docker, with exactly this many idle machines, or as the flags say if 0. Containers end with it.

    `as_users`: installed as users install it, and not as its developers do.
    """
    sizes = ("--min-idle", str(machines), "--max-machines", str(machines)) if machines else ()
    with own_folder("service") as folder:
        port = free_port()
        common = ["--state-dir", str(folder / "state"), "--image", IMAGE, "--log-format", "json"]
        module = [_users_python() if as_users else sys.executable, "-m", "worker_orchestrator"]
        wanted = ["--port", str(port), "--first-port", str(_next_block()), *sizes, *flags]
        subject = Subject("service", port, [*module, "serve", *common, *wanted], folder, PATHS)
        try:
            yield from running(subject, start=start)
        finally:
            down = [*module, "down", "--all", "--yes", *common]
            subprocess.run(down, check=False, capture_output=True, cwd=folder, env={**os.environ, **PATHS})


@contextmanager
def in_memory(machines: int, *flags: str, start: bool = True) -> Iterator[Subject]:
    """The service with a database on disk and machines that exist only in memory (`bench/in_memory.py`)."""
    with own_folder("in-memory") as folder:
        port = free_port()
        command = [
            sys.executable,
            str(ROOT / "bench" / "in_memory.py"),
            str(machines),
            str(folder / "state"),
            str(port),
        ]
        yield from running(Subject("in-memory", port, [*command, *flags], folder, PATHS), start=start)


def running(subject: Subject, *, start: bool = True) -> Iterator[Subject]:
    try:
        if start:
            subject.start()
        yield subject
    except BaseException:
        print(f"the last words of {subject.name}:\n{subject.log[-_LAST_CHARS:]}", file=sys.stderr)
        raise
    finally:
        subject.stop()


_blocks: Final = iter(range(11_000, 19_000, 500))


def _next_block() -> int:
    """Host ports that no other subject of this run uses for workers."""
    return next(_blocks)
