"""What clients were told, and all that must hold because of it.

The model knows nothing of how the service works. It hears of requests and replies, of commits, and of what really runs;
and it compares. A promise is *sure* from the reply until somebody asks for its end: while such a request is under way, and
after one whose reply got lost, it may be either way.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.core.machine import Cause, Change, Machine, State
from worker_orchestrator.core.reasons import SETUP_FAILED_REMOVED
from worker_orchestrator.settings.settings import DEFAULT_POOL

__all__ = ["Model", "Promise", "Request"]

EPSILON_S = 0.01
VERIFIED_WITHIN_S = 1.0
STORM, STORM_S = 24, 3.0
"""So many calls about one machine within so many seconds are no second try."""
_OUTSIDE = ("has no room", "is in use")
"""What the memory engine says where it is nobody's machine that is to blame."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A project was told that this machine is its own."""

    project: str
    machine_id: str
    generation: int


@dataclass(slots=True, eq=False)
class Request:
    """One request of one client."""

    number: int
    kind: str
    name: str
    begun_at: float
    pool: str | None = None  # that an assign asks for
    pools: set[str] = field(default_factory=set)  # of which it may get a machine that its project does not have yet
    patience_s: float = 0.0  # how long an assign waits in line
    promises: list[Promise] = field(default_factory=list)  # what it may end
    began: int = 0  # places in the order of all beginnings and ends
    ended: int | None = None

    @property
    def assigns(self) -> bool:
        """Whether it asks for a machine, be it with values or without."""
        return self.kind in {"assign", "configure"}

    @property
    def takes(self) -> bool:
        return self.kind in {"release", "destroy"}

    def __str__(self) -> str:
        return f"#{self.number} {self.kind} {self.name}".rstrip()


@dataclass(slots=True)
class Ceiling:
    """How many machines there may be: `limit`, or as many as there were when it was lowered, until there are fewer."""

    limit: int | None
    held: int

    @property
    def most(self) -> float:
        return math.inf if self.limit is None else max(self.limit, self.held)


