"""The orchestrator as its callers see it: assign, release, destroy, list, health, and the loops behind them.

The single writer of the fleet. Everything here runs on one event loop; between two awaits nothing else happens, and each
decision is a synchronous call of the pure core.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Final

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
)
from worker_orchestrator.fleet import Fleet
from worker_orchestrator.machine import (
    DEFAULT_POOL,
    Action,
    Cause,
    Change,
    Destroy,
    Instance,
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
from worker_orchestrator.orchestrator.gauges import Gauge, Gauges
from worker_orchestrator.orchestrator.journal import Journal
from worker_orchestrator.orchestrator.observer import Observer
from worker_orchestrator.orchestrator.probers import Probers
from worker_orchestrator.orchestrator.search import Search
from worker_orchestrator.orchestrator.seats import HangUp
from worker_orchestrator.orchestrator.templates import Templates
from worker_orchestrator.orchestrator.ticker import FIRST_RETRY_S, LONGEST_RETRY_S, Ticker
from worker_orchestrator.orchestrator.traces import Trace, Traces
from worker_orchestrator.orchestrator.views import Health, MachineView, Views
from worker_orchestrator.reconcile import foreign, strays
from worker_orchestrator.store import Store

__all__ = ["Health", "Limits", "MachineView", "Orchestrator"]

MISSES_TO_LOOK: Final = 8
"""A starting worker that does not answer for a quarter of a second is looked for in a listing: it may have exited."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits of the shell, in seconds."""

    assign_timeout_s: float = 30.0
    refresh_interval_s: float = 10.0


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
        self.fleet, self.engine = fleet, engine
        self._refresh_interval_s = limits.refresh_interval_s
        self._defect: asyncio.Future[None] = loop.create_future()
        self._background = Background(self.stop_because)
        self._observer = observer or Observer()
        self.traces = Traces(self._observer, clock.wall_ms)
        self._journal = Journal(fleet, store, loop.time, clock.wall_ms, self._observer)
        self._journal.on_committed.append(self.traces.committed)
        self._journal.on_committed.append(self._committed)
        self._journal.on_undone.append(self._undone)
        self._journal.on_diverged = lambda why: self.stop_because(RuntimeError(why))
        self._contact = Contact(engine, self._background, self._observer)
        self._decisions = Decisions(fleet, spec, self._journal, clock, self._contact, self._background)
        self._seats = self._decisions.seats
        self._actions = Actions(engine, self._background, self._settled, self._observer, self.traces)
        self._probers = Probers(engine, self._background, loop.time, self._awaited, self._found, self._observer)
        self._search = Search(self._decisions, self._probers, limits.assign_timeout_s, self._observer, self.traces)
        self._seats.on_abandoned = self._search.abandoned
        self._decisions.before_tick = self._search.give_back
        self._ticker = Ticker(engine, engine_id, self._decisions, self._actions, self._probers, self._observer)
        self._views = Views(engine, self._decisions, self._ticker)
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

    async def destroy(self, name: str) -> None:
        """Remove the machine named by its id or its container, with all it holds. It is gone when this returns.

        Raises MachineNotFound for what is not ours, EngineError, CommitFailed.
        """
        if name not in self.fleet.machines:
            await self._journal.durable()  # a tombstone that is not stored yet may be taken back
        machine = self.fleet.machines.get(name) or await self._views.by_native_id(name)
        if machine is None:
            if name in self.fleet.tombstones:
                return
            raise MachineNotFound(f"No machine {name} is known here, so nothing was destroyed.")
        doomed = commands.destroy(self.fleet, machine, self._decisions.now())
        self._decisions.resize()
        self._journal.attribute()
        await self._journal.durable()
        if doomed is None:
            return
        outcome = await self._contact.unless_lost(self._actions.finish(Destroy(machine.id)))
        if outcome is None:
            raise EngineUnavailable(f"{machine.id} goes when the engine is back: {self._contact.problem}.")
        if outcome.result is Result.REJECTED:
            raise EngineRejected(outcome.message)
        if outcome.result is not Result.DONE:
            raise EngineUnavailable(outcome.message)

    # reading

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

    def strays(self) -> list[Instance]:
        return strays(self.fleet, self._ticker.snapshot)

    def foreign(self) -> list[Instance]:
        return foreign(self.fleet, self._ticker.snapshot)

    # running

    async def run(self) -> None:
        """Keep the pool until cancelled. Raises what a defect raised."""
        loops = [
            self._ticker.run(self._refresh_interval_s),
            self._watch_for_ever(),
            self._sweep_for_ever(),
            self._templates.run(),
        ]
        for name, loop in zip(("tick", "watch", "sweep", "templates"), loops, strict=True):
            self._background.spawn(loop, name)
        try:
            await self._defect
        finally:
            await self._seats.aclose()
            await self._background.aclose()
            if self._defect.cancelled():  # else memory may be wrong
                self._journal.flush()

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
