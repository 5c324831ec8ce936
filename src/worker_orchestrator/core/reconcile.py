"""The tick: compare the fleet with one full listing of the engine, and say what is to be done.

The other half of the pure core. It is level-triggered: it looks at what is, never at what happened, so a lost, repeated or
reordered event costs latency and nothing else, and a plan is computed anew each time instead of being kept. Two rules
carry its safety:

* About a machine that had an action in flight while the listing was made, the listing proves nothing (`snapshot.busy`).
* Unknown is not absent: only a full listing shows that something is gone, and only its own removal, acknowledged before
  that listing began, lets a machine be forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from msgspec.structs import replace

from worker_orchestrator.core.brake import Failure, clear_obstacle, fail, may_restart, obstruct, restart_later
from worker_orchestrator.core.commands import serve_line
from worker_orchestrator.core.fleet import Fleet, Watch
from worker_orchestrator.core.machine import (
    Action,
    Cause,
    Create,
    Destroy,
    FailureKind,
    Instance,
    Machine,
    Restart,
    Snapshot,
    Spec,
    State,
    Status,
)
from worker_orchestrator.core.outcomes import new_machine

__all__ = ["Plan", "dying", "foreign", "orphans", "reconcile", "resize", "strays"]

OVERDUE_S = 0.25
RESTARTS_FORGIVEN_AFTER_S = 600.0
AILING_S = 5.0
"""So long an idle machine may be unable to serve before it is replaced: `docker commit` pauses what it copies."""

_DEAD = frozenset({Status.EXITED, Status.CREATED, Status.TERMINATING})
"""What is not serving, and for a free machine reason enough to replace it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, and when to look again at the latest (monotonic seconds; None: at the next refresh)."""

    actions: list[Action]
    wake_at: float | None


def reconcile(fleet: Fleet, snapshot: Snapshot, spec: Spec, now: float, new_id: Callable[[], str]) -> Plan:
    """Bring the fleet in line with the listing, size its pools, and return what is left for the engine to do."""
    actions: list[Action] = []
    if snapshot.after_outage:
        for watch in fleet.watches.values():
            watch.tries, watch.obstructed, watch.not_before = 0, 0, 0.0
    ailing = {name: why for name, why in fleet.ailing.items() if name in snapshot.busy}
    for machine in list(fleet.machines.values()):
        if machine.id not in snapshot.busy:
            instance = snapshot.instances.get(machine.id)
            if machine.state is not State.READY or instance is None or instance.ailment or instance.status in _DEAD:
                _Observation(fleet, spec, snapshot, machine, instance, now, ailing).judge()
    for machine in fleet.machines.values():
        if machine.state is not State.READY and machine.id not in snapshot.busy:
            action = _unfinished(fleet, spec, machine, snapshot.instances.get(machine.id), now)
            if action is not None:
                actions.append(action)
    fleet.listed(snapshot.begun_at, ailing)
    actions += [Destroy(orphan.id) for orphan in orphans(fleet, snapshot) if orphan.id not in snapshot.busy]
    resize(fleet, spec, now, new_id)
    return Plan(actions, _next_deadline(fleet, spec, now))


def resize(fleet: Fleet, spec: Spec, now: float, new_id: Callable[[], str]) -> None:
    """Record the machines that are missing and let surplus go. Needs no listing, so a command may call it at once."""
    for name in fleet.pools_with_idle() - spec.pools.keys():
        for machine_id in list(fleet.stale(name, None)):
            _let_go(fleet, machine_id, "of a pool that the settings do not name", now)
    for name, wanted in spec.pools.items():
        serve_line(fleet, spec, name, now)
        if fleet.pool(name).line and fleet.leaving(name):
            _make_room(fleet, spec, name)
        if wanted.template is None or wanted.paused or _is_right(fleet, spec, name, wanted.template):
            continue
        _retire(fleet, spec, name, wanted.template, now)
        for _ in range(_missing(fleet, spec, name, wanted.template, now)):
            if new_machine(fleet, spec, name, wanted.template, new_id(), now) is None:
                _make_room(fleet, spec, name)
                break


def _make_room(fleet: Fleet, spec: Spec, name: str) -> None:
    """Nobody who waits for a slot or a port waits for a worker that takes its time to end."""
    pool, leaving = fleet.pool(name), fleet.leaving(name)
    if fleet.held < spec.max_machines and not pool.out_of_ports:
        return
    slow = [machine_id for machine_id in leaving if fleet.watches[machine_id].held]
    coming = len(fleet.coming(name, spec.pool(name).template)) + len(leaving) - len(slow)
    for machine_id in slow[: max(0, len(pool.line) - coming)]:
        fleet.hurry(machine_id)


def dying(fleet: Fleet, instances: Mapping[str, Instance], spec: Spec, now: float) -> Iterator[str]:
    """Ids of free machines whose container still exists and that this listing is about to fail: their logs are evidence."""
    for machine in fleet.machines.values():
        instance = instances.get(machine.id)
        if instance is None or machine.project is not None or machine.state not in {State.STARTING, State.READY}:
            continue
        exited = instance.status is Status.EXITED
        if exited or (machine.state is State.STARTING and now > fleet.watches[machine.id].since + spec.start_timeout_s):
            yield machine.id


def strays(fleet: Fleet, snapshot: Snapshot) -> list[Instance]:
    """Instances of our owner that we have no memory of (a restored or lost store). They are shown, never destroyed."""
    ours = (i for i in snapshot.instances.values() if i.owner == fleet.owner and i.id not in fleet.machines)
    return [i for i in ours if not _is_orphan(fleet, i)]


def foreign(fleet: Fleet, snapshot: Snapshot) -> list[Instance]:
    """Instances of another owner. They are shown on request, never touched."""
    return [i for i in snapshot.instances.values() if i.owner != fleet.owner and i.id not in fleet.machines]


def orphans(fleet: Fleet, snapshot: Snapshot) -> list[Instance]:
    """Instances that we once removed and that run all the same: a create that landed late."""
    return [i for i in snapshot.instances.values() if i.id not in fleet.machines and _is_orphan(fleet, i)]


def _is_orphan(fleet: Fleet, instance: Instance) -> bool:
    """A create that lands late gives its own name: what bears another one was somebody's doing, and is not ours to judge."""
    return instance.owner == fleet.owner and instance.id in fleet.tombstones and not instance.renamed


