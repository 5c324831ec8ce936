"""What the service itself sees of the use of a machine: commands, terminals and files, for as long as each is open."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from worker_orchestrator.control.deciding.decisions import Decisions
from worker_orchestrator.core import expiry
from worker_orchestrator.core.machine import Machine

__all__ = ["Uses"]

_T = TypeVar("_T")
_K = TypeVar("_K")


class Uses:
    """Counts what is open of each assignment."""

    def __init__(self, decisions: Decisions) -> None:
        self._decisions, self._state, self._fleet = decisions, decisions.state, decisions.fleet
        self._open = Counter[tuple[str, int]]()  # by machine id and generation
        self._set_ups = set[tuple[str, int]]()  # machine ids and generations

    def is_open(self, machine: Machine) -> bool:
        """Whether the project that has this machine uses it at this moment."""
        return _assignment(machine) in self._open

    @contextmanager
    def of(self, machine: Machine) -> Iterator[None]:
        """During this block the project that has this machine uses it."""
        assignment = _assignment(machine)
        self._open[assignment] += 1
        self._fleet.used[machine.id] += 1
        self._note(machine)
        try:
            yield
        finally:
            _count_down(self._open, assignment)
            _count_down(self._fleet.used, machine.id)
            self._note(machine)

    def is_set_up(self, machine: Machine) -> bool:
        """Whether the service itself is at work in this machine, to set it up for its project."""
        return _assignment(machine) in self._set_ups

    @contextmanager
    def set_up(self, machine: Machine) -> Iterator[None]:
        """During this block the service sets this machine up. That is no use of it, and no deadline for silence passes."""
        self._set_ups.add(_assignment(machine))
        try:
            yield
        finally:
            self._set_ups.discard(_assignment(machine))
            self._state.note_answer(machine)

    async def during(self, machine: Machine, work: Coroutine[Any, Any, _T]) -> _T:
        """What this work returns or raises, all of which is use of this machine."""
        with self.of(machine):
            return await work

    async def while_read(self, machine: Machine, items: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """The same items. Until they are all read, that is use of this machine."""
        with self.of(machine):
            try:
                async for item in items:
                    yield item
            finally:
                close = getattr(items, "aclose", None)
                if close is not None:
                    await close()

    def _note(self, machine: Machine) -> None:
        own = self._fleet.machines.get(machine.id)
        if own is not None and own.generation == machine.generation:
            expiry.note_use(self._fleet, own.id, self._state.now())
            self._decisions.commit_soon()


def _count_down(counts: Counter[_K], key: _K) -> None:
    """One fewer of these; nothing is kept of what is counted no more."""
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


def _assignment(machine: Machine) -> tuple[str, int]:
    return machine.id, machine.generation
