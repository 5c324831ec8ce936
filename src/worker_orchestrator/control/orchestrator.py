"""The orchestrator as its callers see it: assign, release, destroy, restart, and what is read of the pool.

The single writer of the fleet. Everything here runs on one event loop; between two awaits nothing else happens, and each
decision is a synchronous call of the pure core.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from worker_orchestrator.clock import Clock
from worker_orchestrator.control.assignment import Assignment, Release
from worker_orchestrator.control.deciding.seats import HangUp
from worker_orchestrator.control.reading.gauges import Gauges
from worker_orchestrator.control.reading.standing import Standing
from worker_orchestrator.control.reading.views import Health, MachineView, Status
from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.control.telling.traces import Trace
from worker_orchestrator.control.wiring import Limits, Wiring
from worker_orchestrator.core import commands, due_actions, refusals
from worker_orchestrator.core.action import Destroy, Restart
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.lease import NO_TERMS, Asked, Terms
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.core.spec import DEFAULT_POOL, Spec
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.extras import LateValues
from worker_orchestrator.errors import MachineNotFound, NotSupported, ProjectHasNoMachine
from worker_orchestrator.store.store import Store

__all__ = ["Orchestrator"]

TRACE_S: Final = 5.0
"""A search that asks its machine for longer than this is not waited for."""


class Orchestrator:
    """A warm pool of machines on one engine, recorded in one store.

    * `short_way`  assigns and releases that need to wait for nothing but the store
    * `leases`     keeps assignments alive
    * `uses`       is told what callers do in a machine, for as long as they do it
    * `sleepers`   puts machines to sleep, and wakes them
    * `late_key`   that of the digests of what machines are configured with (empty: one that nobody will know again)
    * `contact`    asks the engine on behalf of a caller, with a limit
    * `defect`     takes the first broken invariant, and stops the service
    * `sizes`      what the settings say of the sizes of pools, and what was changed of them at run time
    * `plans`      says which sizes would have been right for the demand that is on record
    * `conflict`   says why what was changed at run time cannot stay with other sizes of the settings
    * `reconfigure` has it keep other pools, or other sizes, from now on
    * `elsewhere`  the host of each machine, by its id, that was published elsewhere than the settings say now
    """

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
        late_key: bytes = b"",
    ) -> None:
        self.fleet, self.engine = fleet, engine
        parts = Wiring(fleet, spec, engine, store, clock, limits, engine_id, observer or Observer(), late_key)
        self._parts, self._state, self._decisions = parts, parts.state, parts.decisions
        self._journal, self._views = parts.journal, parts.views
        self.feed, self.traces, self.contact = parts.feed, parts.traces, parts.contact
        self.defect, self.short_way, self.reconfigure = parts.defect, parts.short_way, parts.reconfigure
        self.sizes, self.conflict, self.plans = parts.sizes, parts.sizes.conflict, parts.plans
        self.leases, self.uses, self.sleepers = parts.leases, parts.uses, parts.sleepers
        self.elsewhere: Mapping[str, str] = parts.state.elsewhere

    # assign and release

    async def assign(
        self, project: str, pool: str | None, hung_up: HangUp | None = None, *, wait_s: float | None = None
    ) -> Machine:
        """The machine of this project: stored before it is returned, and on a first assign it answers at this moment.

        `pool` is the pool that it must be of; None: that of the machine it has, else the default one. Waits in line for
        `wait_s` (None: the usual time). Raises NoMachineAvailable, MachineFailed, OtherPool, PoolNotFound, CommitFailed;
        CancelledError when `hung_up` returned first.
        """
        return await self._parts.search.assign(project, pool, hung_up, wait_s)

    async def assign_machine(  # noqa: PLR0913 # what /v1 can ask for
        self,
        project: str,
        pool: str | None,
        hung_up: HangUp | None = None,
        *,
        wait_s: float | None = None,
        metadata: str | None = None,
        terms: Terms = NO_TERMS,
        values: LateValues | None = None,
        replace: bool = False,
        for_commands: bool = False,
    ) -> Assignment:
        """As `assign`, and keeps `metadata` with the assignment, which ends on these `terms` where they say so.

        A new assignment is stored with both. One that the project has, or that another client of it began, gets them after.
        Then it is given these `values`, unless it has them; `replace`: or others. `for_commands` is as in `Asked`.
        """
        before = self.fleet.of_project(project)
        if values is not None:
            of_pool = pool or (DEFAULT_POOL if before is None else before.pool)
            await self._parts.configuring.insist_on_room(of_pool, values)
        asked = Asked(metadata, terms, for_commands) if metadata is not None or terms or for_commands else None
        if asked is not None:
            self.leases.insist_on_terms(pool or (DEFAULT_POOL if before is None else before.pool), terms)
            is_short = before is None and values is None
            if is_short and (own := await self._parts.short_way.assigned(project, pool, asked)) is not None:
                return Assignment(own, is_new=True)
        machine = await self._parts.search.assign(project, pool, hung_up, wait_s, asked=asked)
        is_new = before is None or before.generation != machine.generation
        if asked is not None:
            machine = await self.leases.note(machine, asked)
        if values is None:
            return Assignment(machine, is_new=is_new)
        configured = await self._parts.configuring.configure(machine, values, replace=replace)
        return Assignment(configured.machine, is_new=is_new, setup=configured.report)

    async def release_of(self, project: str, *generations: int) -> Release:
        """Take its machine from this project. It must be of these generations.

        Raises ProjectHasNoMachine, GenerationMismatch, CommitFailed.
        """
        machine = await self.machine_of(project)
        for generation in generations:
            commands.check_generation(machine, generation)
        after = commands.release(self.fleet, self._state.spec, machine, self._state.now())
        await self._resized_and_stored()
        is_removed = after is None or after.state is State.STOPPING
        is_cleaned = not is_removed and after is not None and after.configuration is not None
        return Release(machine, is_removed=is_removed, is_cleaned=is_cleaned)

    async def release(self, name: str) -> None:
        """Take the machine named by its id, its project or its container from its project.

        Raises MachineNotFound, CommitFailed.
        """
        if not self.short_way.take_back(name):
            await self._journal.drain()  # what is decided and not yet stored may be taken back
            if not self.short_way.take_back(name):
                machine = await self._views.by_native_id(name)
                if machine is None:
                    raise MachineNotFound
                commands.release(self.fleet, self._state.spec, machine, self._state.now())
        await self._resized_and_stored()

    async def _resized_and_stored(self) -> None:
        """Return when what was decided, and what it asks of the pool in turn, is stored. Raises CommitFailed."""
        self._decisions.resize()
        self._journal.attribute()
        await self._journal.durable()

    # destroy and restart

    async def destroy(self, name: str, *generations: int, at_once: bool = False) -> Machine | None:
        """Remove the machine named by its id or its container, with all it holds. It is gone when this returns.

        The worker of a project is asked to end first, and has time to, unless it shall go `at_once`.
        Returns it as it was, None if it was gone before. It must be of these generations.
        Raises MachineNotFound for what is not ours, GenerationMismatch, EngineError, CommitFailed.
        """
        if name not in self.fleet.machines:
            await self._journal.durable()  # a tombstone that is not stored yet may be taken back
        machine = self.fleet.machines.get(name) or await self._views.by_native_id(name)
        if machine is None:
            if name in self.fleet.tombstones:
                return None
            raise MachineNotFound(f"There is no machine {name}, so nothing was removed.")
        for generation in generations:
            commands.check_generation(machine, generation)
        doomed = commands.destroy(self.fleet, machine, self._state.now(), at_once=at_once)
        await self._resized_and_stored()
        if doomed is None:
            return machine
        is_left = machine.id in self.fleet.watches
        action = due_actions.removal(self.fleet, doomed) if is_left else Destroy(machine.id)
        await self._parts.carrying_out.done(action, f"{machine.id} will be removed")
        return machine

    async def restart(self, name: str, *generations: int) -> Machine:
        """Start the machine of a project again in place, with its files, also where it had failed for good.

        `name` is its id or its container's. Its container was started again when this returns; it is READY as soon as it
        answers. Returns it as it is then. It must be of these generations.
        Raises MachineNotFound, NotAssigned, NotRunning, NotSupported, GenerationMismatch, EngineError, CommitFailed;
        NoMachineAvailable if it sleeps, and `max_awake` leaves no room for it.
        """
        machine = await self.machine_named(name)
        for generation in generations:
            commands.check_generation(machine, generation)
        if machine.state is State.STOPPING:
            raise MachineNotFound(f"{machine.id} is being removed.")
        if not self.spec.restarts_in_place:
            raise NotSupported("This engine cannot restart a machine in place. Release or destroy it to get a new one.")
        refusals.insist_on_room(self.fleet, self.spec, machine)
        commands.restart(self.fleet, machine, self._state.now())
        self._journal.attribute()
        await self._journal.durable()
        action = Restart(machine.id, stop_first=True)
        if due_actions.still_wanted(self.fleet, action):
            await self._parts.carrying_out.done(action, f"{machine.id} will be restarted")
        await self._journal.drain()  # a removal that is not stored yet may be undone
        now = self.fleet.machines.get(machine.id)
        if now is None or now.state is State.STOPPING:
            raise MachineNotFound(f"{machine.id} was removed in the meantime.")
        return now

    def change_pool(self, name: str, changes: Mapping[str, int | bool | None]) -> None:
        """Give the pool other sizes (None: those of the settings), pause or resume it. Stored when this returns.

        Raises PoolNotFound, InvalidInput, CommitFailed.
        """
        self.insist_on_pool(name)
        self._parts.sizes.change(name, changes)
        self._state.spec = self._parts.sizes.applied(self._state.spec)
        self._decisions.resize()
        self._decisions.turn_away()
        self._journal.attribute()
        self._decisions.commit_soon()
        self._state.wake.set()

    def insist_on_pool(self, name: str) -> None:
        """Raises PoolNotFound."""
        if name not in self._state.spec.pools:
            raise refusals.pool_not_found(self._state.spec, name)

    @property
    def spec(self) -> Spec:
        """What the fleet should be, as it is in force now."""
        return self._state.spec

    def standing(self, pool: str, machines: Sequence[Machine]) -> Standing:
        """Why this pool, which has these machines, has as many idle ones as it has. It may be one that is retired."""
        return self._parts.standings.of(pool, machines)

    # reading

    def now(self) -> float:
        """The monotonic time of all deadlines of the fleet, in seconds."""
        return self._state.now()

    async def machine_of(self, project: str) -> Machine:
        """The machine of this project. Raises ProjectHasNoMachine."""
        await self._journal.drain()
        machine = self.fleet.of_project(project)
        if machine is None:
            raise ProjectHasNoMachine(f"The project {project} has no machine.")
        return machine

    async def traced_machine_of(self, project: str) -> Machine:
        """As `machine_of`, once it is known how the project came to it, `TRACE_S` later at the latest.

        A search that takes longer stores the assignment first: it is told of while the machine is still asked once more.
        """
        machine = await self.machine_of(project)
        if self.traces.of(machine) is not None:
            return machine
        await self._parts.seats.search_ended(project, TRACE_S)
        return await self.machine_of(project)

    async def machine_named(self, name: str) -> Machine:
        """The machine with this id, or in this container. Raises MachineNotFound."""
        await self._journal.drain()
        machine = self.fleet.machines.get(name) or await self._views.by_native_id(name)
        if machine is None:
            raise MachineNotFound(f"There is no machine {name}.")
        return machine

    async def records(self) -> list[MachineView]:
        """All machines on record, oldest first."""
        return await self._views.records()

    async def record(self, machine: Machine) -> MachineView:
        """One machine, with what the engine knows of it."""
        return await self._views.record(machine)

    async def machines(self) -> list[MachineView]:
        """The machines that can serve, oldest first."""
        return await self._views.machines()

    def status(self) -> Status:
        """How the service is, and how many wait."""
        return self._views.status()

    async def health(self) -> Health:
        """Whether the engine answers within 2 s, and how many machines can serve."""
        return await self._views.health()

    def gauges(self) -> Gauges:
        """How the fleet stands at this moment, in numbers."""
        return self._parts.gauge.read()

    def trace(self, project: str) -> Trace | None:
        """How this project came to the machine that it has; None if it has none, or if this is not on record."""
        machine = self.fleet.of_project(project)
        return None if machine is None else self.traces.of(machine)

    async def run(self) -> None:
        """Keep the pool until cancelled. Raises what a defect raised."""
        await self._parts.run()

    async def first_look(self) -> None:
        """Wait for the first listing, 2 s at most: a worker may have ended while the service was down."""
        if self._state.snapshot.begun_at < 0:
            await self._state.next_listing()

    def turn_all_away(self) -> None:
        """Answer all requests that wait: the service is stopping."""
        self._parts.search.turn_all_away()
        self._parts.actions.turn_all_away()
        self._parts.configuring.turn_all_away()
