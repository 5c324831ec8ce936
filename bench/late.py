"""Measure how soon a running worker has its values, on the engine that DOCKER_HOST names: python -m bench.late [--rounds 30]

In turns: one call of the engine that gives a warm worker a variable, two secrets and a file of 10 kB; and a raw cold start
of the same image by the engine's own API (create, start, ready), which it takes elsewhere. That the warm worker is made and
removed is not timed.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import signal
import sys
import tarfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from bench.book import Book, quantile
from bench.raw_docker import FIRST_PORT, RawDocker, raw_docker
from bench.run import Run
from bench.subjects import IMAGE
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.docker.template import DockerOptions, PublishOptions
from worker_orchestrator.engines.extras import Configurable, Foreseeing, LateValues
from worker_orchestrator.engines.open import open_engine
from worker_orchestrator.settings.settings import DEFAULT_POOL

LIMIT_MS: Final = 40.0
LIMIT: Final = 0.15
"""Of a raw cold start."""
FILE_BYTES: Final = 10_000
IDLE_S: Final = 1.0
"""How long a warm worker has been idle before: a service tells its engine of such machines once a second."""
_PAUSE_S: Final = 0.02


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # containers are removed on the way out
    parser = argparse.ArgumentParser(prog="python -m bench.late", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    run = Run(Book(about={}))
    print(asyncio.run(_measure(run, parser.parse_args().rounds)))
    configured, raw = (sorted(run.book.values[f"late.{side}"]) for side in ("configured", "raw"))
    for name, took_ms in (("configured", configured), ("raw cold start", raw)):
        print(f"{name}: p50 {quantile(took_ms, 0.5):.1f} ms, p90 {quantile(took_ms, 0.9):.1f} ms, of {len(took_ms)}")
    median_ms, ratio = run.book.median("late.configured"), run.book.ratio("late.configured", "late.raw")
    print(f"{median_ms:.1f} of {LIMIT_MS:g} ms, and {ratio:.3f} of {LIMIT:g} of a raw cold start")
    return int(median_ms > LIMIT_MS or ratio > LIMIT)


async def _measure(run: Run, rounds: int) -> str:
    async with raw_docker() as raw, _Warm.opened() as warm:
        await warm.one()  # connections, the image in the page cache
        await raw.remove([await raw.one()])
        for side in run.interleaved(rounds, ("raw", "configured")):
            run.book.add(f"late.{side}", await (_cold(raw) if side == "raw" else warm.one()))
        return raw.engine


async def _cold(raw: RawDocker) -> float:
    begun = time.perf_counter()
    made = await raw.one()
    took_ms = (time.perf_counter() - begun) * 1000
    await raw.remove([made])
    return took_ms


class _Warm:
    """Workers that are there already, one at a time."""

    def __init__(self, engine: Engine) -> None:
        assert isinstance(engine, Configurable)
        self._engine, self._configurable = engine, engine
        self._ports = itertools.count(FIRST_PORT + 900)

    @classmethod
    @asynccontextmanager
    async def opened(cls) -> AsyncIterator[_Warm]:
        options, publish = DockerOptions(IMAGE, late_dir="/run/project"), PublishOptions(("127.0.0.1",))
        owner = f"bench-late-{time.time_ns()}"
        engine = await open_engine(
            "docker", owner, {DEFAULT_POOL: options}, publish, docker_host=None, adopted_owners=(), has_ipv6=bool
        )
        try:
            yield cls(engine)
        finally:
            await engine.remove_network()  # type: ignore[attr-defined] # it is a Docker engine
            await engine.aclose()

    async def one(self) -> float:
        """How long it takes to configure a worker, in milliseconds."""
        machine_id = f"worker-{time.time_ns() // 1_000_000}-late00000"
        template = await self._engine.template(DEFAULT_POOL)
        machine = Machine(machine_id, DEFAULT_POOL, template, State.READY, next(self._ports))
        await self._engine.create(machine)
        try:
            while await self._engine.probe(machine) is not None:
                await asyncio.sleep(_PAUSE_S)
            await self._engine.list()
            if isinstance(self._engine, Foreseeing):
                self._engine.foresee([machine])
            await asyncio.sleep(IDLE_S)
            begun = time.perf_counter()
            await self._configurable.configure(machine, _values())
            took_ms = (time.perf_counter() - begun) * 1000
            assert await self._configurable.is_configured(machine_id)
        finally:
            await self._engine.destroy(machine_id)
        return took_ms


def _values() -> LateValues:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        entry = tarfile.TarInfo("settings.json")
        entry.size = FILE_BYTES
        archive.addfile(entry, io.BytesIO(bytes(FILE_BYTES)))
    return LateValues({"GREETING": "hello"}, {"token": "t" * 40, "password": "p" * 20}, held.getvalue())


if __name__ == "__main__":
    sys.exit(main())
