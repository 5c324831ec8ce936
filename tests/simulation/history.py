"""One seed, one history: clients that ask, hang up and ask again, in a world in which anything may go wrong.

`simulate(seed)` draws the settings and the faults from the seed, lets the history run, and then lets everything work again:
from there on the pool must come to rest at its size, with every promise kept and nothing left over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog
from msgspec.structs import replace
from tests.simulation.configuration import FIRST_PORT, POOLS, Changes, Configuration
from tests.simulation.model import Request, native_id
from tests.simulation.virtual import VirtualLoop, virtual_time
from tests.simulation.world import OWNER, Killed, Process, World, nobody

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.core.reasons import UNPARKED_FOR_CHECK
from worker_orchestrator.core.spec import Spec
from worker_orchestrator.engines.extras import LateValues
from worker_orchestrator.errors import (
    CommitFailed,
    ConfiguredOtherwise,
    EngineError,
    EngineRejected,
    InvalidInput,
    MachineFailed,
    MachineNotFound,
    NoMachineAvailable,
    NotAssigned,
    NotRunning,
    OrchestratorError,
    OtherPool,
    PoolNotFound,
    PortTaken,
    SetupFailed,
)
from worker_orchestrator.settings.settings import DEFAULT_POOL

__all__ = ["Outcome", "simulate"]

SLACK_S: Final = 0.05
READS_WITHIN_S: Final = 4.5
DESTROYS_WITHIN_S: Final = 95.0
CONFIGURES_WITHIN_S: Final = 200.0
"""Others may be configuring the machine, each of them for 30 s and as long as its hook may take."""
WITHOUT_ENGINE_S: Final = 8.0
"""Three seconds of patience with the engine, and three machines at most that are asked for one second each."""
SWITCHED_S: Final = 12.0
"""Another engine answers at least so long: no listing is that slow, so none falls between two looks at the right one."""
STARVES_S: Final = 12.0
"""A listing may take 10 s, and so long a commit that failed may leave a machine and a client side by side."""
UNKNOWN_POOLS: Final = 0.05
"""So many of the assigns name a pool that may not be in force."""
RELOADS: Final = 0.8
KILLS_AT_RELOAD: Final = 0.3
RESTS_WITHIN_S: Final = 480.0
"""The longest back-off, 300 s, one start time-out, and two minutes; less than the evidence of a failure is kept."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a history went; `violated` is empty where everything held."""

    seed: int
    events: list[str]
    violated: str
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class Settings:
    """What varies from seed to seed. `file` is what the settings file says at first."""

    file: Configuration
    projects: list[str]
    steps: int
    weather: float  # how bad it is, from 0 to 1
    kills: bool
    edits: float  # how often the file is edited, and sizes are changed at run time

    @classmethod
    def draw(cls, chance: random.Random) -> Settings:
        file = Configuration.draw(chance)
        return cls(
            file,
            [f"p{n}" for n in range(1, chance.randint(2, file.spec.max_machines + 3))],
            chance.randint(20, 120),
            chance.choice([0.0, 0.3, 0.3, 1.0]),
            chance.random() < 0.7,
            chance.choice([0.0, 1.0, 2.0, 2.0, 8.0]),
        )


@contextlib.contextmanager
def _silent_log() -> Iterator[None]:
    kept = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**kept)


def simulate(seed: int) -> Outcome:
    """Live through the history of this seed."""
    with _silent_log(), tempfile.TemporaryDirectory() as folder, virtual_time() as loop:
        history = _History(loop, seed, Path(folder) / "store.db")
        loop.run_until_complete(history.live())
        world = history.world
        violated = world.events[-1] if world.failure.done() else ""
        if violated:
            violated = next(event for event in world.events if "VIOLATED" in event)
        return Outcome(seed, world.events, violated, world.error)


