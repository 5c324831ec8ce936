"""Connections to workers. One that has answered waits a while for the next request of the same assignment."""

from __future__ import annotations

import asyncio
from typing import Final

from worker_orchestrator.door.messages import Route
from worker_orchestrator.door.stream import Stream

__all__ = ["Workers"]

CONNECT_S: Final = 5.0
KEPT_S: Final = 3.0
"""Servers for development close a connection that rests after 5 s, as a rule; what is sent at that moment is lost."""
MOST_KEPT: Final = 16
_Place = tuple[str, int]
"""The key of a route, and a port of its worker."""


class Workers:
    """Connections by the key of their route, so that none of them outlives an assignment."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._kept: dict[_Place, list[tuple[float, Stream]]] = {}

    def take(self, route: Route) -> Stream | None:
        """One that rests, and is as it was left; None if there is none."""
        kept = self._kept.get((route.key, route.port))
        while kept:
            since, stream = kept.pop()
            if stream.is_clean and self._loop.time() - since < KEPT_S:
                return stream
            stream.abort()
        return None

    async def connect(self, route: Route) -> Stream:
        """A new one. Raises OSError, TimeoutError."""
        async with asyncio.timeout(CONNECT_S):
            _, stream = await self._loop.create_connection(Stream, route.host, route.port)
        return stream

    def keep(self, route: Route, stream: Stream) -> None:
        """It has answered, and may be used again."""
        place = route.key, route.port
        kept = self._kept.get(place)
        if kept is None:
            kept = self._kept[place] = []
            self._loop.call_later(KEPT_S, self._drop_old, place, kept)
        if len(kept) >= MOST_KEPT or not stream.is_clean:
            stream.abort()
            return
        kept.append((self._loop.time(), stream))

    def drop(self, key: str) -> None:
        """Close all that rest under this key."""
        for place in [place for place in self._kept if place[0] == key]:
            for _, stream in self._kept.pop(place):
                stream.abort()

    def close(self) -> None:
        """Close all that rest."""
        for kept in self._kept.values():
            for _, stream in kept:
                stream.abort()
        self._kept.clear()

    def _drop_old(self, place: _Place, kept: list[tuple[float, Stream]]) -> None:
        """One timer for all that rest at a place, and not one for each: it is set again while there are any."""
        if self._kept.get(place) is not kept:
            return  # all were dropped since
        now = self._loop.time()
        while kept and now - kept[0][0] >= KEPT_S - 0.01:
            kept.pop(0)[1].abort()
        if kept:
            self._loop.call_later(KEPT_S - (now - kept[0][0]), self._drop_old, place, kept)
        else:
            del self._kept[place]