_VANISHED = "vanished: its container was removed by somebody else, and its files with it"


@dataclass(frozen=True, slots=True)
class _Observation:
    """One machine beside what the listing shows of it (None: nothing), and the moves that this proves."""

    fleet: Fleet
    spec: Spec
    snapshot: Snapshot
    machine: Machine
    instance: Instance | None
    now: float
    ailing: dict[str, str]  # what cannot serve, and why: this listing's findings are added

    def judge(self) -> None:
        if self._watch.verified_at is not None and self._watch.verified_at > self.snapshot.begun_at:
            return  # it answered since: that is newer than anything that the listing shows
        match self.machine.state, self.machine.project:
            case State.READY, None:
                self._idle()
            case State.READY, _:
                self._assigned()
            case State.STARTING, None:
                self._coming()
            case State.STARTING, _:
                self._restarting()
            case State.STOPPING, _:
                if self._is_removed:
                    self._move(None, Cause.FORGOTTEN)
            case State.FAILED, None:
                self._evidence()
            case _:
                assert self.machine.state is State.FAILED, f"{self.machine.id} is in no known state"
                self._kept()

    def _idle(self) -> None:
        if self.instance is None:
            self._fail(FailureKind.VANISHED, "its container was removed by somebody else", gone=True, harmless=True)
        elif self.instance.status in _DEAD:
            self._fail(self.instance.end, self._how_it_ended(self.instance), harmless=self.instance.killed)
        else:
            self._wait_for(self.instance.ailment)

    def _wait_for(self, ailment: str) -> None:
        """It is not handed out meanwhile. Nobody has files in it, so one that stays like that is replaced."""
        if self.machine.id not in self.fleet.ailing:
            self._watch.not_before = self.now + AILING_S
        if self.now >= self._watch.not_before:
            self._fail(FailureKind.HELD_UP, f"cannot serve: {ailment}", harmless=True)
        else:
            self.ailing[self.machine.id] = ailment

    def _assigned(self) -> None:
        if self.instance is None:
            self._fail(FailureKind.VANISHED, _VANISHED, gone=True)
        elif self.instance.status is Status.EXITED:
            if self.now - self._watch.since > RESTARTS_FORGIVEN_AFTER_S:
                self._watch.tries = 0
            self._try_again(self.instance)
        else:
            self.ailing[self.machine.id] = self.instance.ailment

    def _restarting(self) -> None:
        if self.instance is None:
            self._fail(FailureKind.VANISHED, _VANISHED, gone=True)
        elif self._watch.asked and self.spec.restarts_in_place:
            return  # it is restarted, however it is
        elif self.instance.status is Status.EXITED and (self._watch.restarted or not self.spec.restarts_in_place):
            self._watch.restarted = False
            self._try_again(self.instance)
        elif self.instance.trouble:
            self.ailing[self.machine.id] = self.instance.trouble
        elif self.instance.status is Status.RUNNING and self.snapshot.begun_at > self._deadline:
            reason = f"restarted; it runs, but does not answer yet: {self._watch.missed_why}"
            self._move(replace(self.machine, state=State.READY, reason=reason), Cause.ANSWERED)

    def _try_again(self, instance: Instance) -> None:
        """Restart it, if the engine can and it has tries left. A death that was caused from outside never ends it for good.

        Each time for its own reason: what ends a worker after a bad edit is not what ended it before.
        """
        reason = self._how_it_ended(instance)
        if not self.spec.restarts_in_place:
            self._fail(instance.end, reason)
        elif not may_restart(self._watch) and not instance.killed:
            self._fail(FailureKind.NOT_RESTARTED, f"{reason} again, after {self._watch.tries} restarts")
        else:
            self._move(replace(self.machine, state=State.STARTING, reason=reason), Cause.RESTARTED)
            restart_later(self._watch, self.now)

    def _coming(self) -> None:
        instance = self.instance
        if instance is not None and instance.status in {Status.EXITED, Status.TERMINATING}:
            self._fail(instance.end, self._how_it_ended(instance))
        elif instance is not None and instance.trouble:  # from outside, and a new one is up soon
            self._fail(FailureKind.HELD_UP, f"cannot serve: {instance.trouble}", harmless=True)
        elif instance is not None and instance.unplaced:
            obstruct(self.fleet, self.machine, self.now, instance.unplaced)
        else:
            if instance is not None and instance.status is Status.RUNNING:
                self._note_room()
            if self.snapshot.begun_at > self._deadline:
                self._overdue(instance)

    def _note_room(self) -> None:
        """An engine that only accepts creates found room for this one: nothing stands in the way of others any more."""
        obstacle = self.fleet.obstacle(self.machine.pool, self.machine.template)
        if obstacle is not None and self._watch.born >= obstacle.raised_at:
            clear_obstacle(self.fleet, self.machine)

    def _overdue(self, instance: Instance | None) -> None:
        if instance is None or instance.status is not Status.RUNNING:
            is_unreachable = instance is not None and instance.unreachable_since is not None
            reason = f"did not start within {self.spec.start_timeout_s:g} s"
            self._fail(FailureKind.START_TIMEOUT, reason, harmless=is_unreachable)
        elif self._watch.missed_at is not None and self._watch.missed_at > self._deadline:
            reason = f"did not answer within {self.spec.start_timeout_s:g} s: {self._watch.missed_why}"
            self._fail(FailureKind.ANSWER_TIMEOUT, reason)
        # else no probe was begun after the deadline yet: it may be us who slept

    def _evidence(self) -> None:
        if self.machine.gone:
            if self.now - self._watch.since > self.spec.evidence_s:
                self._move(None, Cause.FORGOTTEN)
        elif self._is_removed:
            self._move(replace(self.machine, gone=True), Cause.REMOVED)

    def _kept(self) -> None:
        """A failed machine that a project holds: somebody may remove its container, or bring it back to life."""
        if self.machine.gone:
            if self.instance is not None and self._fits:
                self._move(replace(self.machine, gone=False, reason="turned up again"), Cause.FAILED)
        elif self.instance is None:
            self._move(replace(self.machine, gone=True, reason=_VANISHED), Cause.REMOVED)
        elif self.instance.status is Status.RUNNING:
            self._move(replace(self.machine, state=State.STARTING, reason="runs again", evidence=""), Cause.REVIVED)

    @property
    def _fits(self) -> bool:
        """Whether its port and a slot are still there for it: what was thought to be gone may have been replaced."""
        is_ours = (self.machine.host, self.machine.port) not in self.fleet.ports
        return is_ours and self.fleet.held < self.spec.max_machines

    @property
    def _watch(self) -> Watch:
        return self.fleet.watches[self.machine.id]

    @property
    def _deadline(self) -> float:
        return self._watch.since + self.spec.start_timeout_s

    @property
    def _is_removed(self) -> bool:
        destroyed_at = self._watch.destroyed_at
        return self.instance is None and destroyed_at is not None and destroyed_at < self.snapshot.begun_at

    def _move(self, after: Machine | None, cause: Cause) -> None:
        self.fleet.apply(self.machine, after, cause, self.now)

    def _fail(self, kind: FailureKind, reason: str, *, gone: bool = False, harmless: bool = False) -> None:
        harmless = harmless or self.snapshot.after_outage
        evidence = self.snapshot.evidence.get(self.machine.id, "")
        failure = Failure(kind, reason, evidence, gone=gone, harmless=harmless)
        fail(self.fleet, self.spec, self.machine, self.now, failure)

    @staticmethod
    def _how_it_ended(instance: Instance) -> str:
        return f"its container is {instance.status}" + (f" ({instance.detail})" if instance.detail else "")