class _History:
    def __init__(self, loop: VirtualLoop, seed: int, path: Path) -> None:
        self.chance = random.Random(f"history {seed}")
        self.settings = Settings.draw(self.chance)
        self.world = World(loop, path, str(seed))
        self.world.stir, self.world.died = self._stir, self._died
        self.loop = loop
        self.model, self.engine = self.world.model, self.world.engine
        self.images = 0
        self.builds: dict[str, int] = {}  # by tag, of the images that pools have of their own
        self.world.model.max_awake = self.settings.file.spec.max_awake
        self.file = self.configuration = self.settings.file  # what the file says, and what of it is in force
        self.changes = [Changes()]  # what was changed at run time; several where nobody heard what came of the last one
        self.undropped: list[Changes] = []  # what was dropped when the service began, and may still be stored
        self.requests: dict[Request, tuple[asyncio.Event, asyncio.Task[None]]] = {}
        self.numbers = 0
        self.reviving: asyncio.Task[None] | None = None
        self.starved_since: float | None = None
        self.passed_since: dict[tuple[int, str], float] = {}  # by ticket and pool: nothing comes, though it could
        self.away_since: float | None = None
        self.acts = self._acts()
        self.world.note(f"seed {seed}: {self.settings}")

    # the whole of it

    async def live(self) -> None:
        life = self.loop.create_task(self._live(), name="history")
        await asyncio.wait({life, self.world.failure}, return_when=asyncio.FIRST_COMPLETED)
        if life.done():
            life.result()
        life.cancel()
        await asyncio.wait({life})
        await self._clean_up()

    async def _live(self) -> None:
        await self._start()
        self._weather()
        for _ in range(self.settings.steps):
            await asyncio.sleep(self._gap_s())
            self._act()
            self._look()
        if self.engine.engine_id != "memory":
            await asyncio.sleep(SWITCHED_S)
        self._heal()
        await self._come_to_rest()
        process = self.world.process
        assert process is not None, "it came to rest, so it runs"
        await process.end()
        self.world.check()
        await process.bury()

    async def _clean_up(self) -> None:
        if self.reviving is not None:
            self.reviving.cancel()
            await asyncio.wait({self.reviving})
        if self.world.process is not None:
            self.world.process.is_alive = False
            await self.world.process.bury()
        calls = list(self.engine._calls)
        await self.engine.aclose()
        if calls:
            await asyncio.wait(calls)

    def _gap_s(self) -> float:
        kind = self.chance.random()
        if kind < 0.35:
            return 0.0
        if kind < 0.6:
            return self.chance.uniform(0.0, 0.02)
        if kind < 0.9:
            return self.chance.uniform(0.0, 3.0)
        return self.chance.uniform(3.0, 80.0)

    def _look(self) -> None:
        """What must hold at every step."""
        self.world.check()
        for request in self.requests:
            age_s = self.loop.time() - request.begun_at
            if age_s > self._limit_s(request):
                self.world.fail(f"{request} hangs for {age_s:.1f} s")
        self._look_at_line()

    def _look_at_line(self) -> None:
        """Nobody waits long beside an idle machine, nor while a machine could come and none does."""
        process = self.world.process
        if process is None or not process.is_alive:
            self.starved_since = None
            self.passed_since.clear()
            return
        self._check_whole(process)
        decisions, fleet = process.orchestrator._decisions, process.fleet
        pools = decisions.state.spec.pools.items()
        idle = [one for name, pool in pools if fleet.pool(name).line for one in fleet.idle(name, pool.template)]
        for name, pool in pools:
            if fleet.pool(name).line:
                idle += [one for one in fleet.parked(name, pool.template) if fleet.watches[one].is_paused]
        if fleet.wakers and not fleet.all_leaving() and not fleet.falling_asleep:
            idle += [one.id for one in fleet.machines.values() if one.is_idle]
        if decisions.contact.problem is not None:
            self.passed_since.clear()
        else:
            self._look_at_passed(process)
        if decisions.contact.problem is not None or not idle:
            self.starved_since = None
            return
        self.starved_since = self.starved_since or self.loop.time()
        starved_s = self.loop.time() - self.starved_since
        if starved_s > self.configuration.limits.refresh_interval_s + STARVES_S:
            self.world.fail(f"{next(iter(idle))} is idle, and somebody waits, for {starved_s:.1f} s")

    def _look_at_passed(self, process: Process) -> None:
        """Room that there is, or that another pool can make, goes to those who wait."""
        passed = {(ticket, name) for name, ticket in self._passed(process.fleet, process.orchestrator.spec)}
        self.passed_since = {key: self.passed_since.get(key, self.loop.time()) for key in sorted(passed)}
        for (_, name), since in self.passed_since.items():
            passed_s = self.loop.time() - since
            if passed_s > self.configuration.limits.refresh_interval_s + STARVES_S:
                self.world.fail(
                    f"somebody waits for {passed_s:.1f} s in {name}, nothing comes, and there could be room"
                )

    def _passed(self, fleet: Fleet, spec: Spec) -> Iterator[tuple[str, int]]:
        """Pools with somebody in line for whom nothing comes, though nothing is in the way: with the first such ticket."""
        waiting = sorted((ticket, name) for name in spec.pools for ticket in self._uncovered(fleet, spec, name)[:1])
        makes_room = fleet.all_leaving() or fleet.falling_asleep or fleet.wakers
        for ticket, name in () if makes_room else waiting:
            others = [(one, pool) for one, pool in spec.pools.items() if one != name]
            can_be_displaced = any(
                fleet.count_idle(one) > pool.min_idle or fleet.members(one).parked for one, pool in others
            )
            lacks_ports = self._free_ports(fleet) < spec.pools[name].port_count
            if can_be_displaced or not (lacks_ports or spec.is_full(fleet.slots_held, fleet.awake)):
                yield name, ticket
            elif lacks_ports:
                return  # nobody passes it who needs fewer

    def _uncovered(self, fleet: Fleet, spec: Spec, name: str) -> list[int]:
        """Tickets of this pool for which nothing comes, unless it can start nothing by itself."""
        pool, tickets = spec.pools[name], list(fleet.pool(name).line.values())
        is_braked = fleet.brake_in_force(name, pool.template) is not None
        if pool.template is None or pool.paused or is_braked or pool.is_at_limit(fleet.slots_held_by(name)):
            return []
        return tickets[len(fleet.idle(name, pool.template)) + len(fleet.coming(name, pool.template)) :]

    def _free_ports(self, fleet: Fleet) -> int:
        """How many host ports belong to no machine, and were not refused a while ago."""
        return sum(not fleet.is_port_taken(port) for port in range(FIRST_PORT, self.configuration.spec.last_port + 1))

    def _check_whole(self, process: Process) -> None:
        """What is in force is one configuration, with what was changed at run time, and no mixture of two."""
        spec = process.orchestrator.spec
        found = [next(self.configuration.differences(each, spec, may_drop=False), "") for each in self.changes]
        if all(found) and process.is_alive:
            self.world.fail(found[0])

    def _limit_s(self, request: Request) -> float:
        was_away = self.away_since is not None and self.away_since <= request.begun_at
        if request.kind == "configure":
            return request.patience_s + CONFIGURES_WITHIN_S
        if was_away and request.kind in {"assign", "wake", "destroy", "restart", "sleep"}:
            return WITHOUT_ENGINE_S
        if request.kind in {"assign", "wake"}:
            return request.patience_s + SLACK_S
        return DESTROYS_WITHIN_S if request.kind in {"destroy", "restart", "sleep"} else READS_WITHIN_S

    # the process

    async def _start(self) -> None:
        """As `open_fleet` does: the engine must answer, and be the one that the machines on record live on."""
        while not await self._is_engine_right():  # noqa: ASYNC110 # there is no event: we knock again
            await asyncio.sleep(1.0)
        with nobody():
            self._read_file()
            process = self.world.process = Process(self.world, self.file.spec, self.file.limits)
        self.world.note("the service runs")
        self._settle_changes(process)
        self._in_force(process, self._held(process))

    async def _is_engine_right(self) -> bool:
        try:
            async with asyncio.timeout(10.0):
                return (await self.engine.identity()).marked
        except (EngineError, TimeoutError):
            return False

    def _read_file(self) -> frozenset[str]:
        """The engine hears what the file says. Returns the pools whose machines may be made of something else."""
        before = self.engine.images
        self.engine.images = {name: self._build_of(tag) for name, tag in self.file.images.items()}
        others = {name for name in self.file.spec.pools if before.get(name) != self.engine.images.get(name)}
        self.configuration = self.file
        return self.engine.take_options(self.file.options) | others

    def _build_of(self, tag: str) -> str:
        return f"{tag} {self.builds.get(tag, 0)}"

    def _settle_changes(self, process: Process) -> None:
        """The service has just begun, and shows whether a change that nobody heard of was stored.

        What cannot be beside the file is dropped, for good once that is stored.
        """
        spec, known = process.orchestrator.spec, [*self.changes, *self.undropped]
        fitting = [
            each
            for each in known
            if not any(self.file.differences(each, spec, may_drop=not self.file.is_possible(each)))
        ]
        dropped = [each for each in fitting if not self.file.is_possible(each)]
        effective = self._effective(process)
        left = [Changes({**each.pools, **effective.pools}, effective.limit) for each in dropped]
        self.changes = [*(each for each in fitting if each not in dropped), *left] or self.changes
        self.undropped = dropped

    def _in_force(self, process: Process, held: Mapping[str, int]) -> None:
        """Other sizes hold from now on; so many machines there were before."""
        self._check_whole(process)
        spec = process.orchestrator.spec
        self.model.configure({name: pool.max_machines for name, pool in spec.pools.items()}, spec.max_machines, held)

    def _held(self, process: Process) -> dict[str, int]:
        """How many machines each pool has, stored or decided on, and all of them."""
        rows = [row.pool for row in process.store.machines() if not row.gone]
        stored = {"": len(rows), **{name: rows.count(name) for name in POOLS}}
        return {name: max(count, self.world.held(name)) for name, count in stored.items()}

    def _died(self) -> None:
        with nobody():
            if self.reviving is None or self.reviving.done():
                self.reviving = self.loop.create_task(self._revive(), name="revive")

    async def _revive(self) -> None:
        process = self.world.process
        assert process is not None, "somebody died"
        await process.bury()
        self.world.process = None
        self.world.check()
        await asyncio.sleep(self.chance.choice([0.0, 0.5, 3.0, 40.0]))
        await self._start()

    async def _restart_in_order(self) -> None:
        process = self.world.process
        assert process is not None, "somebody stops"
        self.world.note("stops in order")
        await process.end()
        process.is_alive = False
        await self._revive()

    # clients

    def ask(self, kind: str, name: str = "", hangs_up_after_s: float | None = None) -> None:
        process = self.world.process
        if process is None or not process.is_alive or process.is_ending:
            return
        self.numbers += 1
        request = Request(self.numbers, kind, name, self.loop.time(), None)
        request.pool = self._pool_asked() if request.assigns else None
        gone = asyncio.Event()
        turns = self.chance.choice([0, 0, 0, 1, 2, 3, 5])
        task = process.spawn(self._client(process, request, gone, turns), f"client {request.number}")
        self.requests[request] = gone, task
        task.add_done_callback(lambda _: self._over(request))
        if hangs_up_after_s is not None:
            self.loop.call_later(hangs_up_after_s, self._hang_up, request)

    def _pool_asked(self) -> str | None:
        pools = list(self.configuration.spec.pools)
        if self.chance.random() < UNKNOWN_POOLS:
            return self.chance.choice(["nowhere", *POOLS])
        return self.chance.choice([None, *pools]) if len(pools) > 1 else None

    def _over(self, request: Request) -> None:
        del self.requests[request]
        if request.began and request.ended is None:
            self.model.lost(request)

    def _hang_up(self, request: Request) -> None:
        if request in self.requests:
            gone, _ = self.requests[request]
            self.world.note(f"{request} hangs up")
            gone.set()

    async def _client(self, process: Process, request: Request, gone: asyncio.Event, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        if not process.is_alive or process.is_ending:
            return
        request.begun_at, request.patience_s = self.loop.time(), self.configuration.limits.assign_timeout_s
        self.model.asked(request)
        self.world.note(f"{request}?")
        try:
            reply = await self._carry_out(process, request, gone)
        except (asyncio.CancelledError, Killed):
            self.world.note(f"{request}: connection closed")
            return
        except (
            NoMachineAvailable,
            MachineFailed,
            MachineNotFound,
            NotAssigned,
            NotRunning,
            OtherPool,
            PoolNotFound,
            InvalidInput,
            CommitFailed,
            ConfiguredOtherwise,
            SetupFailed,
            EngineError,
        ) as error:
            if process.is_alive:
                self.model.refused(request, undone=isinstance(error, CommitFailed | MachineNotFound))
                where = str(self.world.path)  # another one in every run
                self.world.note(f"{request}: {type(error).__name__} {str(error).replace(where, 'the store')[:100]}")
                self._check_refusal(process, request, error)
            return
        except BaseException as error:  # noqa: BLE001 # a defect of the service is a finding
            if process.is_alive:
                self.world.fail(f"{request}: {error!r}", error)
            return
        if process.is_alive:
            self.world.note(f"{request}: {reply}")
            self._check_age(request)
            self.world.check()

    def _check_refusal(self, process: Process, request: Request, error: OrchestratorError) -> None:
        if request.kind == "restart" and " is started again when " in str(error):
            self._is_promised(process, request, str(error).partition(" ")[0])
        if isinstance(error, OtherPool) and (request.pool != error.asked or error.asked == error.has):
            self.world.fail(f"{request} asked for {request.pool}: {error}")
        if isinstance(error, PoolNotFound):
            asked = request.pool if request.assigns else request.name
            if asked is None or not self.model.was_absent(asked, request.begun_at):
                self.world.fail(f"{request} asked for {asked}: {error}")
        self._check_age(request)

    def _is_promised(self, process: Process, request: Request, machine_id: str) -> None:
        """Somebody was told that this machine is started again later; if it was meanwhile, nothing is owed."""
        row = process.fleet.machines.get(machine_id)
        is_done = self.model.restart_reached_in.get(machine_id, -1) >= request.began
        if row is not None and row.project is not None and not is_done:
            self.model.owed[machine_id, row.generation] = self.loop.time()

    def _check_age(self, request: Request) -> None:
        age_s = self.loop.time() - request.begun_at
        if age_s > self._limit_s(request):
            self.world.fail(f"{request} took {age_s:.3f} s")

    async def _carry_out(  # noqa: C901, PLR0912 # one case per kind
        self, process: Process, request: Request, gone: asyncio.Event
    ) -> str:
        service = process.orchestrator
        match request.kind:
            case "assign":
                return await self._carry_out_assign(process, request, gone)
            case "configure":
                return await self._carry_out_configure(process, request, gone)
            case "release":
                await self._carry_out_release(process, request)
            case "destroy":
                await service.destroy(request.name, at_once=request.number % 3 == 0)
                if process.is_alive:
                    self.model.taken(request)
                    self.model.destroyed.add(request.name)
            case "restart":
                machine = await service.restart(request.name)
                if process.is_alive:
                    self.model.restarted(request)
                return f"{machine.id} is {machine.state}"
            case "sleep":
                machine = await service.sleepers.sleep(request.name)
                if process.is_alive:
                    self.model.slept(request)
                return f"{machine.id} is {machine.state}"
            case "wake":
                return await self._carry_out_wake(process, request, gone)
            case "list":
                views = await service.machines()
                for view in views:
                    self._check_serves(process, request, view.machine)
                return " ".join(f"{view.machine.id}={view.machine.project}" for view in views)
            case "change":
                return self._carry_out_change(process, request.name)
            case "resume":
                return self._change(process, request.name, {"paused": False})
            case _:
                for pool in sorted({*service.spec.pools, *process.fleet.pools, *POOLS}):
                    service.standing(pool, list(process.fleet.machines.values()))
                service.gauges()
                return str(await service.health())
        return "done"

    def _carry_out_change(self, process: Process, name: str) -> str:
        """An operator gives a pool other sizes, or pauses or resumes it."""
        chance = self.chance
        wanted: dict[str, int | None] = {
            "min_idle": chance.choice([None, 0, 1, 2, 3]),
            "max_idle": chance.choice([None, 1, 2, 4]),
            "max_machines": chance.choice([None, 1, 2, 4]),
            "limit": chance.choice([None, 1, 3, 5, 8]),
            "paused": chance.choice([None, False, True]),
            "parked": chance.choice([None, 0, 1, 2]),
        }
        changes = {key: wanted[key] for key in chance.sample(sorted(wanted), chance.randint(1, 3))}
        return self._change(process, name, changes)

    def _change(self, process: Process, name: str, changes: Mapping[str, int | None]) -> str:
        service, before = process.orchestrator, self.changes
        effective = self._effective(process).merged(name, changes)

        def changed(known: Sequence[Changes]) -> list[Changes]:
            return [Changes({**each.pools, name: effective.of(name)}, effective.limit) for each in known]

        after = changed(before)
        held = self._held(process)
        try:
            service.change_pool(name, changes)
        except InvalidInput:
            if self.configuration.is_possible(effective):
                self.world.fail(f"{changes} of {name} were refused, beside {self.configuration} and {before}")
            raise
        except Killed:
            self.changes = [*before, *after]  # it may be stored
            self.undropped += changed(self.undropped)
            raise
        self.changes, self.undropped = after, changed(self.undropped)
        if not self.configuration.is_possible(effective):
            self.world.fail(f"{changes} of {name} were not refused, beside {self.configuration} and {before}")
        self._in_force(process, held)
        return f"{name} {changes}"

    def _effective(self, process: Process) -> Changes:
        """What of the changes at run time is in force; the rest was dropped when the service began."""
        service, pools = process.orchestrator, dict[str, dict[str, int]]()
        limit = None
        for name, pool in service.spec.pools.items():
            sizes = service.sizes.changed(name)
            limit = sizes.pop("limit", None)
            pools[name] = {**sizes, **({"paused": True} if pool.paused else {})}
        return Changes(pools, limit)

    async def _carry_out_assign(self, process: Process, request: Request, gone: asyncio.Event) -> str:
        service = process.orchestrator

        async def hung_up() -> None:
            await gone.wait()

        def assigned(machine: Machine) -> None:
            if process.is_alive:
                self.model.assigned(request, machine, self.world.port_of)
                self._check_serves(process, request, machine)
                if request.pool not in {None, machine.pool}:
                    self.world.fail(f"{request} asked for {request.pool}, and got {machine.id} of {machine.pool}")

        machine = await self._at_once(partial(service.short_way.assign, request.name, request.pool), assigned)
        if machine is None:
            machine = await service.assign(request.name, request.pool, hung_up)
            assigned(machine)
        return f"{machine.id}@{machine.generation} on {machine.port}"

    async def _carry_out_configure(self, process: Process, request: Request, gone: asyncio.Event) -> str:
        """An assign with values, and sometimes with others than those that the machine has."""

        async def hung_up() -> None:
            await gone.wait()

        values = LateValues(
            {"WHO": request.name, "WHAT": "ab"[request.number % 2]}, {"key": f"secret of {request.name}"}
        )
        given = await process.orchestrator.assign_machine(
            request.name, request.pool, hung_up, values=values, replace=request.number % 5 == 0
        )
        machine = given.machine
        if process.is_alive:
            self.model.assigned(request, machine, self.world.port_of)
            self.world.check_configured(machine, values)
        return f"{machine.id}@{machine.generation} on {machine.port}, configured with {values.env['WHAT']}"

    async def _carry_out_wake(self, process: Process, request: Request, gone: asyncio.Event) -> str:
        async def hung_up() -> None:
            await gone.wait()

        machine = await process.orchestrator.sleepers.wake(request.name, hung_up=hung_up)
        if process.is_alive:
            self.model.assigned(request, machine, self.world.port_of)
            self._check_serves(process, request, machine)
        return f"{machine.id}@{machine.generation} on {machine.port}"

    def _check_serves(self, process: Process, request: Request, machine: Machine) -> None:
        """Nobody is told of a machine that is known to serve nobody."""
        ailment = process.fleet.ailing.get(machine.id)
        if ailment is not None:
            self.world.fail(f"{request} is told of {machine.id}: {ailment}")

    async def _carry_out_release(self, process: Process, request: Request) -> None:
        service = process.orchestrator

        def taken(_: object) -> None:
            if process.is_alive:
                self.model.taken(request)

        if await self._at_once(partial(service.short_way.release, request.name), taken) is None:
            await service.release(request.name)
            taken(None)

    async def _at_once(self, ask: Callable[[Callable[[Any], None]], bool], done: Callable[[Any], None]) -> Any:
        """What this gives by the way that needs no task, as requests over HTTP take it; None where there is no such way."""
        answer: asyncio.Future[Any] = self.loop.create_future()

        def told(given: Any) -> None:
            if isinstance(given, BaseException):
                answer.set_exception(given)
            else:
                done(given)  # the client hears of it at this very moment
                answer.set_result(given or "done")

        return await answer if ask(told) else None

    # what happens

    def _act(self) -> None:
        acts, weights = self.acts
        self.chance.choices(acts, weights)[0]()

    def _acts(self) -> tuple[list[Callable[[], None]], list[float]]:
        bad = self.settings.weather
        table: list[tuple[Callable[[], None], float]] = [
            (self._assign, 16),
            (self._impatient, 5),
            (self._crowd, 4),
            (self._leave, 4),
            (self._configure, 9),
            (self._release, 8),
            (self._destroy, 2),
            (self._restart, 3),
            (lambda: self.ask("list"), 1),
            (lambda: self.ask("health"), 1),
            (self._rebuild, 0.7),
            (self._change_sizes, 1 * self.settings.edits),
            (self._edit_file, 1 * self.settings.edits),
            (self._reload, 1 * self.settings.edits),
            (self._kill_instance, 3 * bad),
            (self._remove_instance, 1.5 * bad),
            (self._afflict, 2 * bad),
            (self._unpause, 1 * bad),
            (self._restart_daemon, 0.5 * bad),
            (self._hide_instance, 1 * bad),
            (self._rename, 1 * bad),
            (self._weather, 2 * bad),
            (self._engine_away, 2 * bad),
            (self._obstruct, 1 * bad),
            (self._take_port, 1 * bad),
            (self._plant, 1 * bad),
            (self._set_clock, 0.3),
            (self._kill_soon, 4 * self.settings.kills),
            (self._stop_in_order, 0.5 * self.settings.kills),
            (self._sleep, 5),
            (self._wake, 2),
            (self._start_by_hand, 1 * bad),
        ]
        # Each history leaves some of it out and is fond of some: what happens often together meets in more ways.
        fond = [self.chance.choice([0.0, 1.0, 1.0, 5.0]) for _ in table]
        fond[0] = 1.0
        return [act for act, _ in table], [weight * much for (_, weight), much in zip(table, fond, strict=True)]

    def _project(self) -> str:
        return self.chance.choice(self.settings.projects)

    def _assign(self) -> None:
        self.ask("assign", self._project())

    def _configure(self) -> None:
        hangs_up_after_s = self.chance.choice([None, None, None, 0.0, 0.02, 5.0])
        self.ask("configure", self._project(), hangs_up_after_s=hangs_up_after_s)

    def _impatient(self) -> None:
        self.ask("assign", self._project(), hangs_up_after_s=self.chance.choice([0.0, 0.001, 0.02, 0.3, 5.0]))

    def _crowd(self) -> None:
        for _ in range(self.chance.randint(2, 6)):
            self._assign()

    def _leave(self) -> None:
        """Somebody who waits hangs up, and perhaps asks again at once."""
        waiting = [request for request in self.requests if request.assigns and request.began]
        if not waiting:
            return
        request = self.chance.choice(waiting)
        self._hang_up(request)
        for other in waiting:
            if other is not request and other.name == request.name:
                self._hang_up(other)
        if self.chance.random() < 0.6:
            self.ask(request.kind, request.name)

    def _some_machine(self) -> str:
        process = self.world.process
        ids = [] if process is None else list(process.fleet.machines)
        name = self.chance.choice(ids) if ids else "worker-0-nobody"
        return native_id(name) if self.chance.random() < 0.2 else name

    def _release(self) -> None:
        self.ask("release", self._project() if self.chance.random() < 0.7 else self._some_machine())

    def _destroy(self) -> None:
        self.ask("destroy", self._some_machine())

    def _restart(self) -> None:
        process = self.world.process
        held = [] if process is None else list(process.fleet.projects.values())
        self.ask("restart", self.chance.choice(held) if held and self.chance.random() < 0.8 else self._some_machine())

    def _sleep(self) -> None:
        self.ask("sleep", self._project())

    def _wake(self) -> None:
        hangs_up_after_s = self.chance.choice([None, None, None, 0.0, 0.02, 5.0])
        self.ask("wake", self._project(), hangs_up_after_s=hangs_up_after_s)

    def _start_by_hand(self) -> None:
        process = self.world.process
        asleep = [] if process is None else [one.id for one in process.fleet.machines.values() if one.is_asleep]
        ended = sorted(set(self._ours(Status.EXITED)) & set(asleep))
        if ended and self.engine.engine_id == "memory":
            machine_id = self.chance.choice(ended)
            self.world.note(f"{machine_id} is started by hand")
            with nobody():
                self.loop.create_task(self._started_by_hand(machine_id), name="by hand")

    async def _started_by_hand(self, machine_id: str) -> None:
        with contextlib.suppress(PortTaken, EngineRejected):
            await self.engine.start(machine_id)

    def _stir(self) -> None:
        acts = [self._assign, self._leave, self._leave, self._release, self._destroy, self._restart, self._sleep]
        act = self.chance.choice(acts)
        with nobody():
            self.loop.call_soon(act)

    def _ours(self, *statuses: Status) -> list[str]:
        home = self.world.home()
        return [i for i, instance in home.items() if i not in self.model.planted and instance.status in statuses]

    def _kill_instance(self) -> None:
        running = self._ours(Status.RUNNING, Status.PAUSED)
        if running and self.engine.engine_id == "memory":
            machine_id = self.chance.choice(running)
            self.world.note(f"{machine_id} dies")
            self.engine.kill(machine_id)

    def _remove_instance(self) -> None:
        there = self._ours(*Status)
        if there and self.engine.engine_id == "memory":
            machine_id = self.chance.choice(there)
            self.world.note(f"{machine_id} is removed")
            self.model.removed.add(machine_id)
            self.engine.remove(machine_id)

    def _afflict(self) -> None:
        """An instance is paused, stops answering, or the engine is unsure of it."""
        running = self._ours(Status.RUNNING)
        if not running or self.engine.engine_id != "memory":
            return
        machine_id = self.chance.choice(running)
        how = self.chance.choice(["mute", "cut off", Status.PAUSED, Status.UNKNOWN])
        self.world.note(f"{machine_id} is {how}")
        if how == "mute":
            self.engine._containers[machine_id].mute = True
        elif how == "cut off":
            self.engine.disconnect(machine_id)
        else:
            if how is Status.PAUSED:
                self.model.paused_by_others.add(machine_id)
            self.engine.kill(machine_id, Status(how))

    def _unpause(self) -> None:
        """Somebody lets an instance go on that is paused."""
        paused = self._ours(Status.PAUSED)
        if paused and self.engine.engine_id == "memory":
            machine_id = self.chance.choice(paused)
            self.world.note(f"{machine_id} is let go on by somebody")
            self.model.paused_by_others.discard(machine_id)
            self.engine._containers[machine_id].thaw()
            self.engine._tell()

    def _restart_daemon(self) -> None:
        """What is paused then dies."""
        if self.engine.engine_id == "memory":
            self.world.note("the daemon is restarted")
            for machine_id in self._ours(Status.PAUSED):
                self.engine.kill(machine_id)

    def _hide_instance(self) -> None:
        """As far as anybody can tell it was removed; a while later it is there again, with all that is in it."""
        running = sorted(set(self.engine.instances()) - set(self.model.planted))
        if not running or self.engine.engine_id != "memory":
            return
        machine_id = self.chance.choice(running)
        self.world.note(f"{machine_id} is hidden")
        self.engine.hidden.add(machine_id)
        self.model.once_hidden.add(machine_id)
        self.loop.call_later(self.chance.choice([0.2, 12.0, 30.0, 700.0]), self._show_instance, machine_id)

    def _show_instance(self, machine_id: str) -> None:
        self.world.note(f"{machine_id} is there again")
        self.engine.hidden.discard(machine_id)

    def _rename(self) -> None:
        running = sorted(set(self.engine.instances()) - set(self.model.planted))
        if running and self.engine.engine_id == "memory":
            machine_id = self.chance.choice(running)
            self.world.note(f"{machine_id} is renamed")
            self.engine.rename(machine_id, self.chance.choice([machine_id, "another"]))

    def _weather(self) -> None:
        """How often what goes wrong, from now on."""
        bad, chance = self.settings.weather, self.chance
        faults, trouble = self.engine.faults, self.world.trouble

        def rate(most: float) -> float:
            return most * bad * chance.random() if chance.random() < 0.5 * (1 + bad) else 0.0

        faults.refused, faults.rejected, faults.lost_reply = rate(0.3), rate(0.1), rate(0.3)
        faults.obstructed = rate(0.3)
        faults.late, faults.late_s = rate(0.4), chance.choice([0.5, 5.0, 45.0, 90.0])
        faults.slow_s = chance.choice([0.0, 0.1, 0.5, 3.0]) if bad else chance.choice([0.0, 0.3])
        faults.stale_listing, faults.mute, faults.stillborn = rate(0.5), rate(0.2), rate(0.3)
        faults.sluggish, faults.unheard = rate(0.5), rate(0.4)
        faults.torn, faults.unclean = rate(0.2), rate(0.2)
        faults.stubborn = chance.choice([0.0, 0.5])
        trouble.commit_failed = rate(0.15)
        trouble.stir = chance.choice([0.0, 0.01, 0.05])
        trouble.kill = rate(0.004) if self.settings.kills else 0.0
        self.world.note(f"weather {faults.refused:.2f} {faults.late:.2f} {faults.slow_s} {trouble.commit_failed:.2f}")

    def _engine_away(self) -> None:
        kind = self.chance.choice(["down", "frozen", "another"])
        self.world.note(f"engine {kind}")
        if kind == "down":
            self.engine.up = False
        elif kind == "frozen":
            self.engine.freeze()
        if kind != "another":  # which answers a ping, and is found out by its listing
            self.away_since = self.loop.time() if self.away_since is None else self.away_since
        else:
            self.engine.switch("another")
        away_s = [SWITCHED_S, 50.0] if kind == "another" else [0.1, 1.0, SWITCHED_S, 50.0]
        self.loop.call_later(self.chance.choice(away_s), self._engine_back, kind)

    def _engine_back(self, kind: str) -> None:
        if kind == "another" and self.engine.engine_id != "memory":
            self.engine.switch()
        elif kind == "frozen":
            self.engine.thaw()
        elif kind == "down":
            self.engine.up = True
        if self.engine.up and self.engine._thawed.is_set():
            self.away_since = None
        self.world.note(f"engine not {kind} any more")

    def _obstruct(self) -> None:
        """For a while a cause outside stands in the way of everything."""
        self.engine.faults.obstructed = 1.0
        self.world.note("everything is obstructed")
        self.loop.call_later(self.chance.choice([0.5, 5.0, 60.0]), self._clear)

    def _clear(self) -> None:
        self.engine.faults.obstructed = 0.0
        self.world.note("nothing is obstructed")

    def _take_port(self) -> None:
        ports = range(FIRST_PORT, self.settings.file.spec.last_port + 1)
        self.engine.taken_ports = set(self.chance.sample(ports, self.chance.randint(0, min(3, len(ports)))))
        self.world.note(f"ports taken: {sorted(self.engine.taken_ports)}")

    def _plant(self) -> None:
        """Somebody else's instance, or one of ours that the store never knew."""
        if self.engine.engine_id != "memory":
            return
        owner = self.chance.choice([OWNER, "owner-2"])
        planted = Instance(self.world.clock.machine_id(), owner, DEFAULT_POOL, "old", self.chance.choice(list(Status)))
        self.world.note(f"planted {planted.id} of {owner}")
        self.model.planted[planted.id] = planted
        self.engine.put(planted)

    def _rebuild(self) -> None:
        """Somebody gives the tag of some pools, or of all that have no other one, to a new image."""
        tag = self.chance.choice(["", *self.configuration.images.values()])
        if tag:
            self.builds[tag] = self.builds.get(tag, 0) + 1
            self.engine.images = {name: self._build_of(one) for name, one in self.configuration.images.items()}
            self.world.note(f"the image {tag} is {self._build_of(tag)}")
            return
        self.images += 1
        self.engine.image = f"image {self.images}"
        self.world.note(f"the image is {self.engine.image}")

    # the settings

    def _change_sizes(self) -> None:
        self.ask("change", self.chance.choice([*POOLS, *self.configuration.spec.pools, "nowhere"]))

    def _edit_file(self) -> None:
        """Somebody edits the file, and mostly has it read again. Else whoever reads it next takes it over."""
        self.file = self.file.edited(self.chance)
        self.world.note(f"the file says {self.file}")
        if self.chance.random() < RELOADS:
            self._reload()

    def _reload(self) -> None:
        process = self.world.process
        if process is None or not process.is_alive or process.is_ending:
            return
        if self.settings.kills and self.chance.random() < KILLS_AT_RELOAD:
            self.world.trouble.kill_in = self.chance.randint(0, 6)
        delay_s = self.chance.choice([0.0, 0.0, 0.01, 2.0])
        process.spawn(self._read_again(process, delay_s), "client that has the file read again")

    async def _read_again(self, process: Process, delay_s: float) -> None:
        """As `service/reload.py`: all of the file is taken over at one moment, or nothing."""
        await asyncio.sleep(delay_s)
        if not process.is_alive or process.is_ending:
            return
        service = process.orchestrator
        conflict = service.conflict(self.file.spec)
        if bool(conflict) in {self.file.is_possible(each) for each in self.changes} and len(self.changes) == 1:
            self.world.fail(f"{self.changes} beside {self.file}: {conflict}")
        if conflict:
            self.world.note(f"not reloaded: {conflict}")
            self._check_whole(process)
            return
        held, changed = self._held(process), self._read_file()
        self.world.note(f"reloaded; other machines in {sorted(changed)}")
        service.reconfigure(self.file.spec, self.file.limits, changed)
        self._in_force(process, held)

    def _set_clock(self) -> None:
        self.world.clock.ahead_ms += self.chance.randint(-5_000, 5_000)

    def _kill_soon(self) -> None:
        self.world.trouble.kill_in = self.chance.randint(0, 40)

    def _stop_in_order(self) -> None:
        process = self.world.process
        if process is not None and process.is_alive and (self.reviving is None or self.reviving.done()):
            process.is_ending = True
            with nobody():
                self.reviving = self.loop.create_task(self._restart_in_order(), name="restart in order")

    # the end of all trouble

    def _heal(self) -> None:
        self.world.note("from here on everything works")
        faults, trouble = self.engine.faults, self.world.trouble
        faults.refused = faults.rejected = faults.obstructed = faults.lost_reply = faults.late = 0.0
        faults.torn = faults.unclean = 0.0
        faults.slow_s = faults.stale_listing = faults.mute = faults.stillborn = faults.unheard = 0.0
        trouble.commit_failed = trouble.kill = trouble.stir = 0.0
        trouble.kill_in = None
        self.engine.taken_ports = set()
        self.engine.hidden.clear()
        for kind in ("down", "frozen", "another"):
            self._engine_back(kind)
        for container in self.engine._containers.values():
            if container.instance.id in self.model.planted:
                continue
            container.mute = False
            if container.instance.status is Status.UNKNOWN or container.instance.id in self.model.paused_by_others:
                container.instance = replace(container.instance, status=Status.RUNNING)
            why = container.instance.trouble if container.instance.status is Status.PAUSED else ""
            container.instance = replace(container.instance, trouble=why, renamed="", is_cut_off=False)

    async def _come_to_rest(self) -> None:
        until = self.loop.time() + RESTS_WITHIN_S
        while missing := self._unrest():
            if self.loop.time() > until:
                self.world.fail(f"does not come to rest: {missing}")
                return
            await asyncio.sleep(1.0)
            self._clear_strays()
            self._resume()
            self._look()

    def _resume(self) -> None:
        """An operator has every pool work again."""
        process = self.world.process
        if process is not None and process.is_alive:
            for name, pool in process.orchestrator.spec.pools.items():
                if pool.paused:
                    self.ask("resume", name)

    def _clear_strays(self) -> None:
        """An operator looks into what vanished and turned up again, which the service leaves alone: it holds ports."""
        process = self.world.process
        for machine_id in sorted(self.model.once_hidden | self.model.removed):
            if process is not None and process.is_alive and machine_id in self.engine.instances():
                row = process.fleet.machines.get(machine_id)
                if row is None or (row.gone and row.project is None):
                    self.engine.remove(machine_id)

    def _unrest(self) -> str:  # noqa: C901, PLR0912 # a list of reasons
        """What is still missing of a pool at rest."""
        process = self.world.process
        if process is None or not process.is_alive or process.is_ending:
            return "the service does not run"
        if self.requests:
            return f"{next(iter(self.requests))} waits"
        fleet = process.fleet
        if fleet.pending:
            return "something is not stored"
        for machine in self.model.untold(fleet.machines.values(), process.begun):
            return f"{machine.project} has {machine.id} and was never told"
        for machine in self.model.overdue(fleet.machines.values()):
            return f"{machine.id} was to be started again when that could be done, and was not"
        for machine in fleet.machines.values():
            if machine.is_idle and machine.pool not in process.orchestrator.spec.pools:
                return f"{machine.id} is idle in {machine.pool}, which is not in force"
            if machine.state in {State.STARTING, State.STOPPING} and machine.reason != UNPARKED_FOR_CHECK:
                return f"{machine.id} is {machine.state}: {machine.reason}"
            if machine.state is State.SLEEPING and not machine.is_asleep:
                return f"{machine.id} is falling asleep"
            instance = self.world.home().get(machine.id)
            if machine.is_asleep and (instance is None or instance.status is Status.RUNNING):
                return f"{machine.id} is asleep on record, and not there: {instance}"
            is_paused = instance is not None and instance.status is Status.PAUSED
            if machine.state is State.PARKED and not is_paused:
                return f"{machine.id} is parked on record, and not paused: {instance}"
            if machine.state is State.FAILED and machine.project is None and not machine.gone:
                return f"{machine.id} failed and is still there"
        for name in process.orchestrator.spec.pools:
            if missing := self._unrest_of(name, fleet, process.orchestrator.spec):
                return missing
        for machine_id, instance in self.world.home().items():
            row = fleet.machines.get(machine_id)
            is_known = row is not None and (not row.gone or self._has_no_room(fleet, row))
            # It vanished by itself, and was there again, or made by a create that came late: somebody has to look into it.
            vanished = machine_id in self.model.once_hidden | self.model.removed
            is_stray = vanished and machine_id not in fleet.tombstones
            if instance.owner == OWNER and machine_id not in self.model.planted and not is_known and not is_stray:
                return f"the instance {machine_id} is left over, on record: {row}"
        return ""

    def _unrest_of(self, name: str, fleet: Fleet, spec: Spec) -> str:
        """What is still missing of one pool."""
        pool, template = spec.pools[name], self._template_of(name)
        if pool.template != template:
            return f"{name} makes machines of {pool.template}, not of {template}"
        idle, assigned = len(fleet.idle(name, template)), fleet.assigned_in(name)
        is_full = spec.is_full(fleet.slots_held, fleet.awake) or pool.is_at_limit(fleet.slots_held_by(name))
        lacks_ports = self._free_ports(fleet) < pool.port_count
        if idle < pool.wanted_idle(assigned) and not (is_full or lacks_ports):
            return f"{idle} idle machines in {name} of {pool.wanted_idle(assigned)}"
        most = pool.most_idle(assigned)
        if most is not None and idle > most:
            return f"{idle} idle machines in {name}, and {most} are the most"
        checked = sum(fleet.machines[one].reason == UNPARKED_FOR_CHECK for one in fleet.coming(name, template))
        parked = len(fleet.parked(name, template)) + checked
        if parked > pool.parked or (parked < pool.parked and not (is_full or lacks_ports)):
            return f"{parked} machines are parked in {name}, not {pool.parked}"
        brake = fleet.image_brake(name, template)
        is_kept = is_full and brake is not None and brake.is_on  # else what works would go for what does not come up
        if not (lacks_ports or is_kept) and (
            stale := [*fleet.stale(name, template), *fleet.stale_parked(name, template)]
        ):
            return f"{stale} of {name} are stale"
        return ""

    def _template_of(self, name: str) -> str:
        """As the engine makes machines of this pool now."""
        return " ".join(
            [self.engine.images.get(name, self.engine.image), *self.configuration.spec.pools[name].port_names]
        )

    def _has_no_room(self, fleet: Fleet, row: Machine) -> bool:
        """Whether a project's container that turned up again must wait: others have its port, or the last slot.

        It is not destroyed for that. Its project's next request, or its release, ends it.
        """
        process = self.world.process
        assert process is not None, "it is asked of one that runs"
        spec = process.orchestrator.spec
        is_full = spec.is_full(fleet.slots_held, fleet.awake) or spec.pool(row.pool).is_at_limit(
            fleet.slots_held_by(row.pool)
        )
        has_no_port = any((row.host, port) in fleet.ports for port in row.host_ports)
        return row.project is not None and (is_full or has_no_port)
