"""How each project came to the machine that it has: warm or cold, why, and where the time went.

A trace lives as long as its assignment. `Traces` also remembers how long each machine took to come up, and which machines
projects lost because their set-up failed, from what this process saw of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.control.telling.refused import RefusedRequests
from worker_orchestrator.core.machine import Cause, Change, Machine, State
from worker_orchestrator.core.reasons import SETUP_FAILED_REMOVED
from worker_orchestrator.core.watch import Watch
from worker_orchestrator.store.store import Store

__all__ = ["RESTARTED", "WOKEN", "Lost", "Steps", "Trace", "TraceKeeper", "Traces"]

_ANSWERED: Final = Cause.ANSWERED
_STOPPING: Final = State.STOPPING

KEPT: Final = 10_000
UNPARKED_WITHIN_S: Final = 10.0
"""What answers later than that after it was woken has had another state in between."""
SAVE_EVERY_S: Final = 1.0


class Trace(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How a project came to its machine. Durations are in milliseconds; None if there was no such stage, or if unknown.

    `line_ms`: it waited for a machine. `commit_ms`: from the decision until it was stored. `probe_ms`: asking the machine
    once more, and those of `failed_probes` (machine id, reason) before it. `create_ms`, `ready_ms`: what the
    machine itself once took, until the engine had it and until it answered. `ahead`: projects that waited before this one.
    """

    project: str
    machine_id: str
    generation: int
    at_ms: int
    how: Literal["warm", "cold"]
    why: str
    total_ms: float
    commit_ms: float
    line_ms: float | None = None
    probe_ms: float | None = None
    create_ms: float | None = None
    ready_ms: float | None = None
    ahead: int = 0
    failed_probes: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True, eq=False)
class Steps:
    """What one search has done so far, in seconds. `asked_at` is loop time, `begun_at` the stopwatch's."""

    begun_at: float
    asked_at: float
    line_s: float | None = None
    commit_s: float = 0.0
    probe_s: float | None = None
    ahead: int = 0
    wanted: int = 0
    is_wake: bool = False  # its machine slept
    failed_probes: list[tuple[str, str]] = field(default_factory=list)

    def came_from_reserve(self, watch: Watch) -> bool:
        """Whether the machine of this watch was parked until somebody needed one, and has answered since this search began.

        Machines that are woken at once answer in any order, so it may have been woken for a project that came before.
        """
        woken_at, ready_at = watch.unparked_at, watch.state_since
        return (
            woken_at is not None
            and ready_at >= max(self.asked_at, woken_at)
            and ready_at - woken_at <= UNPARKED_WITHIN_S
        )

    def why(self, watch: Watch) -> str:
        """Why it was warm, or cold, in one sentence."""
        if self.line_s is None:
            silent = len(self.failed_probes)
            after = f", after {silent} that did not answer" if silent else ""
            return f"An idle machine was ready{after}."
        others = {0: "no other project was", 1: "1 other project was"}.get(
            self.ahead, f"{self.ahead} other projects were"
        )
        idle = f"No machine was idle (min_idle is {self.wanted}, {others} waiting)"
        if self.came_from_reserve(watch):
            return f"{idle}, so a parked one went on for it."
        if watch.born >= self.asked_at:
            return f"{idle}, so one was started for it."
        if watch.ready_at is not None and watch.ready_at > self.asked_at:
            return f"{idle}, but one was on its way."
        return f"{idle}, until one became free."


RESTARTED: Final = "Its machine had exited, and was restarted in place with its files."
WOKEN: Final = "Its machine slept, and was woken with its files."


@dataclass(slots=True, eq=False)
class _Birth:
    """How a machine came up: what its creation took, when the engine acknowledged that, and how long it took to answer."""

    create_ms: float | None = None
    acknowledged_at: float = 0.0
    ready_ms: float | None = None


_UNSEEN: Final = _Birth()


@dataclass(frozen=True, slots=True)
class Lost:
    """A machine that was removed because its set-up failed, of which `why` tells: when, in ms since 1970."""

    machine_id: str
    at_ms: int
    why: str