# plan: what is left to do for one machine, whatever happened before


def _unfinished(fleet: Fleet, spec: Spec, machine: Machine, instance: Instance | None, now: float) -> Action | None:
    if fleet.watches[machine.id].not_before > now:
        return None
    match machine.state:
        case State.STARTING if machine.project is None:
            waits = instance is None or instance.status is Status.CREATED
            is_moved = (
                instance is not None and spec.first_port is not None and instance.port not in {None, machine.port}
            )
            return Create(machine) if waits or is_moved else None
        case State.STARTING if spec.restarts_in_place:
            stands = instance is not None and instance.status in {Status.EXITED, Status.CREATED}
            asked = fleet.watches[machine.id].asked > 0 and instance is not None
            return Restart(machine.id, stop_first=asked) if stands or asked else None
        case State.STOPPING:
            return Destroy(machine.id, gently=fleet.watches[machine.id].held)
        case State.FAILED if machine.project is None and not machine.gone:
            return Destroy(machine.id)
        case State.FAILED if machine.project is None and instance is not None and _is_orphan(fleet, instance):
            return Destroy(machine.id)  # it was removed, and landed late; one that had vanished is left alone
    return None


# resize: how many machines a pool is short of, and which it has too many


def _is_right(fleet: Fleet, spec: Spec, name: str, template: str) -> bool:
    """Whether this pool has neither too many nor too few, which is seen at a glance after almost every assign or release."""
    wanted, idle = spec.pool(name), len(fleet.idle(name, template))
    if fleet.has_stale(name, template) or (wanted.max_idle is not None and idle > wanted.max_idle):
        return False
    if fleet.ailing:
        idle -= _held_up(fleet, name, template)
    enough = idle + len(fleet.coming(name, template)) >= wanted.min_idle + len(fleet.pool(name).line)
    return enough or fleet.held >= spec.max_machines


