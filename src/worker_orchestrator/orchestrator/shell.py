"""The orchestrator as its callers see it: assign, release, destroy, list, health, and the loops behind them.

The single writer of the fleet. Everything here runs on one event loop; between two awaits nothing else happens, and each
decision is a synchronous call of the pure core.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import structlog

from worker_orchestrator import commands, findings
from worker_orchestrator.clock import Clock
from worker_orchestrator.engines import Engine
from worker_orchestrator.errors import (
    CommitFailed,
    EngineError,
    EngineRejected,
    EngineUnavailable,
    MachineNotFound,
    NoMachineAvailable,
    PoolNotFound,
    ProjectHasNoMachine,
)
from worker_orchestrator.fleet import Fleet
from worker_orchestrator.machine import (
    DEFAULT_POOL,
    Action,
    Cause,
    Change,
    Destroy,
    Machine,
    Outcome,
    Result,
    Spec,
    State,
    Verdict,
)
from worker_orchestrator.orchestrator.actions import Actions
from worker_orchestrator.orchestrator.background import Background
from worker_orchestrator.orchestrator.contact import Contact
from worker_orchestrator.orchestrator.decisions import Decisions
from worker_orchestrator.orchestrator.feed import Feed
from worker_orchestrator.orchestrator.gauges import Gauge, Gauges
from worker_orchestrator.orchestrator.journal import Journal
from worker_orchestrator.orchestrator.observer import Observer
from worker_orchestrator.orchestrator.pools import Pools, Sizes
from worker_orchestrator.orchestrator.probers import Probers
from worker_orchestrator.orchestrator.search import Search
from worker_orchestrator.orchestrator.seats import HangUp
from worker_orchestrator.orchestrator.templates import Templates
from worker_orchestrator.orchestrator.ticker import FIRST_RETRY_S, LONGEST_RETRY_S, Ticker
from worker_orchestrator.orchestrator.traces import Trace, Traces
from worker_orchestrator.orchestrator.views import Health, MachineView, Status, Views
from worker_orchestrator.store import Store

__all__ = ["Assignment", "Health", "Limits", "MachineView", "Orchestrator", "Status"]

TRACES_EVERY_S: Final = 1.0
"""What is known of the last second's assignments may be lost in a crash; the assignments themselves are not."""
MISSES_TO_LOOK: Final = 8
"""A starting worker that does not answer for a quarter of a second is looked for in a listing: it may have exited."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits of the shell, in seconds."""

    assign_timeout_s: float = 30.0
    refresh_interval_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Assignment:
    """A project's machine. `is_new`: it was given to it just now."""

    machine: Machine
    is_new: bool


