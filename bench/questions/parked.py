"""What machines are worth that are started and paused.

By the engine's own API, in turns, for 1 and for 20 at once: a pause, an unpause, an unpause with the first answer (a wake),
and what a wake spares: create, start, first answer. Beside these the service: assigns that find nothing idle, and so many
parked as they are. Every assign must be answered with 200.

Then the processors that ten paused containers use together, in each of which something burns a twentieth of one. At last the
memory of the service with 300 machines, 100 of them parked, installed as users install it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import aiohttp

from bench.raw_docker import DOCKER, RawDocker, raw_docker
from bench.run import Run
from bench.subjects import IMAGE, Subject, service, until

__all__ = ["parked"]

AT_ONCE: Final = (1, 20)
ROUNDS: Final = 15
BURNERS: Final = 10
SHARE: Final = 0.05
"""Of a processor, that each of them uses while it is not paused."""
PROCESSOR_S: Final = 30.0
"""For how long it is looked at what they use."""
IDLE_BESIDE, PARKED_BESIDE = 200, 100
_BURN: Final = "while :; do i=0; while [ $i -lt {turns} ]; do i=$((i+1)); done; sleep 0.1; done"
_SETTLE_S: Final = 3.0
_NEWS_S: Final = 0.7
"""Docker may refuse a call that comes too soon after another: `findings/docker-pause-is-forgotten-by-old-news.sh`."""
_Side = tuple[str, Callable[[int], Awaitable[float]]]


def parked(run: Run) -> None:
    """A wake beside a start, what paused containers use, and what they cost the service."""
    with ExitStack() as subjects:
        asyncio.run(_measure(run, {count: subjects.enter_context(_parking(count)) for count in AT_ONCE}))
    asyncio.run(_burn(run, run.seconds(PROCESSOR_S, 10.0)))
    sizes = ("--min-idle", str(IDLE_BESIDE), "--parked", str(PARKED_BESIDE), "--max-machines", "300")
    with service(*sizes, as_users=True) as subject:
        subject.await_idle(IDLE_BESIDE)
        _await_parked(subject, PARKED_BESIDE)
        for _ in range(run.rounds(3, least=1)):
            time.sleep(10.0)
            run.book.add("rest.parked.memory_mib", subject.memory_mib())


async def _measure(run: Run, parking: Mapping[int, Subject]) -> None:
    async with raw_docker() as raw, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        await raw.remove([await raw.one()])  # connections, the image in the page cache
        for parallel in AT_ONCE:
            async with _paused(raw, parallel) as ids:
                sides: list[_Side] = [("start", _start(raw)), ("wake", _wake(run, raw, ids))]
                sides.append(("service", _assign(http, parking[parallel])))
                for name, timed in run.interleaved(ROUNDS * (2 if parallel == 1 else 1), sides):
                    run.book.add(f"parked.{parallel}.{name}", await timed(parallel))


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
        await asyncio.sleep(_NEWS_S)
        run.book.add(f"parked.{parallel}.pause", await _timed([raw.pause(native) for native in ids]))
        await asyncio.sleep(_NEWS_S)
        took_ms = await _timed([one(native) for native in ids])
        await asyncio.sleep(_NEWS_S)
        await asyncio.gather(*map(raw.pause, ids))
        await asyncio.sleep(_NEWS_S)
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
    until(lambda: subject.parked() >= count, f"{count} parked machines", 300.0, pause_s=0.05)


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