def _missing(fleet: Fleet, spec: Spec, name: str, template: str, now: float) -> int:
    """How many machines to begin now. Those on their way count, and so do those who wait."""
    room = spec.max_machines - fleet.held
    if room <= 0:
        return 0
    pool, wanted = fleet.pool(name), spec.pool(name)
    idle, coming = fleet.idle(name, template), fleet.coming(name, template)
    missing = wanted.min_idle + len(pool.line) - len(idle) + _held_up(fleet, name, template) - len(coming)
    if next(fleet.stale(name, template), None) is not None:
        missing = max(len(pool.line), 1) - len(coming)  # one by one, unless people wait
    hold = fleet.hold(name, template)
    if hold is not None:
        missing = min(missing, 1 - len(coming)) if hold.until <= now else 0
    return max(0, min(missing, room))


def _held_up(fleet: Fleet, name: str, template: str) -> int:
    """Idle machines that can serve nobody now. As long as nobody waits, one that may be well in a moment is not replaced."""
    return sum(one in fleet.idle(name, template) for one in fleet.ailing) if fleet.pool(name).line else 0


def _retire(fleet: Fleet, spec: Spec, name: str, template: str, now: float) -> None:
    """Let go what is more than `max_idle`, and old machines as far as new ones took their place."""
    wanted, idle = spec.pool(name), fleet.idle(name, template)
    surplus = 0 if wanted.max_idle is None else len(idle) - wanted.max_idle
    for machine_id in list(islice(idle, max(0, surplus))):
        _let_go(fleet, machine_id, "more idle machines than max_idle", now)
    stale = list(fleet.stale(name, template))
    if not stale:
        return
    keep = max(0, wanted.min_idle - len(idle)) if fleet.has_come_up(name, template) else len(stale)
    if keep >= len(stale) and _must_break_first(fleet, spec, name, template):
        keep = len(stale) - 1
    for machine_id in stale[: max(0, len(stale) - keep)]:
        _let_go(fleet, machine_id, _STALE, now)


_STALE = "made of an older image or setting"


def _must_break_first(fleet: Fleet, spec: Spec, name: str, template: str) -> bool:
    """Whether `max_machines` leaves no room for a replacement that is due: then one old machine makes room."""
    under_way = fleet.coming(name, template) or fleet.leaving(name)
    is_held = fleet.hold(name, template) is not None
    return fleet.held >= spec.max_machines and not under_way and not is_held


def _let_go(fleet: Fleet, machine_id: str, reason: str, now: float) -> None:
    machine = fleet.machines[machine_id]
    fleet.apply(machine, replace(machine, state=State.STOPPING, reason=reason), Cause.RETIRED, now)


def _next_deadline(fleet: Fleet, spec: Spec, now: float) -> float | None:
    """When something is due that no event announces: a start time-out, a retry, the end of a back-off."""
    times = [watch.not_before for watch in fleet.watches.values()]
    times += [one.until for pool in fleet.pools.values() for one in (pool.backoff, pool.obstacle) if one]
    for machine in fleet.machines.values():
        if machine.state is State.STARTING:
            deadline = fleet.watches[machine.id].since + spec.start_timeout_s
            overdue = machine.is_coming and deadline <= now  # it fails as soon as a probe begun after it is in
            times.append(now + OVERDUE_S if overdue else deadline)
    return min((t for t in times if t > now), default=None)
