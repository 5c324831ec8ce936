"""Measure what machines are worth that are started and paused: python -m bench.parked [--rounds 15] [--raw]

By the engine's own API, in turns, for 1 and for 20 at once: a pause, an unpause, an unpause with the first answer (a wake),
and what a wake spares: create, start, first answer. Beside these the service (not with --raw): assigns that find nothing
idle, and so many parked as they are. Every assign must be answered with 200.

At last the processors that ten paused containers use together, in each of which something burns a twentieth of one.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import aiohttp

from bench.book import Book
from bench.raw_docker import DOCKER, RawDocker, raw_docker
from bench.run import Run
from bench.subjects import IMAGE, Subject, service, until

AT_ONCE: Final = (1, 20)
LIMITS: Final = (
    ("20 wakes at once, of 20 raw starts", "parked.20.{wake}", "parked.20.start", 0.1),
    ("one wake, of one raw start", "parked.1.{wake}", "parked.1.start", 0.1),
    ("one wake by the service, of a raw wake", "parked.1.service", "parked.1.wake", 1.3),
)
"""What must hold: a name, what is compared with what, and how much it may be of that."""
BURNERS: Final = 10
SHARE: Final = 0.05
"""Of a processor, that each of them uses while it is not paused."""
MOST_SHARE: Final = 0.003
"""Of a processor, that all of them together may use while they are paused."""
_BURN: Final = "while :; do i=0; while [ $i -lt {turns} ]; do i=$((i+1)); done; sleep 0.1; done"
_SETTLE_S: Final = 3.0
_Side = tuple[str, Callable[[int], Awaitable[float]]]


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # containers are removed on the way out
    parser = argparse.ArgumentParser(prog="python -m bench.parked", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="of each; of one at a time twice as many")
    parser.add_argument("--raw", action="store_true", help="only the engine, without the service")
    parser.add_argument("--processor", type=float, default=30.0, metavar="SECONDS", help="for how long it is looked at")
    chosen = parser.parse_args()
    run = Run(Book(about={}))
    with ExitStack() as subjects:
        parked = {} if chosen.raw else {count: subjects.enter_context(_parking(count)) for count in AT_ONCE}
        print(asyncio.run(_measure(run, parked, chosen.rounds)))
    asyncio.run(_burn(run, chosen.processor))
    for name in sorted(run.book.values):
        print(f"{name}: median {run.book.median(name):.3f} of {len(run.book.values[name])}")
    return int(not _holds(run.book))


def _holds(book: Book) -> bool:
    """Print each limit with what was measured, and return whether all of them hold."""
    found = [book.median("parked.processor.paused") <= MOST_SHARE]
    print(f"processors of {BURNERS} parked burners: {book.median('parked.processor.paused'):.4f} of {MOST_SHARE:g}")
    wake = "service" if "parked.1.service" in book else "wake"
    for what, name, of, limit in LIMITS:
        measured = name.format(wake=wake)
        if measured in book:
            ratio = book.ratio(measured, of)
            print(f"{what}: {ratio:.3f} of {limit:g}")
            found.append(ratio <= limit)
    return all(found)


async def _measure(run: Run, parked: Mapping[int, Subject], rounds: int) -> str:
    async with raw_docker() as raw, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        await raw.remove([await raw.one()])  # connections, the image in the page cache
        for parallel in AT_ONCE:
            async with _paused(raw, parallel) as ids:
                sides: list[_Side] = [("start", _start(raw)), ("wake", _wake(run, raw, ids))]
                if parallel in parked:
                    sides.append(("service", _assign(http, parked[parallel])))
                for name, timed in run.interleaved(rounds * (2 if parallel == 1 else 1), sides):
                    run.book.add(f"parked.{parallel}.{name}", await timed(parallel))
        return raw.engine


async def _timed(work: Sequence[Awaitable[object]]) -> float:
    """How long all of this takes at once, in milliseconds."""
    begun = time.perf_counter()
    await asyncio.gather(*work)
    return (time.perf_counter() - begun) * 1000


def _start(raw: RawDocker) -> Callable[[int], Awaitable[float]]:
    async def timed(parallel: int) -> float:
        begun = time.perf_counter()
        made = await asyncio.gather(*(raw.one() for _ in range(parallel)))
        took_ms = (time.perf_counter() - begun) * 1000
        await raw.remove(list(made))
        return took_ms

    return timed


@asynccontextmanager
async def _paused(raw: RawDocker, count: int) -> AsyncIterator[list[str]]:
    """So many containers that answered, and are paused."""
    ids = list(await asyncio.gather(*(raw.one() for _ in range(count))))
    try:
        await asyncio.gather(*map(raw.pause, ids))
        yield ids
    finally:
        await raw.remove(ids)


def _wake(run: Run, raw: RawDocker, ids: Sequence[str]) -> Callable[[int], Awaitable[float]]:
    """A wake of all of them. Before it, in the same round, an unpause and a pause alone; after it they are paused again."""

    async def one(native: str) -> None:
        await raw.unpause(native)
        await raw.until_ready(native)

    async def timed(parallel: int) -> float:
        run.book.add(f"parked.{parallel}.unpause", await _timed([raw.unpause(native) for native in ids]))
        run.book.add(f"parked.{parallel}.pause", await _timed([raw.pause(native) for native in ids]))
        took_ms = await _timed([one(native) for native in ids])
        await asyncio.gather(*map(raw.pause, ids))
        return took_ms

    return timed


# the service


@contextmanager
def _parking(count: int) -> Iterator[Subject]:
    """The service with no idle machine and so many parked ones."""
    with service("--min-idle", "0", "--parked", str(count), "--on-release", "recycle") as subject:
        _await_parked(subject, count)
        yield subject


def _await_parked(subject: Subject, count: int) -> None:
    until(lambda: subject.parked() >= count, f"{count} parked machines", 120.0, pause_s=0.05)


def _assign(http: aiohttp.ClientSession, subject: Subject) -> Callable[[int], Awaitable[float]]:
    """So many assigns at once. Afterwards their machines are removed, and others are parked in their place."""

    async def one(project: str) -> str:
        async with http.get(f"http://127.0.0.1:{subject.port}/{project}") as reply:
            found = await reply.json()
            assert reply.status == 200, found
            return str(found["containerId"])

    async def destroy(machine_id: str) -> None:
        async with http.post(f"http://127.0.0.1:{subject.port}/destroy", json={"containerId": machine_id}) as reply:
            assert reply.status == 200, await reply.text()

    async def timed(parallel: int) -> float:
        begun, number = time.perf_counter(), time.time_ns()
        made = await asyncio.gather(*(one(f"p{number}-{n}") for n in range(parallel)))
        took_ms = (time.perf_counter() - begun) * 1000
        assert len(set(made)) == parallel, "one each"
        await asyncio.gather(*map(destroy, made))
        await asyncio.to_thread(_await_parked, subject, parallel)
        await asyncio.sleep(1.0)  # what is left of that is not to be measured
        return took_ms

    return timed


# processors


async def _burn(run: Run, seconds: float) -> None:
    """The processors that ten burners use, running and paused, by their control groups."""
    async with raw_docker() as raw:
        ids = [await _burner(raw, await _turns(raw)) for _ in range(BURNERS)]
        try:
            await asyncio.sleep(_SETTLE_S)
            run.book.add("parked.processor.running", await _processors(ids, min(seconds, 10.0)))
            await asyncio.gather(*map(raw.pause, ids))
            await asyncio.sleep(_SETTLE_S)
            run.book.add("parked.processor.paused", await _processors(ids, seconds))
        finally:
            await raw.remove(ids)


async def _turns(raw: RawDocker) -> int:
    """How many turns of the burner's loop take as long as it is to burn between two sleeps of 100 ms."""
    probe = await _burner(raw, 10_000)
    try:
        await asyncio.sleep(_SETTLE_S)
        share = await _processors([probe], 5.0)
    finally:
        await raw.remove([probe])
    return round(10_000 * SHARE / share * (1 - share) / (1 - SHARE))


