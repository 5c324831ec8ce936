"""What a process writes, for each who listens now. One that is slow makes the process wait; without any, it is dropped.

Keeps what a listener has not read yet, up to a limit; more must wait until there is room, or until the listener has gone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any, Final

__all__ = ["Fan", "Listener"]

_ROOM_BYTES: Final = 64 * 1024
KEEPALIVE_S: Final = 15.0
"""After so long a silence a listener is told that the process goes on, since proxies cut a silent connection."""


class Listener:
    """The events of a process for one client, in order. The last one is its end."""

    def __init__(self) -> None:
        self._events: deque[tuple[dict[str, Any], int]] = deque()
        self._size, self._is_over = 0, False
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._room.set()

    def add(self, event: dict[str, Any], size: int, *, is_last: bool = False) -> None:
        self._events.append((event, size))
        self._size += size
        self._is_over = self._is_over or is_last
        self._news.set()
        if self._size >= _ROOM_BYTES:
            self._room.clear()

    async def until_room(self) -> None:
        await self._room.wait()

    def leave(self) -> None:
        self._room.set()

    def unread(self) -> list[dict[str, Any]]:
        """What it has not read yet."""
        return [event for event, _ in self._events]

    async def events(self) -> AsyncGenerator[dict[str, Any], None]:
        """Until the process ends; `{"keepalive": {}}` when there is nothing to tell for long."""
        while True:
            while self._events:
                event, size = self._events.popleft()
                self._size -= size
                if self._size < _ROOM_BYTES:
                    self._room.set()
                yield event
            if self._is_over:
                return
            self._news.clear()
            try:
                async with asyncio.timeout(KEEPALIVE_S):
                    await self._news.wait()
            except TimeoutError:
                yield {"keepalive": {}}


class Fan:
    """All who listen to one process."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._end: dict[str, Any] | None = None

    def join(self, first: dict[str, Any] | None = None) -> Listener:
        """One more, who hears `first`, and from then on all that comes, until it leaves."""
        joined = Listener()
        if first is not None:
            joined.add(first, 0)
        if self._end is not None:
            joined.add(self._end, 0, is_last=True)
        self._listeners.append(joined)
        return joined

    def leave(self, listener: Listener) -> None:
        """It listens no more: nobody waits for it."""
        if listener in self._listeners:
            self._listeners.remove(listener)
        listener.leave()

    async def tell(self, event: dict[str, Any], size: int) -> None:
        """Tell each, and return when all of them have room for more."""
        self.tell_at_once(event, size)
        for each in list(self._listeners):
            await each.until_room()

    def tell_at_once(self, event: dict[str, Any], size: int = 0) -> None:
        for each in self._listeners:
            each.add(event, size)

    def end(self, event: dict[str, Any]) -> None:
        """Its last event. What is said of its end later on is no news."""
        if self._end is not None:
            return
        self._end = event
        for each in self._listeners:
            each.add(event, 0, is_last=True)
