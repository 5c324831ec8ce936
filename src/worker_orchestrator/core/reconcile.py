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

from msgspec.structs import replace

from worker_orchestrator.core.action import Action, Destroy
from worker_orchestrator.core.brake import Failure, fail, may_restart, restart_later
from worker_orchestrator.core.due_actions import unfinished
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Instance, Snapshot, Status
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.core.sizing import resize
from worker_orchestrator.core.spec import Spec
from worker_orchestrator.core.unrecorded import orphans
from worker_orchestrator.core.watch import Watch

__all__ = ["Plan", "dying", "reconcile"]

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
            action = unfinished(fleet, machine, snapshot.instances.get(machine.id), now)
            if action is not None:
                actions.append(action)
    fleet.listed(snapshot.begun_at, ailing)
    actions += [Destroy(orphan.id) for orphan in orphans(fleet, snapshot) if orphan.id not in snapshot.busy]
    resize(fleet, spec, now, new_id)
    return Plan(actions, _next_deadline(fleet, spec, now))


def dying(fleet: Fleet, instances: Mapping[str, Instance], spec: Spec, now: float) -> Iterator[str]:
    """Ids of free machines whose container still exists and that this listing is about to fail: their logs are evidence."""
    for machine in fleet.machines.values():
        instance = instances.get(machine.id)
        if instance is None or machine.holding is not None or machine.state not in {State.STARTING, State.READY}:
            continue
        exited = instance.status is Status.EXITED
        if exited or (machine.state is State.STARTING and now > fleet.watches[machine.id].since + spec.start_timeout_s):
            yield machine.id


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
            self._fail("its container was removed by somebody else", gone=True, harmless=True)
        elif self.instance.status in _DEAD:
            self._fail(self._how_it_ended(self.instance), harmless=self.instance.killed)
        else:
            self._wait_for(self.instance.ailment)

    def _wait_for(self, ailment: str) -> None:
        """It is not handed out meanwhile. Nobody has files in it, so one that stays like that is replaced."""
        if self.machine.id not in self.fleet.ailing:
            self._watch.not_before = self.now + AILING_S
        if self.now >= self._watch.not_before:
            self._fail(f"cannot serve: {ailment}", harmless=True)
        else:
            self.ailing[self.machine.id] = ailment

    def _assigned(self) -> None:
        if self.instance is None:
            self._fail(_VANISHED, gone=True)
        elif self.instance.status is Status.EXITED:
            if self.now - self._watch.since > RESTARTS_FORGIVEN_AFTER_S:
                self._watch.tries = 0
            if self._is_the_last(self.instance):
                self._give_up(self.instance)
                return
            self._try_again(self._how_it_ended(self.instance))
        else:
            self.ailing[self.machine.id] = self.instance.ailment

    def _restarting(self) -> None:
        if self.instance is None:
            self._fail(_VANISHED, gone=True)
        elif self._watch.asked:
            return  # it is restarted, however it is
        elif self.instance.status is Status.EXITED and self._watch.restarted:
            self._watch.restarted = False
            if self._is_the_last(self.instance):
                self._give_up(self.instance)
            else:
                self._try_again(self._how_it_ended(self.instance))
        elif self.instance.trouble:
            self.ailing[self.machine.id] = self.instance.trouble
        elif self.instance.status is Status.RUNNING and self.snapshot.begun_at > self._deadline:
            reason = f"restarted; it runs, but does not answer yet: {self._watch.missed_why}"
            self._move(replace(self.machine, state=State.READY, reason=reason), Cause.ANSWERED)

    def _try_again(self, reason: str) -> None:
        """Each time for its own reason: what ends a worker after a bad edit is not what ended it before."""
        self._move(replace(self.machine, state=State.STARTING, reason=reason), Cause.RESTARTED)
        restart_later(self._watch, self.now)

    def _is_the_last(self, instance: Instance) -> bool:
        """Whether this death ends it for good. One that somebody caused from outside never does."""
        return not may_restart(self._watch) and not instance.killed

    def _give_up(self, instance: Instance) -> None:
        self._fail(f"{self._how_it_ended(instance)} again, after {self._watch.tries} restarts")

    def _coming(self) -> None:
        if self.instance is not None and self.instance.status in {Status.EXITED, Status.TERMINATING}:
            self._fail(self._how_it_ended(self.instance))
            return
        if self.instance is not None and self.instance.trouble:
            self._fail(
                f"cannot serve: {self.instance.trouble}", harmless=True
            )  # from outside, and a new one is up soon
            return
        if self.snapshot.begun_at <= self._deadline:
            return
        if self.instance is None or self.instance.status is not Status.RUNNING:
            self._fail(f"did not start within {self.spec.start_timeout_s:g} s")
        elif self._watch.missed_at is not None and self._watch.missed_at > self._deadline:
            self._fail(f"did not answer within {self.spec.start_timeout_s:g} s: {self._watch.missed_why}")
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

    def _fail(self, reason: str, *, gone: bool = False, harmless: bool = False) -> None:
        harmless = harmless or self.snapshot.after_outage
        failure = Failure(reason, self.snapshot.evidence.get(self.machine.id, ""), gone=gone, harmless=harmless)
        fail(self.fleet, self.spec, self.machine, self.now, failure)

    @staticmethod
    def _how_it_ended(instance: Instance) -> str:
        return f"its container is {instance.status}" + (f" ({instance.detail})" if instance.detail else "")


# plan: what is left to do for one machine, whatever happened before


# resize: how many machines a pool is short of, and which it has too many


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