class Orchestrator:
    """A warm pool of machines on one engine, recorded in one store."""

    def __init__(  # noqa: PLR0913 # what a service is joined of
        self,
        fleet: Fleet,
        spec: Spec,
        engine: Engine,
        store: Store,
        clock: Clock,
        limits: Limits,
        engine_id: str = "",
        *,
        observer: Observer | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.fleet, self.engine, self._store = fleet, engine, store
        self._refresh_interval_s = limits.refresh_interval_s
        self._defect: asyncio.Future[None] = loop.create_future()
        self._background = Background(self.stop_because)
        self._observer = observer or Observer()
        self.traces = Traces(self._observer, clock.wall_ms)
        self.traces.load(msgspec.json.decode(trace, type=Trace) for trace in store.traces())
        self._journal = Journal(fleet, store, loop.time, clock.wall_ms, self._observer)
        self._journal.on_committed.append(self.traces.committed)
        self._journal.on_committed.append(self._committed)
        self._journal.on_undone.append(self._undone)
        self._journal.on_diverged = lambda why: self.stop_because(RuntimeError(why))
        self.feed, self._pools, self._wall_ms = Feed(store), Pools(spec, store, clock.wall_ms), clock.wall_ms
        self._contact = Contact(engine, self._background, self._observer)
        self._decisions = Decisions(
            fleet, self._pools.applied(spec), self._journal, clock, self._contact, self._background
        )
        self._seats = self._decisions.seats
        self._actions = Actions(engine, self._background, self._settled, self._observer, self.traces)
        self._probers = Probers(engine, self._background, loop.time, self._awaited, self._found, self._observer)
        self._search = Search(self._decisions, self._probers, limits.assign_timeout_s, self._observer, self.traces)
        self._seats.on_abandoned = self._search.abandoned
        self._decisions.before_tick = self._search.give_back
        self._ticker = Ticker(engine, engine_id, self._decisions, self._actions, self._probers, self._observer)
        self._views = Views(engine, self._decisions, self._ticker, store.changed_ms())
        self._gauge = Gauge(self._decisions, self._ticker)
        self._journal.on_committed.append(lambda _changes: self._gauge.look())
        self._templates = Templates(engine, limits.refresh_interval_s, self._template_found, self._observer)
        self._decisions.progress = lambda: engine.progress

    # commands

    async def assign(self, project: str, hung_up: HangUp | None = None) -> Machine:
        """The machine of this project: stored before it is returned, and on a first assign it answers at this moment.

        Raises NoMachineAvailable, CommitFailed; CancelledError when `hung_up` returned first.
        """
        return await self._search.assign(project, hung_up)

    async def assign_machine(
        self, project: str, hung_up: HangUp | None = None, *, wait_s: float | None = None, metadata: str | None = None
    ) -> Assignment:
        """As `assign`; waits in line for `wait_s` (None: the usual time) and keeps `metadata` with the assignment.

        Raises NoMachineAvailable, CommitFailed; CancelledError when `hung_up` returned first.
        """
        before = self.fleet.of_project(project)
        machine = await self._search.assign(project, hung_up, wait_s)
        if metadata is not None and self.fleet.machines.get(machine.id) == machine:
            machine = commands.annotate(self.fleet, machine, metadata, self._decisions.now())
            self._journal.attribute()
            await self._journal.durable()
        return Assignment(machine, is_new=before is None or before.generation != machine.generation)

    async def release_of(self, project: str, *generations: int) -> Machine:
        """Take its machine from this project, and return it as it was. It must be of these generations.

        Raises ProjectHasNoMachine, GenerationMismatch, CommitFailed.
        """
        machine = await self.machine_of(project)
        for generation in generations:
            commands.insist(machine, generation)
        commands.release(self.fleet, self._decisions.spec, machine, self._decisions.now())
        self._decisions.resize()
        self._journal.attribute()
        await self._journal.durable()
        return machine

    async def machine_of(self, project: str) -> Machine:
        """The machine of this project. Raises ProjectHasNoMachine."""
        await self._views.settled()
        machine = self.fleet.of_project(project)
        if machine is None:
            raise ProjectHasNoMachine(f"The project {project} has no machine.")
        return machine

    async def machine_named(self, name: str) -> Machine:
        """The machine with this id, or in this container. Raises MachineNotFound."""
        await self._views.settled()
        machine = self.fleet.machines.get(name) or await self._views.by_native_id(name)
        if machine is None:
            raise MachineNotFound(f"No machine {name} is known here.")
        return machine

    async def release(self, name: str) -> None:
        """Take the machine named by its id, its project or its container from its project.

        Raises MachineNotFound, CommitFailed.
        """
        if not self._released(name):
            await self._views.settled()  # what is decided and not yet stored may be taken back
            if not self._released(name):
                machine = await self._views.by_native_id(name)
                if machine is None:
                    raise MachineNotFound
                commands.release(self.fleet, self._decisions.spec, machine, self._decisions.now())
        self._decisions.resize()
        self._journal.attribute()
        await self._journal.durable()

    def _released(self, name: str) -> bool:
        machine = self.fleet.machines.get(name) or self.fleet.of_project(name)
        if machine is None:
            return False
        try:
            commands.release(self.fleet, self._decisions.spec, machine, self._decisions.now())
        except MachineNotFound:
            return False
        return True

    async def destroy(self, name: str, *generations: int) -> Machine | None:
        """Remove the machine named by its id or its container, with all it holds. It is gone when this returns.

        Returns it as it was, None if it was gone before. It must be of these generations.
        Raises MachineNotFound for what is not ours, GenerationMismatch, EngineError, CommitFailed.
        """
        if name not in self.fleet.machines:
            await self._journal.durable()  # a tombstone that is not stored yet may be taken back
        machine = self.fleet.machines.get(name) or await self._views.by_native_id(name)
        if machine is None:
            if name in self.fleet.tombstones:
                return None
            raise MachineNotFound(f"No machine {name} is known here, so nothing was destroyed.")
        for generation in generations:
            commands.insist(machine, generation)
        doomed = commands.destroy(self.fleet, machine, self._decisions.now())
        self._decisions.resize()
        self._journal.attribute()
        await self._journal.durable()
        if doomed is None:
            return machine
        outcome = await self._contact.unless_lost(self._actions.finish(Destroy(machine.id)))
        if outcome is None:
            raise EngineUnavailable(f"{machine.id} goes when the engine is back: {self._contact.problem}.")
        if outcome.result is Result.REJECTED:
            raise EngineRejected(outcome.message)
        if outcome.result is not Result.DONE:
            raise EngineUnavailable(outcome.message)
        return machine

    def change_pool(self, name: str, changes: Mapping[str, int | bool | None]) -> None:
        """Give the pool other sizes (None: those of the settings), pause or resume it. Stored when this returns.

        Raises PoolNotFound, InvalidInput, CommitFailed.
        """
        self.insist_on_pool(name)
        self._pools.change(changes)
        self._decisions.spec = self._pools.applied(self._decisions.spec)
        self._decisions.resize()
        self._decisions.turn_away()
        self._journal.attribute()
        self._decisions.commit_soon()
        self._decisions.wake.set()

    # reading

    def insist_on_pool(self, name: str) -> None:
        """Raises PoolNotFound."""
        if name not in self._decisions.spec.pools:
            raise PoolNotFound(f"There is no pool {name}; there is {', '.join(self._decisions.spec.pools)}.")

    def now(self) -> float:
        """The monotonic time that deadlines of the fleet are told in, in seconds."""
        return self._decisions.now()

    @property
    def spec(self) -> Spec:
        """What the fleet should be, as it is in force now."""
        return self._decisions.spec

    @property
    def configured(self) -> Sizes:
        """What the settings say of the sizes."""
        return self._pools.configured

    async def records(self) -> list[MachineView]:
        """All machines on record, oldest first."""
        return await self._views.records()

    async def record(self, machine: Machine) -> MachineView:
        """One machine, with what the engine knows of it."""
        return await self._views.record(machine)

    def status(self) -> Status:
        return self._views.status()

    async def machines(self) -> list[MachineView]:
        """The machines that can serve, oldest first."""
        return await self._views.machines()

    async def health(self) -> Health:
        """Whether the engine answers within 2 s, and how many machines can serve."""
        return await self._views.health()

    def gauges(self) -> Gauges:
        return self._gauge.read()

    def trace(self, project: str) -> Trace | None:
        """How this project came to the machine that it has; None where it has none, or nobody who saw it told."""
        machine = self.fleet.of_project(project)
        return None if machine is None else self.traces.of(machine)

    # running

    async def run(self) -> None:
        """Keep the pool until cancelled. Raises what a defect raised."""
        loops = [
            self._ticker.run(self._refresh_interval_s),
            self._watch_for_ever(),
            self._sweep_for_ever(),
            self._templates.run(),
            self._keep_traces_for_ever(),
        ]
        for name, loop in zip(("tick", "watch", "sweep", "templates", "traces"), loops, strict=True):
            self._background.spawn(loop, name)
        try:
            await self._defect
        finally:
            await self._seats.aclose()
            await self._background.aclose()
            if self._defect.cancelled():  # else memory may be wrong
                self._journal.flush()
                self._keep_traces()

    async def first_look(self) -> None:
        """Wait for the first listing, 2 s at most: what ended while nobody looked must not be given to its project."""
        if self._ticker.snapshot.begun_at < 0:
            await self._ticker.next()

    def turn_all_away(self) -> None:
        """Answer everybody who waits: the service is stopping."""
        self._seats.refuse_all(NoMachineAvailable("The service is stopping."))

    def stop_because(self, defect: BaseException) -> None:
        """An invariant does not hold any more: stop instead of doing harm."""
        if not self._defect.done():
            self._defect.set_exception(defect)

    async def _watch_for_ever(self) -> None:
        """Let the engine's events wake the tick. They carry no data: a lost one costs the time to the next refresh."""
        retry_s = FIRST_RETRY_S
        while True:
            try:
                async for _ in self.engine.watch():
                    retry_s = FIRST_RETRY_S
                    self._decisions.wake.set()
                    self._templates.look_again()
            except EngineError as error:
                if retry_s == FIRST_RETRY_S:
                    _log.info("no events from the engine", why=error.message)
            self._observer.events_ended()
            self._decisions.wake.set()
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, LONGEST_RETRY_S)

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._refresh_interval_s)
            await self._probers.sweep([machine for machine in self.fleet.machines.values() if machine.is_idle])

    async def _keep_traces_for_ever(self) -> None:
        while True:
            await asyncio.sleep(TRACES_EVERY_S)
            self._keep_traces()

    def _keep_traces(self) -> None:
        unsaved = self.traces.take_unsaved()
        if unsaved:
            self._store.keep_traces({trace.generation: msgspec.json.encode(trace).decode() for trace in unsaved})

    # what came back from the world

    def _settled(self, action: Action, outcome: Outcome) -> None:
        findings.settle(self.fleet, self._decisions.spec, action, outcome, self._decisions.now())
        self._decisions.turn_away()
        self._journal.flush()
        if outcome.result is Result.DONE and not isinstance(action, Destroy):
            self._probers.start(action.machine_id)
            return
        self._probers.stop(action.machine_id)  # what answers at its port may be somebody else, until a listing shows it
        if outcome.result is Result.UNAVAILABLE:
            asyncio.get_running_loop().call_later(FIRST_RETRY_S, self._decisions.wake.set)
        else:
            self._decisions.wake.set()

    def _awaited(self, machine_id: str) -> Machine | None:
        machine = self.fleet.machines.get(machine_id)
        waits = machine is not None and machine.state is State.STARTING and not self._actions.is_busy(machine_id)
        return machine if waits else None

    def _found(self, verdict: Verdict) -> None:
        findings.probed(self.fleet, self._decisions.spec, verdict, self._decisions.now())
        watch = self.fleet.watches.get(verdict.machine_id)
        if watch is not None and watch.misses % MISSES_TO_LOOK == MISSES_TO_LOOK - 1:
            self._decisions.wake.set()
        if self.fleet.pending:
            self._decisions.resize()
            self._decisions.turn_away()
            self._decisions.commit_soon()

    def _template_found(self, template: str, problem: str) -> None:
        pool = self._decisions.spec.pools[DEFAULT_POOL]
        found = replace(pool, template=template or pool.template, problem=problem, pending=False)
        if found == pool:
            return
        if template:
            _log.info("template", template=template, before=pool.template)
        self._decisions.spec = replace(self._decisions.spec, pools={**self._decisions.spec.pools, DEFAULT_POOL: found})
        self._decisions.resize()
        self._decisions.turn_away()
        self._decisions.commit_soon()

    # from decision to deed

    def _committed(self, changes: list[Change]) -> None:
        self._views.changed(changes, self._wall_ms())
        self.feed.committed()
        for change in changes:
            before, after = change.before, change.after
            action = findings.follow_up(self.fleet, change, self._decisions.now())
            if action is not None:
                self._start(action)
            if before is not None and before.project is not None and (after is None or after.project is None):
                self._seats.look_again(before.project)
            if after is None:
                continue
            if after.state is State.STARTING and change.cause in {Cause.RELEASED, Cause.REVIVED}:
                self._probers.start(after.id)
            if after.project is not None and after.state is State.READY:
                self._seats.keep(after)
            elif after.project is not None and after.state is State.FAILED:
                self._seats.refuse(after.project, NoMachineAvailable(f"The machine {after.id} failed: {after.reason}"))

    def _undone(self, changes: list[Change], failure: CommitFailed) -> None:
        for change in changes:
            if change.hands_over and change.after is not None and change.after.project is not None:
                self._seats.refuse(change.after.project, failure)
            if change.before is not None and change.before.project is not None and change.before.state is State.READY:
                self._seats.keep(change.before)  # its project has it back

    def _start(self, action: Action) -> None:
        if findings.still_wanted(self.fleet, action):
            self._actions.start(action)
