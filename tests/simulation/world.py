"""The world around one orchestrator: an engine, a disk, a process that can be killed between any two effects.

All of the service is the real one. What it touches is watched: each commit, each call to the engine. There the process may
be killed, before or after, and there `Model` compares what was promised with what is. A killed process does nothing more:
its tasks are cancelled, and whatever they still try on their way out meets a closed door. The engine and the file live on.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw
from tests.simulation.model import Model
from tests.simulation.virtual import VirtualClock, VirtualLoop, exception_in

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.control.reading.prometheus import Metrics
from worker_orchestrator.control.wiring import Limits
from worker_orchestrator.core.action import Stop
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.core.machine import Change, Machine
from worker_orchestrator.core.reasons import WOKEN_EARLY
from worker_orchestrator.core.spec import Spec
from worker_orchestrator.engines.base import Identity, Listing
from worker_orchestrator.engines.extras import Completed, ExecOutput, LateValues
from worker_orchestrator.engines.memory.engine import Faults, MemoryEngine
from worker_orchestrator.errors import CommitFailed, EngineError, EngineUnavailable, OutcomeUnknown
from worker_orchestrator.store.store import Store

__all__ = ["OWNER", "Killed", "Process", "World"]

OWNER: Final = "owner-1"
BURIAL_TURNS: Final = 100

_T = TypeVar("_T")
_process: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)
"""The process that a task belongs to: it dies with it."""


class Killed(BaseException):
    """The process ends here, as by `kill -9`."""


class Disk(Store):
    """The store, as one process has it open."""

    def __init__(self, path: Path, process: Process) -> None:
        super().__init__(path)
        self._process, self._world = process, process.world
        self._fails_at: int | None = None  # how many rows of this batch are written before it fails

    def commit(self, changes: Iterable[Change], meta: Mapping[str, object], at_ms: int) -> None:
        batch = list(changes)
        self._process.reach("commit")
        self._fails_at = self._world.trouble.commit_fails(len(batch) or len(meta))
        try:
            super().commit(batch, meta, at_ms)
        except CommitFailed:
            self._world.note(f"commit of {len(batch)} FAILED")
            self._world.model.not_stored(batch)
            raise
        self._world.stored(batch)
        self._process.reach("committed")

    def _store_alone(self, change: Change, at_ms: int) -> None:
        if self._fails_at is not None:
            raise apsw.IOError("disk I/O error")
        self._process.reach("write")
        super()._store_alone(change, at_ms)

    def _store_batch(self, changes: Sequence[Change], meta: Mapping[str, object], at_ms: int) -> None:
        if self._fails_at is not None and not changes:
            raise apsw.IOError("disk I/O error")
        super()._store_batch(changes, meta, at_ms)

    def persist_events(self) -> bool:
        if not self._process.is_alive:
            return False  # whoever buries it
        if self.has_unpersisted_events:
            self._process.reach("persist events")
        return super().persist_events()

    def _write(self, change: Change, at_ms: int, begin: str) -> None:
        if self._fails_at is not None:
            if self._fails_at == 0:
                raise apsw.IOError("disk I/O error")
            self._fails_at -= 1
        super()._write(change, at_ms, begin)
        self._process.reach("write")


class Wire:
    """The engine, as one process reaches it."""

    plans_ports = True
    restarts_in_place = True

    def __init__(self, process: Process) -> None:
        self._process, self._world, self._engine = process, process.world, process.world.engine

    def progress(self, pool: str) -> str:
        return self._engine.progress(pool)

    def is_native_id(self, text: str) -> bool:
        return self._engine.is_native_id(text)

    async def ping(self) -> None:
        await self._call("ping", self._engine.ping)

    async def identity(self) -> Identity:
        return await self._call("identity", self._engine.identity)

    async def template(self, pool: str, *, fetch: bool = True) -> str:
        return await self._call("template", lambda: self._engine.template(pool, fetch=fetch))

    async def list(self) -> Listing:
        return await self._call("list", self._engine.list)

    async def create(self, machine: Machine) -> bool:
        self._world.model.check_touch("create", machine.id)
        what = f"create {machine.id} on {machine.port}"
        return await self._call(what, lambda: self._engine.create(machine), told=True)

    async def restart(self, machine_id: str, *, stop_first: bool = False) -> None:
        self._world.model.check_touch("restart", machine_id)
        what = f"restart {machine_id}" + (", stopped first" if stop_first else "")
        if stop_first and self._process.is_alive and not self._is_woken_early(machine_id):
            self._world.model.check_restart(machine_id)
        try:
            await self._call(what, lambda: self._engine.restart(machine_id, stop_first=stop_first), told=True)
        except EngineUnavailable:
            raise
        except BaseException:
            self._restart_reached(machine_id)
            raise
        self._restart_reached(machine_id)

    def _restart_reached(self, machine_id: str) -> None:
        if self._process.is_alive:
            self._world.model.restart_reached(machine_id)

    def _is_woken_early(self, machine_id: str) -> bool:
        """Whether it is started again because its project asked for it while it was being stopped.

        It may have been released this very moment.
        """
        fleet = self._process.fleet
        lately = [change.before for change in fleet.pending if change.machine.id == machine_id]
        return any(one is not None and one.reason == WOKEN_EARLY for one in [fleet.machines.get(machine_id), *lately])

    async def stop(self, machine_id: str, grace_s: float) -> None:
        action, _ = self._process.orchestrator._parts.actions._running[machine_id]
        if self._process.is_alive and isinstance(action, Stop):
            self._world.model.check_sleep(self._process.fleet.machines.get(machine_id))
        elif self._process.is_alive:
            self._world.model.check_destroy(machine_id)
        await self._call(f"stop {machine_id}", lambda: self._engine.stop(machine_id, grace_s), told=True)

    async def destroy(self, machine_id: str) -> bool:
        if self._process.is_alive:
            self._world.model.check_destroy(machine_id)
        return await self._call(f"destroy {machine_id}", lambda: self._engine.destroy(machine_id), told=True)

    async def configure(
        self, machine: Machine, values: LateValues, *, anew: bool = False, limit_s: float = 60.0
    ) -> None:
        assert machine.project is not None, "only a project configures"
        self._world.given[id(values)] = (values, machine.project, machine.generation)
        what = f"configure {machine.id} with {values.env['WHAT']} of {machine.project}"
        await self._call(what, lambda: self._engine.configure(machine, values, anew=anew), told=True)
        self._world.note_run(machine.id)

    async def is_configured(self, machine_id: str) -> bool:
        found = await self._call(f"look into {machine_id}", lambda: self._engine.is_configured(machine_id))
        self._world.note_run(machine_id)
        return found

    async def clean(self, machine_id: str) -> None:
        if self._process.is_alive:
            self._world.model.check_clean(machine_id)
        await self._call(f"clean {machine_id}", lambda: self._engine.clean(machine_id), told=True)

    def cannot_park(self, pool: str) -> str:
        return self._engine.cannot_park(pool)

    async def pause(self, machine_id: str) -> None:
        if self._process.is_alive:
            self._world.model.check_pause(machine_id)
        await self._call(f"pause {machine_id}", lambda: self._engine.pause(machine_id), told=True)

    async def unpause(self, machine_id: str) -> None:
        self._world.model.check_touch("unpause", machine_id)
        await self._call(f"unpause {machine_id}", lambda: self._engine.unpause(machine_id), told=True)

    async def exec(self, machine_id: str, command: Sequence[str], **more: Any) -> Completed:
        raise NotImplementedError

    async def exec_into(
        self, machine_id: str, command: Sequence[str], output: ExecOutput, *, timeout_s: float = 60.0, **more: Any
    ) -> int | None:
        """A hook that takes its time, floods, fails, or hangs until it is killed."""
        chance = self._world.hooks
        self._process.reach(f"hook in {machine_id}")
        took_s = chance.choice([0.0, 0.0, 0.1, 3.0, timeout_s])
        await asyncio.sleep(min(took_s, timeout_s))
        if chance.random() < self._world.engine.faults.lost_reply:
            raise OutcomeUnknown
        await output.take("stdout", b"all is well\n" * chance.choice([1, 1, 1000]))
        self._process.reach(f"hook in {machine_id} done")
        return None if took_s == timeout_s else chance.choice([0, 0, 0, 1])

    async def probe(
        self, machine: Machine, instance: Instance | None = None, limit_s: float = 1.0, *, closely: bool = False
    ) -> str | None:
        probe = partial(self._engine.probe, machine, instance, limit_s, closely=closely)
        missing = await self._call(f"probe {machine.id}", probe)
        if missing is None:
            self._world.model.answered_at[machine.id] = self._world.loop.time()
        return missing

    async def watch(self) -> AsyncIterator[str | None]:
        async for item in self._engine.watch():
            yield item

    async def until_shown(self, machine_id: str) -> None:
        await self._engine.until_shown(machine_id)

    async def aclose(self) -> None:
        return

    async def _call(self, what: str, call: Callable[[], Awaitable[_T]], *, told: bool = False) -> _T:
        """One call. What the engine does about it does not belong to the process."""
        self._process.reach(what)
        if told:
            self._world.note(what)
        try:
            with nobody():
                answer = await call()
        except EngineError as error:
            if told and self._process.is_alive:
                self._world.note(f"{what}: {type(error).__name__}")
            raise
        self._process.reach(f"{what} done")
        if told:
            self._world.note(f"{what}: done")
            self._world.check()
        return answer


@dataclass(slots=True)
class Trouble:
    """What goes wrong between the process and its disk, and when it is killed. All off by default."""

    chance: random.Random
    commit_failed: float = 0.0
    kill: float = 0.0
    kill_in: int | None = None  # so many effects from now
    stir: float = 0.0  # how often an effect makes a client do something at once

    def commit_fails(self, rows: int) -> int | None:
        if rows == 0 or self.chance.random() >= self.commit_failed:
            return None
        return self.chance.randrange(rows)

    def kills(self) -> bool:
        if self.kill_in is not None:
            self.kill_in -= 1
            if self.kill_in < 0:
                self.kill_in = None
                return True
        return self.kill > 0 and self.chance.random() < self.kill

    def stirs(self) -> bool:
        return self.stir > 0 and self.chance.random() < self.stir


class Process:
    """One run of the service, from the rows on disk to its death."""

    def __init__(self, world: World, spec: Spec, limits: Limits) -> None:
        self.world = world
        self.begun = world.model.order
        self.is_alive = True
        self.is_ending = False
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.store = Disk(world.path, self)
        meta = self.store.meta()
        last_port = int(meta["last_port"]) if "last_port" in meta else None
        self.fleet = Fleet(OWNER, generation=int(meta.get("generation", 0)), last_port=last_port)
        self.fleet.load(self.store.machines(), self.store.tombstones(), world.loop.time())
        self.orchestrator = Orchestrator(
            self.fleet,
            spec,
            Wire(self),
            self.store,
            world.clock,
            limits,
            engine_id="memory",
            observer=Metrics(world.loop.time),
        )
        self.running = self.spawn(self.orchestrator.run(), "run")
        self.running.add_done_callback(self._stopped)

    def spawn(self, work: Coroutine[Any, Any, _T], name: str) -> asyncio.Task[_T]:
        """A task that dies with the process."""
        mine = _process.set(self)
        try:
            return self.world.loop.create_task(work, name=name)
        finally:
            _process.reset(mine)

    def reach(self, where: str) -> None:
        """Every effect comes by here, before and after: this is where a process dies. Raises Killed."""
        if not self.is_alive:
            raise Killed
        if self.world.trouble.kills():
            self.world.note(f"killed at {where}")
            self.kill()
            raise Killed
        if self.world.trouble.stirs():
            self.world.stir()

    def kill(self) -> None:
        self.is_alive = False
        self.world.loop.call_soon(self.world.died)

    async def bury(self) -> None:
        """Take away what is left of it."""
        for _ in range(BURIAL_TURNS):
            left = [task for task in self.tasks if not task.done()]
            if not left:
                break
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=1.0)
        for task in self.tasks:
            if not task.done():
                self.world.fail(f"{task.get_name()} does not end")
            elif not task.cancelled():
                task.exception()
        self.store.close()

    async def end(self) -> None:
        """An orderly end: nothing may be left running by it."""
        self.is_ending = True
        self.orchestrator.turn_all_away()
        self.running.cancel()
        await asyncio.wait([self.running])
        for _ in range(3):
            await asyncio.sleep(0)
        left = [task.get_name() for task in self.tasks if not task.done() and not _is_of_client(task)]
        if self.is_alive and left:
            self.world.fail(f"left running: {', '.join(left)}")

    def _stopped(self, run: asyncio.Task[None]) -> None:
        error = None if run.cancelled() else run.exception()
        if self.is_alive and not self.is_ending and not isinstance(error, Killed):
            self.world.fail(f"the service stopped: {error!r}", error)


class World:
    """Everything but the clients. `stir` lets one of them act, `died` hears of a death."""

    def __init__(self, loop: VirtualLoop, path: Path, seed: str) -> None:
        self.loop, self.path = loop, path
        self.events: list[str] = []
        self.failure: asyncio.Future[None] = loop.create_future()
        self.error: BaseException | None = None
        self.clock = VirtualClock(loop, random.Random(f"ids {seed}"))
        self.engine = MemoryEngine(OWNER, faults=Faults(random.Random(f"faults {seed}")), serve_http=False)
        self.trouble = Trouble(random.Random(f"trouble {seed}"))
        self.hooks = random.Random(f"hooks {seed}")
        self.given: dict[int, tuple[LateValues, str, int]] = {}  # whose each of these is: project and generation
        self.runs: dict[str, int] = {}  # which run of a container was the last to be configured or looked into
        self.model = Model(OWNER, loop.time, self.fail)
        self.process: Process | None = None
        self.stir: Callable[[], None] = lambda: None
        self.died: Callable[[], None] = lambda: None
        loop.set_task_factory(self._make_task)
        loop.set_exception_handler(self._unheard)
        with Store(path) as store:
            store.commit([], {"owner": OWNER}, 0)

    # what happened

    def note(self, event: str) -> None:
        self.events.append(f"{self.loop.time():11.4f} {event}")

    def fail(self, sentence: str, error: BaseException | None = None) -> None:
        """Something does not hold. The first such sentence ends the history."""
        if not self.failure.done():
            self.note(f"VIOLATED {sentence}")
            self.error = error
            self.failure.set_result(None)

    def _make_task(self, loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(work, loop=loop, **more)
        process = _process.get()
        if process is not None:
            process.tasks[task] = None
            if _is_of_client(asyncio.current_task(loop)) and "name" not in more:
                task.set_name("client's part")  # of its request, which ends with its connection
            task.add_done_callback(lambda done: process.tasks.pop(done, None))
        return task

    def _unheard(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = exception_in(context)
        if not isinstance(error, Killed):
            self.fail(f"unheard of: {context.get('message')} {error!r}", error)

    # what must hold

    def stored(self, changes: list[Change]) -> None:
        process = self._running()
        for change in changes:
            machine = change.machine
            state = "forgotten" if change.after is None else machine.state.value
            whose = f" of {machine.project}@{machine.generation}" if machine.project else ""
            self.note(f"  {change.cause.value}: {machine.id} {state}{whose} on {machine.port}; {machine.reason[:60]}")
            if change.machine.reason.startswith(("The worker stopped answering", "The worker did not answer when")):
                self._insist_on_silence(change.machine)
        self.model.stored(changes, lambda pool: process.fleet.pool(pool).line)
        self.check()

    def _insist_on_silence(self, machine: Machine) -> None:
        """Nobody is failed for being slow."""
        container = self.engine._serving(machine)
        if container is not None and container.answer_s > 0:
            self.fail(f"{machine.id} takes {container.answer_s:.1f} s for an answer, and failed: {machine.reason}")

    def check(self) -> None:
        """Everything, now. Cheap enough to be asked after every effect."""
        if self.failure.done():
            return
        self.model.removed.update(self._elsewhere())
        if self.process is None or not self.process.is_alive:
            with Store(self.path) as store:
                self.model.check(store.machines(), set(store.tombstones()), self.home())
                self.model.check_memory(store.machines(), self._left())
            return
        store, fleet = self.process.store, self.process.fleet
        rows = store.machines()
        self.model.check(rows, set(store.tombstones()), self.home(), self.held)
        self.model.check_memory(rows, self._left())
        stored = {row.id: row for row in rows}
        if not fleet.pending and stored != fleet.machines:
            differing = sorted({machine.id for _, machine in stored.items() ^ fleet.machines.items()})
            both = [(stored.get(machine_id), fleet.machines.get(machine_id)) for machine_id in differing]
            self.fail(f"not the same on disk and in memory: {both}")
        for project in fleet.wakers:
            own = fleet.of_project(project)
            if own is None or not own.is_asleep:
                self.fail(f"{project} waits to wake its machine: {own}")
        for project in fleet.waiting:
            if project in fleet.projects:
                self.fail(f"{project} waits in line, and has {fleet.projects[project]}")

    def note_run(self, machine_id: str) -> None:
        container = self.engine._places["memory"].get(machine_id)
        if container is not None:
            self.runs[machine_id] = container.work.run

    def check_configured(self, machine: Machine, values: LateValues) -> None:
        """Its project was told that these values are there: they are, unless somebody ended the container a moment ago."""
        container = self.engine._places["memory"].get(machine.id)
        if not machine.is_configured:
            self.fail(f"{machine.id} is said to be configured, and is {machine.configuration}")
        if container is None or container.instance.status is not Status.RUNNING:
            return
        if container.work.run != self.runs.get(machine.id) or (
            machine.configuration is not None and machine.configuration.may_land
        ):
            return
        if not container.is_ready or container.values != values:
            self.fail(f"{machine.id} is said to have {values}, and has {container.values}, ready: {container.is_ready}")

    def _left(self) -> dict[str, tuple[str, int]]:
        """Whose values are in the memory of each container."""
        containers = self.engine._places["memory"].items()
        return {name: self.given[id(one.values)][1:] for name, one in containers if one.values is not None}

    def held(self, pool: str) -> int:
        """How many machines of this pool hold a slot, and of all pools if it is empty: on record or decided on."""
        process = self.process
        if process is None or not process.is_alive:
            return 0
        return process.fleet.slots_held_by(pool) if pool else process.fleet.slots_held

    def home(self) -> Mapping[str, Instance]:
        """What runs on the engine that is ours, whichever answers now."""
        return {machine_id: c.instance for machine_id, c in self.engine._places["memory"].items()}

    def _elsewhere(self) -> Iterator[str]:
        """What was begun on another engine, before anybody noticed: it is lost when ours is back."""
        for engine_id, place in self.engine._places.items():
            if engine_id != "memory":
                yield from place

    def port_of(self, machine_id: str) -> int | None:
        instance = self.home().get(machine_id)
        return None if instance is None else instance.port

    def _running(self) -> Process:
        assert self.process is not None, "no process runs"
        return self.process


def _is_of_client(task: asyncio.Task[Any] | None) -> bool:
    return task is not None and task.get_name().startswith("client")


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """What is begun in here belongs to no process."""
    mine = _process.set(None)
    try:
        yield
    finally:
        _process.reset(mine)
