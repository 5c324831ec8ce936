"""Where hosts lead, as the service said. A route to a worker is kept until the service says that it is gone.

When it is gone, everything that goes on under it ends: what a visitor of one project has open never leads to the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from worker_orchestrator.door.messages import Gone, Kind, Question, Route, Told, encoded

__all__ = ["Routes"]

ANSWER_S: Final = 10.0
MOST_HOSTS: Final = 10_000


class Routes:
    """`ask` sends a question to the service."""

    def __init__(self, ask: Callable[[bytes], None]) -> None:
        self._ask = ask
        self._last_id = 0
        self._asked: dict[int, tuple[str, asyncio.Future[Route]]] = {}
        self._known: dict[str, Route] = {}  # by host; only those that lead to a worker
        self._in_use: dict[str, dict[object, Callable[[], None]]] = {}  # how what goes on under a key is ended

    async def find(self, host: str, *, visits: bool) -> Route:
        """Where this host, in lower case and without a port, leads. Raises TimeoutError if the service does not say."""
        known = self._known.get(host)
        if known is not None:
            return known
        self._last_id += 1
        number = self._last_id
        answer: asyncio.Future[Route] = asyncio.get_running_loop().create_future()
        self._asked[number] = host, answer
        try:
            self._ask(encoded(Question(number, host, visits)))
            async with asyncio.timeout(ANSWER_S):
                return await answer
        finally:
            del self._asked[number]

    def hear(self, told: Told) -> None:
        """The service said this."""
        match told:
            case Gone():
                self._forget(told.key)
            case Route():
                self._learn(told)

    def _learn(self, route: Route) -> None:
        """It is kept at once, since the next message may say that it is gone."""
        asked = self._asked.get(route.id)
        if asked is None:
            return
        host, answer = asked
        if route.kind is Kind.WORKER:
            if len(self._known) >= MOST_HOSTS:
                self._known.clear()  # they are asked for again
            self._known[host] = route
        if not answer.done():
            answer.set_result(route)

    def _forget(self, key: str) -> None:
        for host in [host for host, route in self._known.items() if route.key == key]:
            del self._known[host]
        for end in list(self._in_use.pop(key, {}).values()):
            end()

    @contextmanager
    def using(self, key: str, end: Callable[[], None]) -> Iterator[None]:
        """While this goes on under a route, `end` is called if the route is gone."""
        token = object()
        self._in_use.setdefault(key, {})[token] = end
        try:
            yield
        finally:
            used = self._in_use.get(key)
            if used is not None:
                used.pop(token, None)
                if not used:
                    del self._in_use[key]