async def _burner(raw: RawDocker, turns: int) -> str:
    body = {
        "Image": IMAGE,
        "Entrypoint": ["sh", "-c", _BURN.format(turns=turns)],
        "HostConfig": {"NetworkMode": "none"},
    }
    async with raw.session.post(f"{DOCKER}/containers/create", json=body) as reply:
        made = await reply.json()
        assert reply.status == 201, made
    async with raw.session.post(f"{DOCKER}/containers/{made['Id']}/start") as reply:
        assert reply.status == 204, await reply.text()
    return str(made["Id"])


async def _processors(ids: Sequence[str], seconds: float) -> float:
    """How many processors they use together, on average over so many seconds."""
    before, begun = sum(map(_cpu_s, ids)), time.perf_counter()
    await asyncio.sleep(seconds)
    return (sum(map(_cpu_s, ids)) - before) / (time.perf_counter() - begun)


def _cpu_s(native: str) -> float:
    """What a container has used, as the kernel counts it, on this computer."""
    for path in Path("/sys/fs/cgroup").glob(f"*/**/*{native}*/cpuacct.usage"):
        return int(path.read_text()) / 1e9
    for path in Path("/sys/fs/cgroup").glob(f"**/*{native}*/cpu.stat"):
        return int(path.read_text().split()[1]) / 1e6
    raise FileNotFoundError(f"no control group of {native} counts its processor time")


if __name__ == "__main__":
    sys.exit(main())
