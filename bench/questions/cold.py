"""Cold assigns: from the request to a container that answers HTTP, 1, 4, 10 and 20 at once, with no idle machine.

Beside them, in turns, the same by the raw Docker API with the same options, and by peers. Removing is not timed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

import aiohttp

from bench.peers.installed import PEERS, Peer, PeerStoppedError, a_peer
from bench.raw_docker import RawDocker, raw_docker
from bench.run import Run
from bench.subjects import Subject, service

__all__ = ["ROUNDS", "cold", "cold_beside_peers"]

ROUNDS: Final = {1: 15, 4: 7, 10: 5, 20: 5}
"""By the number of assigns at once."""
QUICK: Final = (1, 20)

Side = tuple[str, Callable[[int], Awaitable[float]]]
"""A name, and a function that measures so many at once, in milliseconds."""


class _Service:
    """The service, over HTTP."""

    def __init__(self, session: aiohttp.ClientSession, subject: Subject) -> None:
        self._session, self._url, self._count = session, f"http://127.0.0.1:{subject.port}", 0

    async def one(self) -> str:
        self._count += 1
        async with self._session.get(f"{self._url}/p{self._count}") as reply:
            found = await reply.json()
            assert reply.status == 200, found
            return str(found["containerId"])

    async def remove(self, ids: list[str]) -> None:
        async def one(machine_id: str) -> None:
            async with self._session.post(f"{self._url}/destroy", json={"containerId": machine_id}) as reply:
                assert reply.status == 200, await reply.text()

        await asyncio.gather(*map(one, ids))


class _Plain:
    """The raw API without the options of our workers."""

    def __init__(self, raw: RawDocker) -> None:
        self._raw = raw

    async def one(self) -> str:
        return await self._raw.one(plain=True)

    async def remove(self, ids: list[str]) -> None:
        await self._raw.remove(ids)


def _measure(side: RawDocker | _Service | _Plain) -> Callable[[int], Awaitable[float]]:
    async def timed(parallel: int) -> float:
        begun = time.perf_counter()
        made = await asyncio.gather(*(side.one() for _ in range(parallel)))
        took_ms = (time.perf_counter() - begun) * 1000
        assert len(set(made)) == parallel, "one each"
        await side.remove(list(made))
        return took_ms

    return timed


async def _compare(run: Run, subject: Subject, peers: Sequence[Side], rounds: Mapping[int, int]) -> None:
    async with raw_docker() as raw, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        sides: list[Side] = [("raw", _measure(raw)), ("service", _measure(_Service(http, subject))), *peers]
        if peers:
            sides.append(("plain", _measure(_Plain(raw))))
        for name, timed in sides:
            await _noted(run, name, timed, 1)  # connections, the image in the page cache
        for parallel, usual in rounds.items():
            for name, timed in run.interleaved(usual, sides):
                took_ms = await _noted(run, name, timed, parallel)
                if took_ms is not None:
                    run.book.add(f"cold.{parallel}.{name}", took_ms)


async def _noted(run: Run, name: str, timed: Callable[[int], Awaitable[float]], parallel: int) -> float | None:
    """None if a peer cannot do this; the book then notes the reason, once."""
    if f"cold.{name}" in run.book.notes:
        return None
    try:
        return await timed(parallel)
    except PeerStoppedError as stopped:
        run.book.note(f"cold.{name}", f"{parallel} at once: {stopped}")
        run.say(str(stopped))
        return None


def cold(run: Run, rounds: Mapping[int, int] | None = None) -> None:
    """The service compared with the raw API: so many `rounds`, by the number of assigns at once."""
    quick = {parallel: ROUNDS[parallel] for parallel in QUICK}
    with service("--min-idle", "0") as subject:
        asyncio.run(_compare(run, subject, (), rounds or quick))


def cold_beside_peers(run: Run) -> None:
    with service("--min-idle", "0") as subject, _peers(run) as peers:
        asyncio.run(_compare(run, subject, peers, ROUNDS))


@contextmanager
def _peers(run: Run) -> Iterator[list[Side]]:
    sides: list[Side] = []
    with ExitStack() as open_ones:
        for name in PEERS:
            try:
                sides.append((name, _of_peer(open_ones.enter_context(a_peer(name)))))
            except PeerStoppedError as stopped:
                run.book.note(f"cold.{name}", str(stopped))
                run.say(str(stopped))
        yield sides


def _of_peer(peer: Peer) -> Callable[[int], Awaitable[float]]:
    async def timed(parallel: int) -> float:
        found = await asyncio.to_thread(peer.do, "cold", parallel=parallel)
        return float(found["seconds"]) * 1000

    return timed
