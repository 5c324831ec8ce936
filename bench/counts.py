"""What a warm assign costs in things that can be counted, so that the result does not depend on the computer or its load.

usage: python -m bench.counts      prints them as JSON, by what was done

The real service, assembled as in production and called over a real socket, runs in this process, so that its database, its
engine and its calls can be observed. Its engine is the one in memory, so that Docker's timing does not matter.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import uvloop

from bench.in_memory import FIRST_PORT, fill, instance
from bench.load import request
from bench.subjects import PATHS, ROOT
from worker_orchestrator.control.deciding.journal import PERSIST_EVENTS_S
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.memory.engine import MemoryEngine
from worker_orchestrator.service import opening
from worker_orchestrator.service.running import serve
from worker_orchestrator.settings.loading import load
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.store.database import connect
from worker_orchestrator.store.lock import Lock
from worker_orchestrator.store.store import DATABASE, Store
from worker_orchestrator.telemetry import logs

__all__ = ["Counted", "counted"]

MACHINES: Final = 4
WARM_UP: Final = 20
EVENTS_PERSISTED_S: Final = 10 * PERSIST_EVENTS_S
"""After so long the store has persisted the events that it left for later."""
WORK_ROUNDS: Final = 5
PAIRS: Final = 200
_ENGINE_METHODS: Final = ("ping", "identity", "template", "list", "create", "restart", "stop", "destroy", "probe")


@dataclass(slots=True)
class Counted:
    """What happened while a block ran."""

    statements: list[str] = field(default_factory=list)
    engine: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    """Calls of Python functions: the work that was done, on any computer."""
    peak_bytes: int = 0
    blocks: int = 0
    """Blocks of memory that are left over."""
    reply_bytes: int = 0
    """Of the last reply, head and body, without the request's id, which gets longer with the number of requests."""

    @property
    def verbs(self) -> list[str]:
        """The first word of each SQL statement."""
        return [statement.split(maxsplit=1)[0] for statement in self.statements]

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


class _CountingEngine(MemoryEngine):
    """Counts all calls, including probes."""

    def __init__(self, owner: str, note: Callable[[str], None]) -> None:
        super().__init__(owner, serve_http=False)
        for name in _ENGINE_METHODS:
            setattr(self, name, self._counted(getattr(self, name), name, note))

    @staticmethod
    def _counted(method: Callable[..., Any], name: str, note: Callable[[str], None]) -> Callable[..., Any]:
        def call(*words: Any, **named: Any) -> Any:
            note(name)
            return method(*words, **named)

        return call


class Watched:
    """A service that runs in this process, a connection to it, and what it does during a request."""

    def __init__(self) -> None:
        self.counted = Counted()
        self.engine: _CountingEngine | None = None
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    def note(self, _cursor: object, statement: str, _bindings: object) -> bool:
        """Record a statement, and let the database execute it."""
        self.counted.statements.append(statement)
        return True

    async def ask(self, method: str, path: str) -> bytes:
        """The whole reply, head and body."""
        self.writer.write(request(method, path))
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        reply = head + await self.reader.readexactly(length)
        self.counted.reply_bytes = len(re.sub(rb"(x-request-id: )\S+", rb"\1", reply))
        return reply

    async def assign(self, project: str = "counted") -> bytes:
        return await self.ask("GET", f"/{project}")

    async def release(self, project: str = "counted") -> bytes:
        return await self.ask("DELETE", f"/{project}")

    async def verify(self) -> None:
        """Let all idle machines answer now, so that nothing that is due by time falls into a count."""
        for _ in range(WARM_UP):
            await self.assign()
            await self.release()
        await asyncio.sleep(EVENTS_PERSISTED_S)

    @contextmanager
    def counting(self) -> Iterator[Counted]:
        """Count what is done while the block runs."""
        self.counted = counted = Counted()
        yield counted
        self.counted = Counted()

    @contextmanager
    def counting_calls(self) -> Iterator[Counted]:
        """Count calls of Python functions while the block runs, including those of the client in this process."""
        with self.counting() as counted:

            def see(_frame: Any, event: str, _argument: Any) -> None:
                if event == "call":
                    counted.calls += 1

            gc.collect()
            gc.disable()
            sys.setprofile(see)
            try:
                yield counted
            finally:
                sys.setprofile(None)
                gc.enable()

    @contextmanager
    def counting_memory(self) -> Iterator[Counted]:
        """Measure the peak of additional memory, and the blocks that are left without a garbage collection."""
        with self.counting() as counted:
            gc.collect()
            gc.disable()
            tracemalloc.start()
            before_blocks, before = sys.getallocatedblocks(), tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            try:
                yield counted
                counted.peak_bytes = tracemalloc.get_traced_memory()[1] - before
                counted.blocks = sys.getallocatedblocks() - before_blocks
            finally:
                tracemalloc.stop()
                gc.enable()