class Traces:
    """The traces of current assignments, by generation, the last 10,000 at most."""

    def __init__(self, observer: Observer, wall_ms: Callable[[], int]) -> None:
        self._observer, self._wall_ms = observer, wall_ms
        self._traces: dict[int, Trace] = {}
        self._unsaved: dict[int, Trace] = {}
        self._births: dict[str, _Birth] = {}
        self.refused = RefusedRequests()
        self._lost: dict[str, Lost] = {}  # by project, the one that lost its machine first comes first

    def of(self, machine: Machine) -> Trace | None:
        """How this machine came to the project that it has."""
        trace = self._traces.get(machine.generation)
        is_its = trace is not None and (trace.project, trace.machine_id) == (machine.project, machine.id)
        return trace if is_its else None

    def lost(self, project: str) -> Lost | None:
        """The machine before the one that this project has, or its last one, if that was removed since its set-up failed."""
        return self._lost.get(project)

    def take_unsaved(self) -> list[Trace]:
        """Those that are new since the last call, as far as their assignments last."""
        unsaved, self._unsaved = self._unsaved, {}
        return list(unsaved.values())

    def load(self, traces: Iterable[Trace]) -> None:
        """Take over what was saved, oldest first."""
        for trace in traces:
            self._keep(trace)

    # what the search and the engine's answers tell

    def add_short(self, machine: Machine, begun_at: float) -> Trace:
        """It was idle and had just answered: there was nothing to do but to store it."""
        took_ms = _ms(self._observer.now() - begun_at)
        birth = self._births.get(machine.id, _UNSEEN)
        return self._add(
            Trace(
                project=_project(machine),
                machine_id=machine.id,
                generation=machine.generation,
                at_ms=self._wall_ms(),
                how="warm",
                why="An idle machine was ready.",
                total_ms=took_ms,
                commit_ms=took_ms,
                create_ms=birth.create_ms,
                ready_ms=birth.ready_ms,
            )
        )

    def add_searched(self, machine: Machine, steps: Steps, why: str, *, is_warm: bool = False) -> Trace:
        """It took a search. `is_warm`: although it waited, no machine had to be started for that."""
        birth = self._births.get(machine.id, _UNSEEN)
        return self._add(
            Trace(
                project=_project(machine),
                machine_id=machine.id,
                generation=machine.generation,
                at_ms=self._wall_ms(),
                how="warm" if steps.line_s is None or is_warm else "cold",
                why=why,
                total_ms=_ms(self._observer.now() - steps.begun_at),
                commit_ms=_ms(steps.commit_s),
                line_ms=None if steps.line_s is None else _ms(steps.line_s),
                probe_ms=None if steps.probe_s is None else _ms(steps.probe_s),
                create_ms=birth.create_ms,
                ready_ms=birth.ready_ms,
                ahead=steps.ahead,
                failed_probes=tuple(steps.failed_probes),
            )
        )

    def created(self, machine_id: str, took_s: float) -> None:
        """The engine acknowledged that it made this machine run."""
        self._births[machine_id] = _Birth(_ms(took_s), self._observer.now())

    def committed(self, changes: Sequence[Change]) -> None:
        """Note who came up and who is gone; a trace ends with its assignment."""
        for change in changes:
            before, after = change.before, change.after
            if change.cause is _ANSWERED:
                self._answered(change)
            if before is not None and before.holding is not None and (after is None or after.holding is None):
                self._traces.pop(before.generation, None)
                self._unsaved.pop(before.generation, None)
                self._note_lost(before.holding.project, before, after)
            if after is None or after.state is _STOPPING:
                self._births.pop(change.machine.id, None)

    def _note_lost(self, project: str, before: Machine, after: Machine | None) -> None:
        self._lost.pop(project, None)
        if after is not None and after.reason == SETUP_FAILED_REMOVED:
            self._lost[project] = Lost(before.id, self._wall_ms(), before.reason)
            if len(self._lost) > KEPT:
                del self._lost[next(iter(self._lost))]

    def _answered(self, change: Change) -> None:
        birth = self._births.get(change.machine.id)
        if birth is not None and birth.ready_ms is None:
            ready_s = self._observer.now() - birth.acknowledged_at
            birth.ready_ms = _ms(ready_s)
            self._observer.came_up(ready_s, change.machine.pool, change.machine.id)

    def _add(self, trace: Trace) -> Trace:
        self._keep(trace)
        self._unsaved[trace.generation] = trace
        if len(self._unsaved) > KEPT:
            del self._unsaved[next(iter(self._unsaved))]
        return trace

    def _keep(self, trace: Trace) -> None:
        self._traces[trace.generation] = trace
        if len(self._traces) > KEPT:
            del self._traces[next(iter(self._traces))]


class TraceKeeper:
    """Saves new traces, a second late: nothing depends on them, and the assignments themselves are stored already."""

    def __init__(self, traces: Traces, store: Store) -> None:
        self._traces, self._store = traces, store

    async def run(self) -> None:
        while True:
            await asyncio.sleep(SAVE_EVERY_S)
            self.save()

    def save(self) -> None:
        """Save those that are new since the last call."""
        unsaved = self._traces.take_unsaved()
        if unsaved:
            self._store.keep_traces({trace.generation: msgspec.json.encode(trace).decode() for trace in unsaved})


def _project(machine: Machine) -> str:
    assert machine.project is not None, f"{machine.id} has no project"
    return machine.project


def _ms(duration_s: float) -> float:
    return round(duration_s * 1000, 3)
