"""The tick: compare the fleet with one full listing of the engine, and say what is to be done.

It is level-triggered: it looks at the present state and never at events, so a lost, repeated or reordered event costs only
time, and a plan is computed anew each time instead of being stored. Two rules make it safe:

* The listing proves nothing about a machine that had an action in flight while it was made (`snapshot.busy`), nor about one
  that answered a probe since.
* Unknown is not absent: only a full listing shows that a container is gone, and a machine that is being removed is forgotten
  only if its removal was acknowledged before that listing began.

What a listing shows of one machine, and what follows from that, is in `observation.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from worker_orchestrator.core.action import Action, Destroy
from worker_orchestrator.core.deadlines import next_deadline
from worker_orchestrator.core.due_actions import due_action
from worker_orchestrator.core.expiry import expire, warn
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Instance, Snapshot, Status
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.core.observation import DEAD, Observation
from worker_orchestrator.core.sizing import resize_all
from worker_orchestrator.core.spec import Spec
from worker_orchestrator.core.unrecorded import orphans

__all__ = ["Plan", "reconcile"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, and when to look again at the latest, in monotonic seconds (None: at the next refresh)."""

    actions: list[Action]
    wake_at: float | None


def reconcile(fleet: Fleet, snapshot: Snapshot, spec: Spec, now: float, new_id: Callable[[], str]) -> Plan:
    """Bring the fleet in line with the listing, size its pools, and return what is left for the engine to do."""
    actions: list[Action] = []
    if snapshot.after_outage:
        for watch in fleet.watches.values():
            watch.tries, watch.obstructed_restarts, watch.not_before = 0, 0, 0.0
    ailing = {name: why for name, why in fleet.ailing.items() if name in snapshot.busy}
    for machine in list(fleet.machines.values()):
        if machine.id not in snapshot.busy:
            instance = snapshot.instances.get(machine.id)
            since = None if instance is None else instance.unreachable_since
            fleet.watches[machine.id].unreachable_s = None if since is None else max(0.0, snapshot.begun_at - since)
            if instance is None or not _is_as_it_was(fleet, machine, instance):
                Observation(fleet, spec, snapshot, machine, instance, now, ailing).judge()
    for machine in fleet.machines.values():
        if machine.state is not State.READY and not machine.is_asleep and machine.id not in snapshot.busy:
            action = due_action(fleet, spec, machine, snapshot.instances.get(machine.id), now)
            if action is not None:
                actions.append(action)
    fleet.take_listing(snapshot.begun_at, ailing)
    fleet.unlisted.clear()
    expire(fleet, now)
    warn(fleet, spec, now)
    actions += _removals_of_orphans(fleet, snapshot, now)
    resize_all(fleet, spec, now, new_id)
    return Plan(actions, next_deadline(fleet, spec, now))


def _removals_of_orphans(fleet: Fleet, snapshot: Snapshot, now: float) -> list[Action]:
    """A removal of each orphan, unless the last one failed a moment ago."""
    there = {orphan.id for orphan in orphans(fleet, snapshot)}
    fleet.orphan_retries = {name: retry for name, retry in fleet.orphan_retries.items() if name in there}
    put_off = {name for name, (_, not_before) in fleet.orphan_retries.items() if not_before > now}
    return [Destroy(name) for name in sorted(there - put_off - snapshot.busy)]


def _is_as_it_was(fleet: Fleet, machine: Machine, instance: Instance) -> bool:
    """Whether this listing shows nothing new of this machine, as of almost all of them."""
    if machine.state is State.READY:
        return not instance.ailment and instance.status not in DEAD
    if machine.state is State.PARKED:
        return instance.status is Status.PAUSED and fleet.watches[machine.id].is_paused and not instance.is_cut_off
    return instance.status is Status.EXITED and machine.is_asleep