@asynccontextmanager
async def watched(folder: Path, machines: int = MACHINES) -> AsyncIterator[Watched]:
    """The service on a state directory in this folder, with so many idle machines."""
    lock = Lock(folder)
    with Store(folder / DATABASE) as store:
        fill(store, machines)
    lock.release()
    seen = Watched()
    ports: asyncio.Queue[int] = asyncio.Queue()
    flags = {"state_dir": str(folder), "port": _free_port(), "min_idle": machines, "max_machines": machines}
    settings = load({**flags, "first_port": FIRST_PORT, "refresh_interval": 3600}, {})
    with _watching(seen):
        running = asyncio.create_task(
            serve(settings, lambda sockets: ports.put_nowait(sockets[0].getsockname()[1])), name="service"
        )
        try:
            seen.reader, seen.writer = await asyncio.open_connection(
                "127.0.0.1", await asyncio.wait_for(ports.get(), 20)
            )
            try:
                await seen.verify()
                yield seen
            finally:
                seen.writer.close()
                await seen.writer.wait_closed()
        finally:
            if not running.done():
                os.kill(
                    os.getpid(), signal.SIGTERM
                )  # as it is stopped in production: the loop passes the signal to the service
            await asyncio.wait_for(running, 20)


@contextmanager
def _watching(seen: Watched) -> Iterator[None]:
    """Let the service open a store and an engine that record what is asked of them."""

    class WatchedStore(Store):
        def __init__(self, path: Path | None, **words: Any) -> None:
            super().__init__(path, **words)
            self._db.exec_trace = seen.note

    def note(name: str) -> None:
        seen.counted.engine[name] += 1

    async def open_engine(settings: Settings, meta: Mapping[str, str]) -> Engine:
        owner = meta["owner"]
        engine = _CountingEngine(owner, note)
        with closing(connect(settings.state_dir / DATABASE)) as db:
            for machine_id, port in db.execute("SELECT id, port FROM machine"):
                engine.put(instance(owner, machine_id, port))
        await asyncio.sleep(0)
        seen.engine = engine
        return engine

    with patch.object(opening, "Store", WatchedStore), patch.object(opening, "open_engine", open_engine):
        yield


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def counted() -> dict[str, Counted]:
    """What `_story` counted, in a process that runs nothing else."""
    words = [sys.executable, "-m", "bench.counts"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT, env={**os.environ, **PATHS})
    return {
        name: Counted(**{**found, "engine": Counter(found["engine"])})
        for name, found in json.loads(done.stdout).items()
    }


async def _story(service_: Watched) -> dict[str, Counted]:
    found: dict[str, Counted] = {}
    await service_.verify()
    with service_.counting() as found["assign"]:
        await service_.assign()
    with service_.counting() as found["a moment later"]:
        await asyncio.sleep(EVENTS_PERSISTED_S)
    with service_.counting() as found["assign again"]:
        await service_.assign()
    with service_.counting() as found["release"]:
        await service_.release()
    await service_.verify()
    with service_.counting() as found["list"]:
        await service_.ask("GET", "/machines/list")
    with service_.counting() as found["three at once"]:
        await _at_once(service_, 3)
    work = []
    for _ in range(WORK_ROUNDS):
        await service_.verify()
        with service_.counting_calls() as one:
            await service_.assign()
            await service_.release()
        work.append(one)
    found["pair"] = sorted(work, key=lambda one: one.calls)[WORK_ROUNDS // 2]
    await service_.verify()
    with service_.counting_memory() as found["memory of an assign"]:
        await service_.assign()
    await service_.release()
    with service_.counting_memory() as found[f"memory of {PAIRS} pairs"]:
        for _ in range(PAIRS):
            await service_.assign()
            await service_.release()
    return found


async def _at_once(service_: Watched, count: int) -> None:
    """Requests on connections of their own, all sent before the service has a turn."""
    others = [await asyncio.open_connection(*service_.writer.get_extra_info("peername")) for _ in range(count)]
    for number, (_, writer) in enumerate(others):
        writer.write(request("GET", f"/p{number}"))
    for number, (reader, writer) in enumerate(others):
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        await service_.release(f"p{number}")


async def _main() -> None:
    logs.configure("json")
    with tempfile.TemporaryDirectory() as folder:
        async with watched(Path(folder)) as service_:
            found = await _story(service_)
    print(json.dumps({name: one.plain() for name, one in found.items()}))


if __name__ == "__main__":
    uvloop.run(_main())
