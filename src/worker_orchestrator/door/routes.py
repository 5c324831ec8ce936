"""Where hosts lead, as the service said. A route to a worker is kept for a while, or until the service says that it is gone.

When it is gone, everything that goes on under it ends: what a visitor of one project has open never leads to the next one.
When others may see it now, what goes on is asked for again, by whoever began it, and ends if it would not begin now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import msgspec

from worker_orchestrator.door.messages import Changed, Gone, Kind, Question, Route, Shown, Told, encoded

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


@dataclass(slots=True, eq=False)
class _Use:
    """What goes on under a route. `ending` is when it has to end in any case."""

    who: _Who
    end: Callable[[], None]
    ending: asyncio.TimerHandle | None = None

    def limit(self, ends_in_s: float | None) -> None:
        """From now on it may go on for so long."""
        if self.ending is not None:
            self.ending.cancel()
        loop = asyncio.get_running_loop()
        self.ending = None if ends_in_s is None else loop.call_later(ends_in_s, self.end)


class Routes:
    """`ask` sends a question to the service; `catch_up` hears at once what that has said so far."""

    def __init__(self, ask: Callable[[bytes], None], catch_up: Callable[[], None]) -> None:
        self._ask, self._catch_up = ask, catch_up
        self._last_id = 0
        self._loop = asyncio.get_running_loop()
        self._asked: dict[int, tuple[_Who, asyncio.Future[Route]]] = {}
        self._known: dict[_Who, tuple[float, Route]] = {}  # since when; only those that lead to a worker
        self._keys: set[str] = set()  # of all that may lead to a worker still, as far as the service has said
        self._in_use: dict[str, set[_Use]] = {}
        self._last_before_change = 0  # routes up to this number may show what may not be seen any more
        self._to_check: dict[_Who, None] = {}
        self._checking: asyncio.Task[None] | None = None

    async def find(self, host: str, shown: Shown, *, visits: bool, is_beside: bool = False) -> Route:
        """Where this host, in lower case and without a port, leads. Raises TimeoutError if the service does not say.

        `visits` and `is_beside` are as in `Question`.
        """
        who = host, shown
        known = self._known_to((host, _NOTHING)) or self._known_to(who)
        if known is not None:
            return known
        self._last_id += 1
        number = self._last_id
        answer: asyncio.Future[Route] = self._loop.create_future()
        self._asked[number] = who, answer
        try:
            self._ask(encoded(Question(number, host, visits, shown, is_beside)))
            async with asyncio.timeout(ANSWER_S):
                return await answer
        finally:
            del self._asked[number]

    def leads(self, host: str, shown: Shown) -> bool:
        """Whether this host led this visitor to a worker when it was asked for last. The service need not be asked again."""
        return (host, _NOTHING) in self._known or (host, shown) in self._known

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
            case Changed():
                self._known.clear()
                self._last_before_change = self._last_id
                self._check(dict.fromkeys(use.who for uses in self._in_use.values() for use in uses))

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
        else:  # what leads nowhere any more is asked for as often as what never did
            self._known.pop(who, None)
            self._known.pop((who[0], _NOTHING), None)
        if not answer.done():
            answer.set_result(route)

    def _forget(self, key: str) -> None:
        self._keys.discard(key)
        for who in [who for who, (_, route) in self._known.items() if route.key == key]:
            del self._known[who]
        for use in self._in_use.pop(key, set()):
            use.end()

    def close(self) -> None:
        """Ask no more."""
        if self._checking is not None:
            self._checking.cancel()

    def _check(self, seen: Iterable[_Who]) -> None:
        """Ask again whether these may see what they see."""
        self._to_check.update(dict.fromkeys(seen))
        if self._to_check and (self._checking is None or self._checking.done()):
            self._checking = asyncio.create_task(self._end_what_is_not_shown())

    async def _end_what_is_not_shown(self) -> None:
        while self._to_check:
            who = next(iter(self._to_check))
            del self._to_check[who]
            if all(use.who != who for uses in self._in_use.values() for use in uses):
                continue
            try:
                route = await self.find(*who, visits=False)
            except TimeoutError:
                self._to_check[who] = None  # nobody has said whether it is shown: after the others, again
                continue
            for use in [use for uses in self._in_use.values() for use in uses if use.who == who]:
                if route.kind is Kind.WORKER:
                    use.limit(route.ends_in_s)
                else:
                    use.end()

    def holds(self, key: str) -> bool:
        """Whether routes with this key may lead to a worker still."""
        return key in self._keys

    @contextmanager
    def using(self, route: Route, host: str, shown: Shown, end: Callable[[], None]) -> Iterator[None]:
        """While this goes on under a route, `end` is called if it has to end. Raises GoneError if the route is gone already.

        It was found for this host and what a visitor showed.
        """
        self._catch_up()  # or a door that is late leads to the machine of another project
        if route.key not in self._keys:
            raise GoneError
        use = _Use((host, shown), end)
        use.limit(route.ends_in_s)
        self._in_use.setdefault(route.key, set()).add(use)
        if route.id <= self._last_before_change:
            self._check([use.who])
        try:
            yield
        finally:
            use.limit(None)
            used = self._in_use.get(route.key)
            if used is not None:
                used.discard(use)
                if not used:
                    del self._in_use[route.key]
