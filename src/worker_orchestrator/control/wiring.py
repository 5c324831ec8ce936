"""How the parts of the shell are joined: the loops, and what the news of one part means for the others.

Everything here runs on one event loop; between two awaits nothing else happens. Nothing here is called by a client: that is
`orchestrator.py`.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog
from msgspec.structs import replace

from worker_orchestrator.clock import Clock
from worker_orchestrator.control.assigning.search import Search
from worker_orchestrator.control.background import Background
from worker_orchestrator.control.deciding.journal import Journal
from worker_orchestrator.control.deciding.sizes import Pools
from worker_orchestrator.control.deciding.state import STORE_RETRY_S, Decisions
from worker_orchestrator.control.deciding.ticker import FIRST_RETRY_S, LONGEST_RETRY_S, Ticker
from worker_orchestrator.control.telling.feed import Feed
from worker_orchestrator.control.telling.gauges import Gauge
from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.control.telling.traces import Trace, Traces
from worker_orchestrator.control.telling.views import Views
from worker_orchestrator.control.world.actions import Actions
from worker_orchestrator.control.world.contact import Contact
from worker_orchestrator.control.world.probers import Probers
from worker_orchestrator.control.world.templates import Templates
from worker_orchestrator.core import commands, outcomes
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import (
    DEFAULT_POOL,
    Action,
    Cause,
    Change,
    Destroy,
    Machine,
    Outcome,
    Restart,
    Result,
    Spec,
    State,
    Verdict,
)
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.errors import CommitFailed, EngineError, NoMachineAvailable
from worker_orchestrator.store.store import Store

__all__ = ["Limits", "Wiring"]

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
    stop_timeout_s: float = 10.0


class Wiring:
    """All parts, each a public attribute, and the loops that keep the pool."""

    def __init__(  # noqa: PLR0913, PLR0917 # what a service is joined of
        self,
        fleet: Fleet,
        spec: Spec,
        engine: Engine,
        store: Store,
        clock: Clock,
        limits: Limits,
        engine_id: str,
        observer: Observer,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.fleet, self.engine, self._store, self._limits = fleet, engine, store, limits
        self._observer, self._wall_ms = observer, clock.wall_ms
        self.defect: asyncio.Future[None] = loop.create_future()
        self.background = Background(self.stop_because)
        self.traces = Traces(observer, clock.wall_ms)
        self.traces.load(msgspec.json.decode(trace, type=Trace) for trace in store.traces())
        fleet.hears = False  # until the engine's stream of events is open
        self.journal = Journal(fleet, store, loop.time, clock.wall_ms, observer)
        self.journal.on_committed += [self.traces.committed, self._committed]
        self.journal.on_undone.append(self._undone)
        self.journal.on_diverged = lambda why: self.stop_because(RuntimeError(why))
        self.feed, self.pools = Feed(store), Pools(spec, store, clock.wall_ms)
        self.contact = Contact(engine, self.background, observer)
        self.decisions = Decisions(fleet, self.pools.applied(spec), self.journal, clock, self.contact, self.background)
        self.seats = self.decisions.seats
        self.actions = Actions(engine, self.background, self._settled, observer, self.traces, limits.stop_timeout_s)
        self.decisions.hurry = self.actions.hurry
        self.probers = Probers(
            engine,
            self.background,
            self._awaited,
            self._found,
            observer,
            self._patience_s,
            self._engine_answers,
        )
        self.search = Search(self.decisions, self.probers, limits.assign_timeout_s, observer, self.traces)
        self.seats.on_abandoned = self.search.abandoned
        self.decisions.before_tick = self.search.give_back
        self.ticker = Ticker(engine, engine_id, self.decisions, self.actions, self.probers, observer)
        self.views = Views(engine, self.decisions, self.ticker, store.changed_ms())
        self.gauge = Gauge(self.decisions, self.ticker)
        self.journal.on_committed.append(lambda _changes: self.gauge.look())
        self.templates = Templates(engine, limits.refresh_interval_s, self._template_found, observer)
        self.decisions.progress = lambda: engine.progress

    # running

    async def run(self) -> None:
        """Keep the pool until cancelled. Raises what a defect raised."""
        loops = [
            self.ticker.run(self._limits.refresh_interval_s),
            self._watch_for_ever(),
            self._sweep_for_ever(),
            self.templates.run(),
            self._keep_traces_for_ever(),
            self._try_the_store_for_ever(),
        ]
        for name, loop in zip(("tick", "watch", "sweep", "templates", "traces", "store"), loops, strict=True):
            self.background.spawn(loop, name)
        try:
            await self.defect
        finally:
            await self.seats.aclose()
            await self.background.aclose()
            if self.defect.cancelled():  # else memory may be wrong
                self.journal.flush()
                self._keep_traces()

    def stop_because(self, defect: BaseException) -> None:
        """An invariant does not hold any more: stop instead of doing harm."""
        self.journal.halt()
        if not self.defect.done():
            self.defect.set_exception(defect)

    async def _watch_for_ever(self) -> None:
        """Let the engine's events wake the tick. They decide nothing: a lost one costs the time to the next refresh."""
        retry_s = FIRST_RETRY_S
        while True:
            try:
                async for ended in self.engine.watch():
                    retry_s, self.fleet.hears = FIRST_RETRY_S, True
                    if ended is None:
                        self.decisions.wake.set()
                        self.templates.look_again()
                        continue
                    if self.fleet.doubt(ended, math.inf):
                        self.views.doubted()
                    self.background.spawn(self._look_at(ended), f"end of {ended}")
            except EngineError as error:
                if retry_s == FIRST_RETRY_S:
                    _log.info("no events from the engine", why=error.message)
            self.fleet.hears = False  # until the next stream is open, nobody would tell us of an end
            self._observer.events_ended()
            self.decisions.wake.set()
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, LONGEST_RETRY_S)

    async def _look_at(self, ended: str) -> None:
        """Have a listing made as soon as it shows this end: only that tells what is to be done."""
        try:
            await self.engine.until_shown(ended)
        finally:
            self.fleet.doubt(ended, self.decisions.now())
            self.decisions.wake.set()

    async def _sweep_for_ever(self) -> None:
        while True:
            ids = [machine.id for machine in self.fleet.machines.values() if machine.is_idle]
            await self.probers.sweep(ids, self._idle, self._limits.refresh_interval_s)

    def _idle(self, machine_id: str) -> Machine | None:
        machine = self.fleet.machines.get(machine_id)
        return machine if machine is not None and machine.is_idle else None

    async def _keep_traces_for_ever(self) -> None:
        while True:
            await asyncio.sleep(TRACES_EVERY_S)
            self._keep_traces()

    def _keep_traces(self) -> None:
        unsaved = self.traces.take_unsaved()
        if unsaved:
            self._store.keep_traces({trace.generation: msgspec.json.encode(trace).decode() for trace in unsaved})

    async def _try_the_store_for_ever(self) -> None:
        """Nobody may be asking for anything, since a load balancer heard that nothing can be stored."""
        while True:
            await asyncio.sleep(STORE_RETRY_S)
            if self._store.problem:
                self._store.try_again()

    # what came back from the world

    def _settled(self, action: Action, outcome: Outcome) -> None:
        if self.contact.lost.is_set() and outcome.result not in {Result.DONE, Result.UNKNOWN}:
            outcome = Outcome(Result.UNAVAILABLE, outcome.message)  # it may be another engine that refused
        outcomes.settle(self.fleet, self.decisions.spec, action, outcome, self.decisions.now())
        self.decisions.turn_away()
        self.journal.flush()
        if outcome.result is Result.DONE and not isinstance(action, Destroy):
            if isinstance(action, Restart):
                self.probers.stop(action.machine_id)  # what is still being asked was another worker
            self.probers.start(action.machine_id)
            return
        if outcome.result is Result.OBSTRUCTED:
            self.templates.look_again()  # the engine may find another way that is open
        self.probers.stop(action.machine_id)  # what answers at its port may be somebody else, until a listing shows it
        if outcome.result is Result.UNAVAILABLE:
            asyncio.get_running_loop().call_later(FIRST_RETRY_S, self.decisions.wake.set)
        else:
            self.decisions.wake.set()

    def _engine_answers(self) -> bool:
        return self.contact.problem is None

    def _awaited(self, machine_id: str) -> Machine | None:
        machine = self.fleet.machines.get(machine_id)
        if machine is None or machine.state is not State.STARTING or self.actions.is_busy(machine_id):
            return None
        return None if self.fleet.watches[machine_id].asked else machine  # what answers is about to be stopped

    def _patience_s(self, machine: Machine) -> float:
        return outcomes.patience_s(self.fleet, self.decisions.spec, machine, self.decisions.now())

    def _found(self, verdict: Verdict) -> None:
        outcomes.probed(self.fleet, self.decisions.spec, verdict, self.decisions.now())
        watch = self.fleet.watches.get(verdict.machine_id)
        if watch is not None and watch.misses % MISSES_TO_LOOK == MISSES_TO_LOOK - 1:
            self.decisions.wake.set()
        if self.fleet.pending:
            self.decisions.resize()
            self.decisions.turn_away()
            self.decisions.commit_soon()

    def _template_found(self, template: str, problem: str) -> None:
        pool = self.decisions.spec.pools[DEFAULT_POOL]
        found = replace(pool, template=template or pool.template, problem=problem, pending=False)
        if found == pool:
            return
        if template:
            _log.info("template", template=template, before=pool.template)
        self.decisions.spec = replace(self.decisions.spec, pools={**self.decisions.spec.pools, DEFAULT_POOL: found})
        self.decisions.resize()
        self.decisions.turn_away()
        self.decisions.commit_soon()

    # from decision to deed

    def _committed(self, changes: list[Change]) -> None:
        self.views.changed(changes, self._wall_ms())
        self.feed.committed()
        for change in changes:
            before, after = change.before, change.after
            action = outcomes.follow_up(self.fleet, change, self.decisions.now())
            if action is not None:
                self._start(action)
            if before is not None and before.project is not None and (after is None or after.project is None):
                self.seats.look_again(before.project)
                self.decisions.tell_news()
            if after is None:
                continue
            if after.state is State.STARTING and change.cause in {Cause.RELEASED, Cause.REVIVED}:
                self.probers.start(after.id)
            if after.project is not None and after.state is State.READY:
                self.seats.keep(after)
            elif after.project is not None and after.state is State.FAILED:
                self.seats.refuse(after.project, _gone(after) if after.gone else commands.failed(after))

    def _undone(self, changes: list[Change], failure: CommitFailed) -> None:
        for change in changes:
            if change.hands_over and change.after is not None and change.after.project is not None:
                self.seats.refuse(change.after.project, failure)
            if change.before is not None and change.before.project is not None and change.before.state is State.READY:
                self.seats.keep(change.before)  # its project has it back

    def _start(self, action: Action) -> None:
        if outcomes.still_wanted(self.fleet, action):
            self.actions.start(action)


def _gone(machine: Machine) -> NoMachineAvailable:
    return NoMachineAvailable(f"The machine {machine.id} failed: {machine.reason}")  # the next try gets another one