class Model:
    """Judges. `fail` gets each sentence that does not hold; `removed` holds the instances that somebody else removed."""

    def __init__(self, owner: str, now: Callable[[], float], fail: Callable[[str], None]) -> None:
        self.owner = owner
        self.max_awake: int | None = None  # all settings of a history have the same one
        self._by_hand: set[str] = set()  # machines that were asleep until somebody else started them
        self._ended_asleep: set[str] = set()  # machines that were asleep until their removal began, and do not run
        self._now, self._fail = now, fail
        self._ceilings: dict[str, Ceiling] = {}  # by pool; of the fleet under ""
        self._pools: set[str] = set()  # that were in force at some time since the last batch
        self.absent_until: dict[str, float] = {}  # by pool that was not in force once: until when
        self._ended_lately: list[Request] = []  # assigns that ended since the last batch
        self._last_pool: dict[str, str] = {}  # by project: of the machine that it had last
        self.sure: dict[str, Promise] = {}
        self.removed: set[str] = set()
        self.planted: dict[str, Instance] = {}
        self.paused_by_others: set[str] = set()
        self.answered_at: dict[str, float] = {}  # the last probe that was answered
        self.once_hidden: set[str] = set()  # instances that nobody found for a while, though they were there
        self.kept: dict[str, Promise] = {}  # by machine: what was forgotten meanwhile, with files that nobody gave up
        self.destroy_asked: set[str] = set()
        self.destroyed: set[str] = set()  # and told so
        self._handed: dict[tuple[str, int], str] = {}
        self._assigned: dict[tuple[str, int], int] = {}  # when, in the order of all beginnings and ends
        self._over: set[tuple[str, int]] = set()  # promises whose end was told
        self._generation = 0
        self.order = 0
        self._open: dict[int, Request] = {}
        self._takings: list[Request] = []  # that overlap with an open request
        self._waiting: dict[str, Request] = {}  # the oldest assign of each project
        self._restarts: dict[int, str] = {}  # whose restart was asked for, and may have been decided, by request
        self.owed: dict[tuple[str, int], float] = {}  # restarts that were promised for later, and when
        self.restart_reached_in: dict[str, int] = {}  # by machine, in the order of all beginnings and ends
        self._touched: dict[str, deque[float]] = {}  # when the engine was last asked to do something about a machine
        self._discarded: set[tuple[str, int]] = set()  # assignments that ended with a failed set-up
        self._last_of: dict[str, tuple[str, int]] = {}  # by project: the machine and the generation that it got last
        self._again: set[str] = set()  # projects that lost their place, because what they were to get was no good

    # what is in force

    def configure(self, pools: Mapping[str, int | None], limit: int, held: Mapping[str, int]) -> None:
        """These pools are in force from now on, with their limits. `held`: so many machines each had, and "" all of them.

        What is above a limit that was lowered may stay.
        """
        for name in self._ceilings.keys() - pools.keys() - {""}:
            self.absent_until[name] = math.inf
        for name in pools:
            if self.absent_until.get(name) == math.inf or (self._ceilings and name not in self._ceilings):
                self.absent_until[name] = self._now()
        limits = {"": limit, **pools}
        self._ceilings = {name: Ceiling(most, held.get(name, 0)) for name, most in limits.items()}
        self._pools |= pools.keys()

    def was_absent(self, pool: str, since: float) -> bool:
        """Whether this pool was not in force at some time since then."""
        return pool not in self._ceilings or self.absent_until.get(pool, -math.inf) >= since

    # requests and replies

    def asked(self, request: Request) -> None:
        self.order += 1
        request.began = self.order
        if request.assigns:
            self._note_pools(request)
        self._open[request.number] = request
        if request.assigns and request.name not in self._waiting:
            self._waiting[request.name] = request
            self._again.discard(request.name)
        if request.kind == "restart":
            self._restarts[request.number] = request.name
        if not request.takes:
            return
        self._takings.append(request)
        for promise in list(self.sure.values()):
            if request.name in _names(promise):
                request.promises.append(promise)
                del self.sure[promise.project]
        for promise in list(self.kept.values()):
            if request.name in _names(promise)[1:]:  # its project has another one by now
                del self.kept[promise.machine_id]

    def _note_pools(self, request: Request) -> None:
        """Who names no pool waits with the others of its project, else for the pool that it had, or the default one."""
        request.pools |= {request.pool} if request.pool else {DEFAULT_POOL, self._last_pool.get(request.name, "")}
        for other in self._open.values():
            if other.assigns and other.name == request.name:
                if request.pool is None:
                    request.pools |= other.pools
                if other.pool is None:
                    other.pools |= request.pools

    def assigned(self, request: Request, machine: Machine, port_of: Callable[[str], int | None]) -> None:
        """The client was told of this machine."""
        self._ended(request)
        promise = Promise(request.name, machine.id, machine.generation)
        key = (machine.id, machine.generation)
        told = self._handed.setdefault(key, request.name)
        self._check(told == request.name, f"{request} was told {machine.id}, and so was {told}, of one generation")
        if self._is_disturbed(request, promise) or key in self._discarded:
            return
        self._check(machine.project == request.name, f"{request} was told {machine.id} of {machine.project}")
        self._check(machine.id not in self.destroy_asked, f"{request} was told {machine.id}, which is being destroyed")
        for other in self.sure.values():
            same = other.machine_id == machine.id and other.project != request.name
            self._check(not same, f"{request} was told {machine.id}, which {other.project} holds")
        if self._assigned.get(key, 0) >= request.began and request.kind == "assign":  # values take a while
            silent_s = self._now() - self.answered_at.get(machine.id, 0.0)
            fresh = silent_s <= VERIFIED_WITHIN_S + EPSILON_S
            self._check(fresh, f"{request} was told {machine.id}, which answered {silent_s:.3f} s ago")
            port = port_of(machine.id)
            self._check(port in {machine.port, None}, f"{request} was told port {machine.port}, it listens on {port}")
        before = self.sure.get(request.name)
        if before is not None and before.machine_id != machine.id:
            self.kept[before.machine_id] = before
        self.sure[request.name] = promise

    def refused(self, request: Request, *, undone: bool = False) -> None:
        """The client was told that it did not happen (`undone`: nothing of it did), or not of what came of it."""
        self._ended(request)
        self._note_unconfigured(request)
        if undone:
            self._restarts.pop(request.number, None)
        for promise in request.promises if undone else ():
            if promise.project not in self.sure and not self._is_disturbed(request, promise):
                self.sure[promise.project] = promise

    def taken(self, request: Request) -> None:
        """The client was told that the release or the destroy is done."""
        self._ended(request)
        for promise in request.promises:
            self._over.add((promise.machine_id, promise.generation))

    def restarted(self, request: Request) -> None:
        """The client was told that its machine was started again."""
        self._ended(request)

    def lost(self, request: Request) -> None:
        """The reply never came: the process died, or the client hung up."""
        self._ended(request)
        self._note_unconfigured(request)

    def _note_unconfigured(self, request: Request) -> None:
        """Who asked for a machine with values, and hears that they are not there, has the machine nevertheless."""
        if request.kind == "configure" and request.name in self._last_of:
            self._handed.setdefault(self._last_of[request.name], request.name)

    def _ended(self, request: Request) -> None:
        self.order += 1
        request.ended = self.order
        del self._open[request.number]
        if request.assigns:
            self._ended_lately.append(request)
        if self._waiting.get(request.name) is not request:
            return
        others = [r for r in self._open.values() if r.assigns and r.name == request.name]
        if others:
            self._waiting[request.name] = others[0]
            self._again.add(request.name)  # whether its place went on with them, nobody can tell from outside
        else:
            del self._waiting[request.name]
            self._again.discard(request.name)

    def _is_disturbed(self, request: Request, promise: Promise) -> bool:
        """Whether somebody asked for the end of this promise while the request was under way."""
        oldest = min([request.began, *(r.began for r in self._open.values())])
        self._takings = [r for r in self._takings if r.ended is None or r.ended > oldest]
        others = [r for r in self._takings if r is not request and (r.ended is None or r.ended > request.began)]
        return any(r.name in _names(promise) for r in others)

    def slept(self, request: Request) -> None:
        """The client was told that its machine was put to sleep."""
        self._ended(request)

    # what was stored

    def stored(self, changes: Sequence[Change], line: Callable[[str], Iterable[str]]) -> None:
        """This batch is on disk; `line` says who waits in a pool."""
        for change in changes:
            before, after = change.before, change.after
            had = None if before is None else before.project
            if had is not None and (after is None or after.project != had):
                self._again.add(had)
        for change in changes:
            after = change.after
            if after is not None and after.state is State.FAILED and change.cause is Cause.FAILED:
                outside = any(words in after.reason for words in _OUTSIDE)
                self._check(not outside, f"{after.id} failed for a cause outside: {after.reason}")
                if after.gone:  # its project is told so: what was promised of its container is void
                    self.owed.pop((after.id, after.generation), None)
            self._note_sleep(change)
            if change.cause is Cause.RELEASED and change.machine.reason == SETUP_FAILED_REMOVED:
                self._note_discarded(change.machine)
            if after is not None and change.hands_over:
                higher = after.generation > self._generation
                self._check(higher, f"{after.id}: generation {after.generation} follows {self._generation}")
                self._generation = after.generation
                self._assigned[after.id, after.generation] = self.order
                self._last_of[after.project or ""] = (after.id, after.generation)
                self._check_order(after.project, line(after.pool))
                self._check_pool(after)
            if after is not None and change.cause is Cause.CREATED:
                self._check(after.pool in self._pools, f"{after.id} is begun in {after.pool}, which is not in force")
        if changes:
            self._batch_is_over()

    def _note_discarded(self, machine: Machine) -> None:
        """Its set-up failed, and its pool removes such machines. Whoever waits for the set-up hears of it."""
        self._discarded.add((machine.id, machine.generation))
        self.kept.pop(machine.id, None)
        for promise in list(self.sure.values()):
            if (promise.machine_id, promise.generation) == (machine.id, machine.generation):
                del self.sure[promise.project]

    def _note_sleep(self, change: Change) -> None:
        """Which machines do not count as awake, though they are not asleep on record, or the other way round."""
        after = change.after
        if (
            change.before is not None
            and change.before.is_asleep
            and after is not None
            and after.state is State.STOPPING
        ):
            self._ended_asleep.add(after.id)
        if change.cause is Cause.REVIVED and change.before is not None and change.before.state is State.SLEEPING:
            self._by_hand.add(change.machine.id)
        elif after is None or after.gone or after.is_asleep:
            self._by_hand.discard(change.machine.id)

    def not_stored(self, changes: Sequence[Change]) -> None:
        """This batch was undone: who was served in it begins again, and what was to be taken back stays."""
        for change in changes:
            machine, before = change.machine, change.before
            if change.hands_over and machine.project is not None:
                self._again.add(machine.project)
            if change.cause is Cause.WITHDRAWN and before is not None and before.project is not None:
                self._handed.setdefault((before.id, before.generation), before.project)
        if changes:
            self._batch_is_over()

    def _check_pool(self, after: Machine) -> None:
        """A project gets a machine of the pool that it asks for, and of no other one."""
        asked = [r for r in [*self._open.values(), *self._ended_lately] if r.assigns and r.name == after.project]
        pools = set[str]().union(*(request.pools for request in asked))
        self._check(
            after.pool in pools, f"{after.project} gets {after.id} of {after.pool}, and asks for one of {pools}"
        )
        self._check(
            after.pool in self._pools, f"{after.project} gets {after.id} of {after.pool}, which is not in force"
        )
        self._last_pool[after.project or ""] = after.pool

    def _batch_is_over(self) -> None:
        self._ended_lately.clear()
        self._pools = set(self._ceilings) - {""}

    def _check_order(self, project: str | None, line: Iterable[str]) -> None:
        """Who came first is served first."""
        served = self._waiting.get(project or "")
        for other in line:
            waiting = self._waiting.get(other)
            if served is not None and waiting is not None and other not in self._again:
                first = served.began < waiting.began or project in self._again
                self._check(first, f"{served} is served before {waiting}")

    # what must always hold

    def check(
        self,
        rows: Sequence[Machine],
        tombstones: AbstractSet[str],
        home: Mapping[str, Instance],
        held: Callable[[str], int] = lambda _: 0,
    ) -> None:
        """Compare what is on disk with what was promised, and with what runs. `held`: as many machines are decided on."""
        by_project = {row.project: row for row in rows if row.project is not None}
        for promise in self.sure.values():
            row = by_project.get(promise.project)
            if promise.machine_id in self.removed | self.once_hidden:
                continue
            kept = row is not None and (row.id, row.generation) == (promise.machine_id, promise.generation)
            self._check(kept, f"{promise.project} holds {promise.machine_id}, and on disk it has {row}")
            self._check(row is None or not row.gone, f"{promise.machine_id} is said to be gone, and nobody removed it")
            found = home.get(promise.machine_id)
            is_paused = found is not None and found.status is Status.PAUSED
            by_us = is_paused and promise.machine_id not in self.paused_by_others
            self._check(not by_us, f"{promise.machine_id} is paused, and {promise.project} holds it")
        for machine_id, instance in self.planted.items():
            self._check(home.get(machine_id) == instance, f"{machine_id} of {instance.owner} was touched")
        ours = [i for i in home.values() if i.owner == self.owner and i.id not in self.planted]
        late = tombstones | {row.id for row in rows if row.gone}
        known = {row.id for row in rows if not row.gone}
        strays = late | self.once_hidden | self.removed  # a create that lands late makes again what somebody removed
        counted = [i.id for i in ours if i.id in known or i.id not in strays]
        self._check_limit("", len(counted), f"instances: {', '.join(counted)}")
        self._check_rows(rows, held)
        self._check_ports(i for i in home.values() if i.status is Status.RUNNING)

    def _check_rows(self, rows: Sequence[Machine], held: Callable[[str], int]) -> None:
        for row in rows:
            self._check(
                row.project is None or (row.id, row.generation) not in self._over,
                f"{row.id} was released or destroyed, and is {row.project}'s again",
            )
            over = row.id not in self.destroyed or row.state is State.STOPPING
            self._check(over, f"{row.id} was destroyed, and is {row.state}")
        pools = [row.pool for row in rows if not row.gone]
        for name, ceiling in self._ceilings.items():
            count = pools.count(name) if name else len(pools)
            self._check_limit(name, count, "machines")
            ceiling.held = min(ceiling.held, max(count, held(name)))
        not_counted = self._by_hand | self._ended_asleep
        awake = sum(not row.gone and not row.is_asleep and row.id not in not_counted for row in rows)
        self._check(
            self.max_awake is None or awake <= self.max_awake, f"{awake} machines are awake of {self.max_awake}"
        )
        ids = [row.project for row in rows if row.project is not None]
        self._check(len(ids) == len(set(ids)), f"a project has two machines: {ids}")
        ports = [port for row in rows if not row.gone for port in row.host_ports]
        self._check(len(ports) == len(set(ports)), f"two machines have one port: {ports}")

    def _check_limit(self, pool: str, count: int, what: str) -> None:
        ceiling = self._ceilings.get(pool)
        if ceiling is not None:
            of_pool = f" in {pool}" if pool else ""
            self._check(count <= ceiling.most, f"{count} of {ceiling.limit} (held: {ceiling.held}){of_pool}, {what}")

    def _check_ports(self, running: Iterable[Instance]) -> None:
        ports = [port for instance in running for port in _ports(instance)]
        self._check(len(ports) == len(set(ports)), f"two instances have one port: {ports}")

    def untold(self, rows: Iterable[Machine], since: int) -> list[Machine]:
        """Machines that were assigned after `since` to a project that never heard of it."""
        keys = {(row.id, row.generation): row for row in rows if row.project is not None}
        return [row for key, row in keys.items() if key not in self._handed and self._assigned[key] > since]

    def check_destroy(self, machine_id: str) -> None:
        """The process asks the engine to destroy this."""
        self.destroy_asked.add(machine_id)
        self.check_touch("destroy", machine_id)
        for promise in self.sure.values():
            held = promise.machine_id == machine_id and machine_id not in self.removed
            self._check(not held, f"{machine_id} is destroyed, and {promise.project} holds it")
        kept = self.kept.get(machine_id)
        self._check(kept is None, f"{machine_id} is destroyed, and was merely forgotten: {kept} was not given up")

    def check_pause(self, machine_id: str) -> None:
        """The process asks the engine to pause this, until somebody needs it."""
        self.check_touch("pause", machine_id)
        for promise in self.sure.values():
            self._check(promise.machine_id != machine_id, f"{machine_id} is paused, and {promise.project} holds it")

    def check_clean(self, machine_id: str) -> None:
        """The process asks the engine to end this, to start it again, and to look whether anything is left in it."""
        self.check_touch("clean", machine_id)
        for promise in self.sure.values():
            self._check(promise.machine_id != machine_id, f"{machine_id} is cleaned, and {promise.project} holds it")

    def check_memory(self, rows: Sequence[Machine], left: Mapping[str, tuple[str, int]]) -> None:
        """What a project configured is seen by no other. `left`: the project and generation of what is in each container."""
        for row in rows:
            if row.id in left:
                project, generation = left[row.id]
                self._check(row.configuration is not None, f"{row.id} has values of {project}, and is said to be clean")
                same = row.holding is None or (row.project, row.generation) == (project, generation)
                self._check(same, f"{row.id} of {row.project}@{row.generation} has values of {project}@{generation}")

    def check_sleep(self, machine: Machine | None) -> None:
        """The process asks the engine to stop this and to keep it."""
        assert machine is not None, "nothing that is on no record is put to sleep"
        self.check_touch("stop", machine.id)
        may_end = machine.state not in {
            State.READY,
            State.FAILED,
        }  # it may have been woken or released this very moment
        self._check(may_end, f"{machine.id} is stopped to sleep, and is {machine.state}")

    def check_restart(self, machine_id: str) -> None:
        """The process asks the engine to end this where it runs, and to start it again."""
        wanted = {machine_id, native_id(machine_id)} & set(self._restarts.values())
        self._check(
            bool(wanted), f"{machine_id} is restarted, and nobody asked for that, or was told that it was not stored"
        )

    def restart_reached(self, machine_id: str) -> None:
        """Whatever came of that."""
        self.owed = {key: at for key, at in self.owed.items() if key[0] != machine_id}
        self.restart_reached_in[machine_id] = self.order

    def overdue(self, rows: Iterable[Machine]) -> list[Machine]:
        """Machines that serve a project which was promised a restart of it, and got none."""
        serve = {State.STARTING, State.READY}
        return [row for row in rows if (row.id, row.generation) in self.owed and row.state in serve and row.project]

    def check_touch(self, call: str, machine_id: str) -> None:
        touched = self._touched.setdefault(machine_id, deque(maxlen=STORM))
        touched.append(self._now())
        storm = len(touched) == STORM and touched[-1] - touched[0] < STORM_S
        self._check(
            not storm, f"{STORM} calls about {machine_id} in {touched[-1] - touched[0]:.2f} s, the last a {call}"
        )
        self._check(machine_id not in self.planted, f"{call} {machine_id}, which is not ours to touch")

    def _check(self, holds: bool, sentence: str) -> None:  # noqa: FBT001 # an assertion in words
        if not holds:
            self._fail(sentence)


def _ports(instance: Instance) -> list[int]:
    if instance.port is None:
        return []
    return [port for _, port in instance.ports] or [instance.port]


def _names(promise: Promise) -> tuple[str, str, str]:
    return promise.project, promise.machine_id, native_id(promise.machine_id)


def native_id(machine_id: str) -> str:
    """The memory engine's own name for this machine."""
    return machine_id.encode().hex()[-12:]
