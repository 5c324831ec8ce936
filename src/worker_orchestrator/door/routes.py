"""Where hosts lead, as the service said. A route to a worker is kept for a while, or until the service says that it is gone.

When it is gone, everything that goes on under it ends: what a visitor of one project has open never leads to the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from worker_orchestrator.door.messages import Gone, Kind, Question, Route, Shown, Told, encoded

__all__ = ["GoneError", "Routes"]

ANSWER_S: Final = 10.0
KEPT_S: Final = 10.0
"""Settings may change, and links end: after this time the service is asked again."""
MOST_KNOWN: Final = 10_000

_Who = tuple[str, Shown]
"""A host, and what a visitor shows to be let in; nothing for what everybody may see."""
_NOTHING: Final = Shown()


class GoneError(Exception):
    """The assignment has ended since the service said where it is."""


class Routes:
    """`ask` sends a question to the service; `catch_up` hears at once what that has said so far."""

    def __init__(self, ask: Callable[[bytes], None], catch_up: Callable[[], None]) -> None:
        self._ask, self._catch_up = ask, catch_up
        self._last_id = 0
        self._loop = asyncio.get_running_loop()
        self._asked: dict[int, tuple[_Who, asyncio.Future[Route]]] = {}
        self._known: dict[_Who, tuple[float, Route]] = {}  # since when; only those that lead to a worker
        self._keys: set[str] = set()  # of all that may lead to a worker still, as far as the service has said
        self._in_use: dict[str, dict[object, Callable[[], None]]] = {}  # how what goes on under a key is ended

    async def find(self, host: str, shown: Shown, *, visits: bool) -> Route:
        """Where this host, in lower case and without a port, leads. Raises TimeoutError if the service does not say."""
        who = host, shown
        known = self._known_to((host, _NOTHING)) or self._known_to(who)
        if known is not None:
            return known
        self._last_id += 1
        number = self._last_id
        answer: asyncio.Future[Route] = self._loop.create_future()
        self._asked[number] = who, answer
        try:
            self._ask(encoded(Question(number, host, visits, shown)))
            async with asyncio.timeout(ANSWER_S):
                return await answer
        finally:
            del self._asked[number]

    def _known_to(self, who: _Who) -> Route | None:
        since, route = self._known.get(who, (0.0, None))
        age_s = self._loop.time() - since
        if route is None or age_s >= KEPT_S:
            return None
        if route.ends_in_s is None:
            return route
        left_s = route.ends_in_s - age_s
        return msgspec.structs.replace(route, ends_in_s=left_s) if left_s > 0 else None

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
        who, answer = asked
        if route.kind is Kind.WORKER:
            self._keys.add(route.key)
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()  # they are asked for again
            if route.is_for_all:
                who = who[0], _NOTHING
            if route.is_for_all or who[1] != _NOTHING:
                self._known[who] = self._loop.time(), route
        if not answer.done():
            answer.set_result(route)

    def _forget(self, key: str) -> None:
        self._keys.discard(key)
        for who in [who for who, (_, route) in self._known.items() if route.key == key]:
            del self._known[who]
        for end in list(self._in_use.pop(key, {}).values()):
            end()

    def holds(self, key: str) -> bool:
        """Whether routes with this key may lead to a worker still."""
        return key in self._keys

    @contextmanager
    def using(self, key: str, end: Callable[[], None]) -> Iterator[None]:
        """While this goes on under a route, `end` is called if the route is gone. Raises GoneError if it is already."""
        self._catch_up()  # or a door that is late leads to the machine of another project
        if key not in self._keys:
            raise GoneError
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
