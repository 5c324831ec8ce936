"""The orchestrator as its callers see it: assign, release, destroy, list, health, and the loops behind them.

The single writer of the fleet. Everything here runs on one event loop; between two awaits nothing else happens, and each
decision is a synchronous call of the pure core.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping
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
    Snapshot,
    Spec,
    State,
    Verdict,
)
from worker_orchestrator.orchestrator.actions import Actions
from worker_orchestrator.orchestrator.background import Background
from worker_orchestrator.orchestrator.journal import Journal
from worker_orchestrator.orchestrator.probers import Probers
from worker_orchestrator.orchestrator.seats import HangUp, Seats
from worker_orchestrator.orchestrator.templates import Templates
from worker_orchestrator.reconcile import Plan, dying, foreign, reconcile, resize, strays
from worker_orchestrator.store import Store

__all__ = ["Health", "Limits", "MachineView", "Orchestrator"]

LIST_TIMEOUT_S: Final = 10.0
PING_TIMEOUT_S: Final = 2.0
TICK_GAP_S: Final = 0.05
"""A burst of events is one tick: the first wakes at once, the rest wait this long."""
FIRST_RETRY_S: Final = 0.5
LONGEST_RETRY_S: Final = 5.0
CANDIDATES: Final = 3
_NATIVE_ID: Final = re.compile(r"[0-9a-f]{12}|[0-9a-f]{64}")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits of the shell, in seconds."""

    assign_timeout_s: float = 30.0
    refresh_interval_s: float = 10.0


@dataclass(frozen=True, slots=True)
class MachineView:
    """A machine that can serve, with what the engine knows of it."""

    machine: Machine
    instance: Instance | None


@dataclass(frozen=True, slots=True)
class Health:
    connected: bool
    idle: int
    used: int


