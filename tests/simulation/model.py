"""What clients were told, and all that must hold because of it.

The model knows nothing of how the service works. It hears of requests and replies, of commits, and of what really runs;
and it compares. A promise is *sure* from the reply until somebody asks for its end: while such a request is under way, and
after one whose reply got lost, it may be either way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.core.machine import Cause, Change, Machine, State

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
    promises: list[Promise] = field(default_factory=list)  # what it may end
    began: int = 0  # places in the order of all beginnings and ends
    ended: int | None = None

    @property
    def takes(self) -> bool:
        return self.kind in {"release", "destroy"}

    def __str__(self) -> str:
        return f"#{self.number} {self.kind} {self.name}".rstrip()


class Model:
    """Judges. `fail` gets each sentence that does not hold; `removed` holds the instances that somebody else removed."""

    def __init__(self, owner: str, max_machines: int, now: Callable[[], float], fail: Callable[[str], None]) -> None:
        self.owner, self.max_machines = owner, max_machines
        self._now, self._fail = now, fail
        self.sure: dict[str, Promise] = {}
        self.removed: set[str] = set()
        self.planted: dict[str, Instance] = {}
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
        self._again: set[str] = set()  # projects that lost their place, because what they were to get was no good

    # requests and replies

    def asked(self, request: Request) -> None:
        self.order += 1
        request.began = self.order
        self._open[request.number] = request
        if request.kind == "assign" and request.name not in self._waiting:
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

    def assigned(self, request: Request, machine: Machine, port_of: Callable[[str], int | None]) -> None:
        """The client was told of this machine."""
        self._ended(request)
        promise = Promise(request.name, machine.id, machine.generation)
        key = (machine.id, machine.generation)
        told = self._handed.setdefault(key, request.name)
        self._check(told == request.name, f"{request} was told {machine.id}, and so was {told}, of one generation")
        if self._is_disturbed(request, promise):
            return
        self._check(machine.project == request.name, f"{request} was told {machine.id} of {machine.project}")
        self._check(machine.id not in self.destroy_asked, f"{request} was told {machine.id}, which is being destroyed")
        for other in self.sure.values():
            same = other.machine_id == machine.id and other.project != request.name
            self._check(not same, f"{request} was told {machine.id}, which {other.project} holds")
        if self._assigned.get(key, 0) >= request.began:
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

    def _ended(self, request: Request) -> None:
        self.order += 1
        request.ended = self.order
        del self._open[request.number]
        if self._waiting.get(request.name) is not request:
            return
        others = [r for r in self._open.values() if r.kind == "assign" and r.name == request.name]
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

    # what was stored

    def stored(self, changes: Sequence[Change], line: Mapping[str, None]) -> None:
        """This batch is on disk; `line` waits."""
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
            if after is not None and change.hands_over:
                higher = after.generation > self._generation
                self._check(higher, f"{after.id}: generation {after.generation} follows {self._generation}")
                self._generation = after.generation
                self._assigned[after.id, after.generation] = self.order
                self._check_order(after.project, line)

    def not_stored(self, changes: Sequence[Change]) -> None:
        """This batch was undone: who was served in it begins again, and what was to be taken back stays."""
        for change in changes:
            machine, before = change.machine, change.before
            if change.hands_over and machine.project is not None:
                self._again.add(machine.project)
            if change.cause is Cause.WITHDRAWN and before is not None and before.project is not None:
                self._handed.setdefault((before.id, before.generation), before.project)

    def _check_order(self, project: str | None, line: Mapping[str, None]) -> None:
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
    ) -> None:
        """Compare what is on disk with what was promised, and with what runs."""
        self._check_rows(rows)
        by_project = {row.project: row for row in rows if row.project is not None}
        for promise in self.sure.values():
            row = by_project.get(promise.project)
            if promise.machine_id in self.removed | self.once_hidden:
                continue
            kept = row is not None and (row.id, row.generation) == (promise.machine_id, promise.generation)
            self._check(kept, f"{promise.project} holds {promise.machine_id}, and on disk it has {row}")
            self._check(row is None or not row.gone, f"{promise.machine_id} is said to be gone, and nobody removed it")
        for machine_id, instance in self.planted.items():
            self._check(home.get(machine_id) == instance, f"{machine_id} of {instance.owner} was touched")
        ours = [i for i in home.values() if i.owner == self.owner and i.id not in self.planted]
        late = tombstones | {row.id for row in rows if row.gone}
        known = {row.id for row in rows if not row.gone}
        strays = late | self.once_hidden | self.removed  # a create that lands late makes again what somebody removed
        counted = [i.id for i in ours if i.id in known or i.id not in strays]
        few = len(counted) <= self.max_machines
        self._check(few, f"{len(counted)} instances of {self.max_machines}: {', '.join(counted)}")
        self._check_ports(i for i in home.values() if i.status is Status.RUNNING)

    def _check_rows(self, rows: Sequence[Machine]) -> None:
        for row in rows:
            self._check(
                row.project is None or (row.id, row.generation) not in self._over,
                f"{row.id} was released or destroyed, and is {row.project}'s again",
            )
            over = row.id not in self.destroyed or row.state is State.STOPPING
            self._check(over, f"{row.id} was destroyed, and is {row.state}")
        slots = sum(not row.gone for row in rows)
        self._check(slots <= self.max_machines, f"{slots} machines of {self.max_machines}")
        ids = [row.project for row in rows if row.project is not None]
        self._check(len(ids) == len(set(ids)), f"a project has two machines: {ids}")
        ports = [row.port for row in rows if row.port is not None and not row.gone]
        self._check(len(ports) == len(set(ports)), f"two machines have one port: {ports}")

    def _check_ports(self, running: Iterable[Instance]) -> None:
        ports = [instance.port for instance in running if instance.port is not None]
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


def _names(promise: Promise) -> tuple[str, str, str]:
    return promise.project, promise.machine_id, native_id(promise.machine_id)


def native_id(machine_id: str) -> str:
    """The memory engine's own name for this machine."""
    return machine_id.encode().hex()[-12:]
