"""Watches of folders: each tells what changes, by looking again and again, since nothing of ours runs in a sandbox.

A watch looks for as long as somebody reads what it tells. The longer a look takes, the longer it rests until the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import secrets
from typing import Any, Final

import anyio.to_thread

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.errors import OrchestratorError
from worker_orchestrator.http.e2b.changes import Change, Seen, changes, seen_in
from worker_orchestrator.http.e2b.filesystem import entries_in
from worker_orchestrator.http.e2b.looking import Looks, Place
from worker_orchestrator.http.e2b.refusal import Refusal

__all__ = ["Watch", "Watcher", "Watches"]

_REST_S: Final = 0.5
_REST_FACTOR: Final = 4
_LONGEST_REST_S: Final = 15.0
_MOST_WATCHES: Final = 16
_MOST_EVENTS: Final = 1000
_UNASKED_S: Final = 300.0
"""After so long a watcher whose events nobody asks for looks no more, until somebody does."""


class Watch:
    """What changes in one place, from one look to the next. `machine` is the sandbox's."""

    def __init__(self, place: Place, looks: Looks) -> None:
        self.machine, self.rest_s = place.machine, _REST_S
        self._place, self._looks, self._last = place, looks, b""

    async def begin(self) -> None:
        """The first look: what is there now is no news. Raises Refusal, OrchestratorError."""
        self._last = await self._look()

    async def news(self) -> list[dict[str, Any]]:
        """E2B's events for what has changed since the last look. Raises Refusal, OrchestratorError."""
        before, self._last = self._last, await self._look()
        if before == self._last:
            return []
        return await anyio.to_thread.run_sync(self._events, before, self._last)

    async def aclose(self) -> None:
        """Nobody looks for now. The next look tells what has changed since the last one."""
        await self._looks.aclose()

    async def _look(self) -> bytes:
        loop = asyncio.get_running_loop()
        began = loop.time()
        told = await self._looks.look()
        self.rest_s = min(max(_REST_S, (loop.time() - began) * _REST_FACTOR), _LONGEST_REST_S)
        return told

    def _events(self, before: bytes, now: bytes) -> list[dict[str, Any]]:
        seen, _ = _parsed(before)
        entries, links = _parsed(now)
        return [self._event(change, entries.get(change.name), links) for change in changes(seen, entries)]

    def _event(self, change: Change, entry: Seen | None, links: dict[str, str]) -> dict[str, Any]:
        event: dict[str, Any] = {"name": change.name, "type": change.kind}
        if self._place.links and entry is not None:
            path = posixpath.normpath(posixpath.join(self._place.path, change.name))
            link = f"{path}\0{links[change.name]}\0" if change.name in links else ""
            (event["entry"],) = entries_in(f"{entry.shown}{path}\n\0{link}")
        return event


class Watcher:
    """A watch whose events are fetched, one call after the other."""

    def __init__(self, watch: Watch) -> None:
        self._watch, self._lock = watch, asyncio.Lock()
        self._events: list[dict[str, Any]] = []
        self._task: asyncio.Task[None] | None = None
        self._asked_at = 0.0

    async def events(self) -> list[dict[str, Any]]:
        """All since the last call, up to now. Raises Refusal, OrchestratorError."""
        async with self._lock:
            self._events += await self._watch.news()
            taken, self._events = self._events, []
        self._goes_on()
        return taken

    async def begin(self) -> None:
        """Raises Refusal, OrchestratorError."""
        await self._watch.begin()
        self._goes_on()

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self._watch.aclose()

    def _goes_on(self) -> None:
        """Somebody asks, so it looks."""
        self._asked_at = asyncio.get_running_loop().time()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look_on(), name=f"a watcher in {self._watch.machine.id}")

    async def _look_on(self) -> None:
        """Look while somebody asks. While much is unread it waits: the next look finds what has changed meanwhile."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(Refusal, OrchestratorError):  # whoever asks next looks again, and is told
            while loop.time() < self._asked_at + _UNASKED_S:
                await asyncio.sleep(self._watch.rest_s)
                if len(self._events) < _MOST_EVENTS:
                    async with self._lock:
                        self._events += await self._watch.news()
        async with self._lock:
            await self._watch.aclose()


class Watches:
    """All of them, by the id and the generation of their machines."""

    def __init__(self, orchestrator: Orchestrator, mark: str) -> None:
        self._orchestrator, self._mark = orchestrator, mark
        self._of: dict[tuple[str, int], dict[str, Watch | Watcher]] = {}

    async def watch(self, place: Place) -> tuple[str, Watch]:
        """One that has begun, and its name for `end`. Raises Refusal, OrchestratorError."""
        watch = self._new(place)
        return await self._begun(place.machine, watch), watch

    async def watcher(self, place: Place) -> str:
        """The name of one that has begun. Raises Refusal, OrchestratorError."""
        return await self._begun(place.machine, Watcher(self._new(place)))

    def find(self, machine: Machine, name: str) -> Watcher:
        """Raises Refusal."""
        found = self._of.get(_assignment(machine), {}).get(name)
        if not isinstance(found, Watcher):
            why = "It was removed, or this service has been started again since."
            raise Refusal(404, "not_found", f"There is no watcher {name[:40]!r} in this sandbox. {why}")
        return found

    async def end(self, machine: Machine, name: str) -> None:
        own = self._of.get(_assignment(machine), {})
        ended = own.pop(name, None)
        if not own:
            self._of.pop(_assignment(machine), None)
        if ended is not None:
            await ended.aclose()

    async def aclose(self) -> None:
        """End all of them: this service stops."""
        named = [each for own in self._of.values() for each in own.values()]
        self._of.clear()
        await asyncio.gather(*(each.aclose() for each in named))

    def _new(self, place: Place) -> Watch:
        return Watch(place, Looks(self._orchestrator, place, self._mark))

    async def _begun(self, machine: Machine, one: Watch | Watcher) -> str:
        await self._end_those_of_ended_sandboxes()
        own = self._of.setdefault(_assignment(machine), {})
        if len(own) >= _MOST_WATCHES:
            raise Refusal(
                429, "resource_exhausted", f"A sandbox may have {_MOST_WATCHES} watches at once. Stop one of them."
            )
        own[name := secrets.token_hex(8)] = one
        try:
            await one.begin()
        except BaseException:
            await self.end(machine, name)
            raise
        return name

    async def _end_those_of_ended_sandboxes(self) -> None:
        living = {_assignment(one) for one in self._orchestrator.fleet.machines.values()}
        ended = [own for key, own in self._of.items() if key not in living]
        self._of = {key: own for key, own in self._of.items() if key in living}
        await asyncio.gather(*(each.aclose() for own in ended for each in own.values()))


def _assignment(machine: Machine) -> tuple[str, int]:
    return machine.id, machine.generation


def _parsed(told: bytes) -> tuple[dict[str, Seen], dict[str, str]]:
    """The entries, and where the links among them lead, by their path from the folder on."""
    lines, _, pairs = told.decode(errors="replace").partition("\0")
    parts = pairs.split("\0")
    links = {link.removeprefix("./"): target for link, target in zip(parts[::2], parts[1::2], strict=False)}
    return seen_in(lines), links