class Orchestrator:
    """A warm pool of machines on one engine, recorded in one store."""

    def __init__(  # what an orchestrator is made of
        self,
        fleet: Fleet,
        spec: Spec,
        engine: Engine,
        store: Store,
        clock: Clock,
        limits: Limits,
        engine_id: str = "",
    ) -> None:
        self.fleet, self.spec, self.engine, self.limits = fleet, spec, engine, limits
        self._clock, self._engine_id = clock, engine_id
        self._now = asyncio.get_running_loop().time
        self._defect: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._background = Background(self.stop_because)
        self._journal = Journal(fleet, store, self._now, clock.wall_ms)
        self._journal.on_committed.append(self._committed)
        self._journal.on_undone.append(self._undone)
        self._journal.on_diverged = lambda why: self.stop_because(RuntimeError(why))
        self._actions = Actions(engine, self._background, self._settled)
        self._probers = Probers(engine, self._background, self._now, self._awaited, self._found)
        self._seats = Seats(self._abandoned)
        self._templates = Templates(engine, limits.refresh_interval_s, self._template_found)
        self._wake, self._ticked = asyncio.Event(), asyncio.Event()
        self._snapshot = Snapshot(-1.0, {})
        self._engine_problem: str | None = "no listing was made yet"

    # commands

    async def assign(self, project: str, hung_up: HangUp | None = None) -> Machine:
        """The machine of this project: stored before it is returned, and on a first assign it answers at this moment.

        Raises NoMachineAvailable, CommitFailed; CancelledError when `hung_up` returned first.
        """
        if project not in self._seats:
            generation = self.fleet.generation
            machine = self._take(project)
            if machine is not None and (machine.generation <= generation or self._is_verified(machine)):
                await self._journal.durable()
                return machine
            self._seats.open(project, generation, self._search(project, generation, machine))
        return await self._seats.sit(project, hung_up)

    async def release(self, name: str) -> None:
        """Take the machine named by its id, its project or its container from its project.

        Raises MachineNotFound, CommitFailed.
        """
        machine = self.fleet.machines.get(name) or self.fleet.of_project(name) or await self._by_native_id(name)
        if machine is None:
            raise MachineNotFound
        commands.release(self.fleet, self.spec, machine, self._now())
        self._resize()
        await self._journal.durable()

    async def destroy(self, name: str) -> None:
        """Remove the machine named by its id or its container, with all it holds. It is gone when this returns.

        Raises MachineNotFound for what is not ours, EngineError, CommitFailed.
        """
        machine = self.fleet.machines.get(name) or await self._by_native_id(name)
        if machine is None:
            if name in self.fleet.tombstones:
                return
            raise MachineNotFound(f"No machine {name} is known here, so nothing was destroyed.")
        doomed = commands.destroy(self.fleet, machine, self._now())
        self._resize()
        await self._journal.durable()
        if doomed is None:
            return
        outcome = await self._actions.finish(Destroy(machine.id))
        if outcome.result is Result.REJECTED:
            raise EngineRejected(outcome.message)
        if outcome.result is not Result.DONE:
            raise EngineUnavailable(outcome.message)

    # reading

    async def machines(self) -> list[MachineView]:
        """The machines that can serve, oldest first."""
        await self._settled_decisions()
        await self._list_all_ready()
        ready = [machine for machine in self.fleet.machines.values() if machine.state is State.READY]
        ready.sort(key=lambda machine: machine.id)
        return [MachineView(machine, self._snapshot.instances.get(machine.id)) for machine in ready]

    async def health(self) -> Health:
        """Whether the engine answers within 2 s, and how many machines can serve."""
        try:
            async with asyncio.timeout(PING_TIMEOUT_S):
                await self.engine.ping()
        except (TimeoutError, EngineError):
            return Health(connected=False, idle=0, used=0)
        await self._settled_decisions()
        ready = [machine for machine in self.fleet.machines.values() if machine.state is State.READY]
        idle = sum(machine.project is None for machine in ready)
        return Health(connected=True, idle=idle, used=len(ready) - idle)

    def strays(self) -> list[Instance]:
        return strays(self.fleet, self._snapshot)

    def foreign(self) -> list[Instance]:
        return foreign(self.fleet, self._snapshot)

    # running

    async def run(self) -> None:
        """Keep the pool until cancelled. Raises what a defect raised."""
        loops = [self._tick_for_ever(), self._watch_for_ever(), self._sweep_for_ever(), self._templates.run()]
        for name, loop in zip(("tick", "watch", "sweep", "templates"), loops, strict=True):
            self._background.spawn(loop, name)
        try:
            await self._defect
        finally:
            await self._seats.aclose()
            await self._background.aclose()
            self._journal.flush()

    def turn_all_away(self) -> None:
        """Answer everybody who waits: the service is stopping."""
        self._seats.refuse_all(NoMachineAvailable("The service is stopping."))

    def stop_because(self, defect: BaseException) -> None:
        """An invariant does not hold any more: stop instead of doing harm."""
        if not self._defect.done():
            self._defect.set_exception(defect)

    async def _tick_for_ever(self) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            self._wake.clear()
            plan = await self._tick()
            self._ticked.set()
            if plan is None:
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, LONGEST_RETRY_S)
                continue
            retry_s = FIRST_RETRY_S
            await asyncio.sleep(TICK_GAP_S)
            pause_s = self.limits.refresh_interval_s - TICK_GAP_S
            if plan.wake_at is not None:
                pause_s = min(pause_s, plan.wake_at - self._now())
            try:
                async with asyncio.timeout(max(0.0, pause_s)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _tick(self) -> Plan | None:
        """Snapshot, reconcile, commit, act. None if the engine could not be listed, which proves nothing."""
        with self._actions.listing() as busy:
            begun_at = self._now()
            try:
                async with asyncio.timeout(LIST_TIMEOUT_S):
                    instances = await self.engine.list()
            except (TimeoutError, EngineError) as error:
                self._engine_failed(str(error) or f"the engine did not list within {LIST_TIMEOUT_S:g} s")
                return None
            dead = list(dying(self.fleet, instances, self.spec, begun_at))
            evidence = dict(zip(dead, await asyncio.gather(*map(self._actions.last_lines, dead)), strict=True))
            snapshot = Snapshot(begun_at, instances, frozenset(busy), evidence)
            if not await self._is_the_right_engine(instances):
                return None
        self._engine_answers()
        self._snapshot = snapshot
        plan = reconcile(self.fleet, snapshot, self.spec, self._now(), self._clock.machine_id)
        self._turn_away()
        if self._journal.flush():
            for action in plan.actions:
                self._start(action)
        for machine in list(self.fleet.machines.values()):
            if machine.state is State.STARTING and not self._actions.is_busy(machine.id) and machine.id in instances:
                self._probers.start(machine.id)
        return plan

    async def _is_the_right_engine(self, instances: Mapping[str, Instance]) -> bool:
        """Whether a listing that lacks a machine of ours may be believed: another engine lacks all of them."""
        ours = [m for m in self.fleet.machines.values() if m.state is State.READY and not self._actions.is_busy(m.id)]
        if all(machine.id in instances for machine in ours):
            return True
        try:
            async with asyncio.timeout(LIST_TIMEOUT_S):
                identity = await self.engine.identity()
        except (TimeoutError, EngineError) as error:
            self._engine_failed(str(error) or "the engine did not say which one it is")
            return False
        if identity.marked or identity.id == self._engine_id:
            return True
        self._engine_failed(f"another engine answers at this address ({identity.id}, not {self._engine_id})")
        return False

    async def _watch_for_ever(self) -> None:
        """Let the engine's events wake the tick. They carry no data: a lost one costs the time to the next refresh."""
        retry_s = FIRST_RETRY_S
        while True:
            try:
                async for _ in self.engine.watch():
                    retry_s = FIRST_RETRY_S
                    self._wake.set()
                    self._templates.look_again()
            except EngineError as error:
                _log.info("no events from the engine", why=error.message)
            self._wake.set()
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, LONGEST_RETRY_S)

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self.limits.refresh_interval_s)
            await self._probers.sweep([machine for machine in self.fleet.machines.values() if machine.is_idle])

    async def _next_tick(self) -> None:
        """Wait for a listing that begins now, for 2 s at most."""
        try:
            async with asyncio.timeout(PING_TIMEOUT_S):
                for _ in range(2):  # the one under way may have begun too early
                    self._ticked.clear()
                    self._wake.set()
                    await self._ticked.wait()
        except TimeoutError:
            return

    def _engine_failed(self, why: str) -> None:
        if self._engine_problem != why:
            _log.warning("the engine cannot be listed", why=why)
        self._engine_problem = why

    def _engine_answers(self) -> None:
        if self._engine_problem is not None:
            _log.info("the engine answers")
        self._engine_problem = None

    # the search for a machine

    def _take(self, project: str) -> Machine | None:
        machine = commands.assign(self.fleet, self.spec, project, self._now())
        self._resize()
        return machine

    def _is_verified(self, machine: Machine) -> bool:
        verified_at = self.fleet.watches[machine.id].verified_at
        return verified_at is not None and self._now() - verified_at <= self.spec.verify_after_s

    async def _search(self, project: str, generation: int, machine: Machine | None) -> Machine:
        """From reserved or in line to stored and verified; at most three machines that turn out not to answer."""
        try:
            async with asyncio.timeout(self.limits.assign_timeout_s):
                for _ in range(CANDIDATES):
                    if machine is None:
                        machine = await self._promised(project)
                    await self._journal.durable()
                    if machine.generation <= generation or await self._answers(machine):
                        return machine
                    machine = self._take(project)
        except TimeoutError:
            self._abandoned(project, generation)
            raise NoMachineAvailable(self._obstacle()) from None
        except (NoMachineAvailable, CommitFailed):
            self._abandoned(project, generation)
            raise
        self._abandoned(project, generation)
        raise NoMachineAvailable(f"{CANDIDATES} machines in a row did not answer.")

    async def _promised(self, project: str) -> Machine:
        own = self.fleet.of_project(project)
        if own is not None and own.state is State.READY:
            return own  # it was served between the decision and this turn
        if own is None and project not in self.fleet.pool(DEFAULT_POOL).line:
            raise NoMachineAvailable(self._obstacle())
        return await self._seats.promised(project)

    async def _answers(self, machine: Machine) -> bool:
        """Whether a machine that was just reserved serves. If not, it is withdrawn as broken."""
        if self._is_verified(machine):
            return True
        verdict = await self._probers.probe(machine)
        if self.fleet.machines.get(machine.id) != machine:
            return False  # released or destroyed by somebody else meanwhile
        if verdict.answered:
            self._found(verdict)
            return True
        reason = f"did not answer when it was to be handed out: {verdict.detail}"
        commands.withdraw(self.fleet, self.spec, machine, self._now(), broken=reason)
        await self._journal.durable()
        return False

    def _abandoned(self, project: str, generation: int) -> None:
        """Nobody waits for this project any more: leave the line, and give back what nobody was told of."""
        commands.leave_line(self.fleet, project)
        machine = self.fleet.of_project(project)
        if machine is not None and machine.generation > generation and machine.state is State.READY:
            commands.withdraw(self.fleet, self.spec, machine, self._now())
        self._commit_soon()

    def _turn_away(self) -> None:
        for project, why_not in commands.turn_away(self.fleet, self.spec, self._now()).items():
            self._seats.refuse(project, why_not)

    def _obstacle(self) -> str:
        if self._engine_problem is not None:
            return f"The engine does not answer: {self._engine_problem}"
        return commands.obstacle(self.fleet, self.spec, DEFAULT_POOL) or self._templates.progress

    # what came back from the world

    def _settled(self, action: Action, outcome: Outcome) -> None:
        findings.settle(self.fleet, self.spec, action, outcome, self._now())
        self._turn_away()
        self._journal.flush()
        if outcome.result is Result.DONE and not isinstance(action, Destroy):
            self._probers.start(action.machine_id)
        elif outcome.result is Result.UNAVAILABLE:
            asyncio.get_running_loop().call_later(FIRST_RETRY_S, self._wake.set)
        else:
            self._wake.set()

    def _awaited(self, machine_id: str) -> Machine | None:
        machine = self.fleet.machines.get(machine_id)
        waits = machine is not None and machine.state is State.STARTING and not self._actions.is_busy(machine_id)
        return machine if waits else None

    def _found(self, verdict: Verdict) -> None:
        findings.probed(self.fleet, self.spec, verdict, self._now())
        if self.fleet.pending:
            self._resize()
            self._turn_away()
            self._commit_soon()

    def _template_found(self, template: str, problem: str) -> None:
        pool = self.spec.pools[DEFAULT_POOL]
        found = replace(pool, template=template or pool.template, problem=problem, pending=False)
        if found == pool:
            return
        if template:
            _log.info("template", template=template, before=pool.template)
        self.spec = replace(self.spec, pools={**self.spec.pools, DEFAULT_POOL: found})
        self._resize()
        self._turn_away()
        self._commit_soon()

    # from decision to deed

    def _resize(self) -> None:
        """Begin what is missing in this very turn. While the engine is away, the tick that finds it does so instead."""
        if self._engine_problem is None:
            resize(self.fleet, self.spec, self._now(), self._clock.machine_id)

    def _commit_soon(self) -> None:
        if self.fleet.pending:
            self._background.spawn(self._commit_in_background(), "commit")

    async def _commit_in_background(self) -> None:
        try:
            await self._journal.durable()
        except CommitFailed:
            self._wake.set()

    def _committed(self, changes: list[Change]) -> None:
        for change in changes:
            _tell(change)
            after = change.after
            action = findings.follow_up(self.fleet, change, self._now())
            if action is not None:
                self._start(action)
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

    def _start(self, action: Action) -> None:
        if findings.still_wanted(self.fleet, action):
            self._actions.start(action)

    async def _by_native_id(self, name: str) -> Machine | None:
        """The machine in this container (12 or 64 hex digits)."""
        if not _NATIVE_ID.fullmatch(name):
            return None
        await self._list_all_ready()
        for instance in self._snapshot.instances.values():
            if instance.native_id.startswith(name):
                return self.fleet.machines.get(instance.id)
        return None

    async def _list_all_ready(self) -> None:
        """See to it that the last listing knows every machine that can serve."""
        known = self._snapshot.instances
        if any(m.state is State.READY and m.id not in known for m in self.fleet.machines.values()):
            await self._next_tick()

    async def _settled_decisions(self) -> None:
        """A read shows nothing that may yet be undone."""
        with contextlib.suppress(CommitFailed):
            await self._journal.durable()


def _tell(change: Change) -> None:
    """One line per transition, after it is stored."""
    told = change.after if change.after is not None and change.after.project else change.before or change.machine
    _log.info(
        change.cause.value,
        machine=told.id,
        project=told.project,
        generation=told.generation or None,
        why=change.machine.reason,
    )
