"""The deadlines of assignments: what puts them off, and what happens when one has passed.

A deadline acts on a machine that is READY and can serve. One that failed, is being restarted or is paused waits for its
project. What comes back to life has a minute before a deadline acts that passed meanwhile, so that its client can keep it.
For the same reason nothing expires in the minute after a start of the service or a wake of the computer.

The end is announced some time before, by a change that leaves the machine as it is: once, and once more after each time that
it was put off. Silence may yet be broken, so such a warning may prove wrong.

While a machine sleeps, none of them acts but `max_age`: it sleeps because nobody used it or asked for it, so that is no
reason to wake or to remove it. `max_age` ends an assignment, also one whose pool puts its machines to sleep.

An expired machine is never handed on as it is, since its former client may still have its URL.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.lease import (
    NO_TERMS,
    SILENT,
    SPARED_S,
    Announcement,
    Ending,
    Lease,
    OnExpiry,
    Terms,
    age_ending,
    certain_ending,
    ending,
    unannounced_ending,
)
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.core.reasons import expired
from worker_orchestrator.core.sleep import put_to_sleep
from worker_orchestrator.core.spec import Spec

__all__ = ["expected_end", "expire", "keep", "note_reading", "note_use", "put_clock", "set_terms", "warn"]

LATE_S: Final = 5.0
"""Whoever did not look at the clock for longer than this stood still, or slept: the look that follows counts as a wake."""
FRESH_S: Final = 5.0
"""A reading that is older than this does not show that nobody uses a machine."""
AILING_S: Final = 5.0
"""How long to wait before looking at an expired machine again that cannot serve."""


def put_clock(fleet: Fleet, offset: float, now: float, looked_at: float) -> None:
    """From now on the lease clock shows `now + offset`. It is a wake if nobody has looked since long before now.

    `looked_at`, when somebody last did, and `now` are monotonic; the time that the computer slept is in the offset alone.
    """
    slept_s = max(0.0, offset - fleet.lease_offset)  # it never goes back: what differs by microseconds is no sleep
    fleet.lease_offset += slept_s
    if now + slept_s - looked_at > LATE_S:
        fleet.nothing_expires_before = fleet.lease_time(now) + SPARED_S


def keep(
    fleet: Fleet, machine: Machine, now: float, terms: Terms = NO_TERMS, on_expiry: OnExpiry = OnExpiry.RELEASE
) -> Machine:
    """Its project wants to go on with it: its lease begins anew, with these terms in place of its own where they say so.

    Returns the machine as it is then. One without any deadline is left as it is; one that gets its first deadline now ends
    as `on_expiry` says.
    """
    holding, at = machine.holding, fleet.lease_time(now)
    assert holding is not None, f"{machine.id}: no project has it, so nobody keeps it"
    old = holding.lease
    if old is None and not terms:
        return machine
    if old is not None:
        fleet.quiet(machine.id).note_activity(at)
    began = old or Lease(NO_TERMS, at, at, on_expiry=on_expiry)
    lease = replace(began, terms=began.terms.changed(terms), renewed_at=at, is_used=True, announced=None)
    after = replace(machine, holding=replace(holding, lease=lease if lease.terms else None))
    fleet.apply(machine, after, Cause.KEPT, now)
    return after


def set_terms(
    fleet: Fleet, machine: Machine, terms: Terms, now: float, on_expiry: OnExpiry = OnExpiry.RELEASE
) -> Machine:
    """Give the assignment these deadlines in place of its own where they say so. Returns the machine as it is then."""
    holding, at = machine.holding, fleet.lease_time(now)
    assert holding is not None, f"{machine.id}: no project has it, so it has no deadlines"
    old = holding.lease or Lease(NO_TERMS, at, at, on_expiry=on_expiry)
    lease = replace(old, terms=old.terms.changed(terms))
    after = replace(machine, holding=replace(holding, lease=lease if lease.terms else None))
    if after == machine:
        return machine
    fleet.apply(machine, after, Cause.KEPT, now)
    return after


def note_use(fleet: Fleet, machine_id: str, now: float) -> None:
    """Its project uses this machine, by something that the service itself sees."""
    machine = fleet.machines.get(machine_id)
    if machine is not None and machine.lease is not None:
        fleet.quiet(machine_id).note_activity(fleet.lease_time(now))
        _confirm(fleet, machine, now)
        fleet.set_timer(fleet.machines[machine_id])


def note_reading(fleet: Fleet, machine_id: str, generation: int, now: float, *, is_active: bool | None) -> None:
    """A reading of this assignment's machine that was taken at `now` shows whether it was used since the one before.

    None: it could not be read, so nothing is known of the time since.
    """
    machine = fleet.machines.get(machine_id)
    if machine is None or machine.lease is None or machine.generation != generation:
        return
    quiet = fleet.quiet(machine_id)
    quiet.note(fleet.lease_time(now), is_active=is_active)
    if quiet.active_at is not None and quiet.active_at > machine.lease.assigned_at:
        _confirm(fleet, machine, now)  # again, if it could not be stored
    fleet.set_timer(fleet.machines[machine_id])


def _confirm(fleet: Fleet, machine: Machine, now: float) -> None:
    """Note durably that an assignment was used, where that ends a deadline."""
    holding = machine.holding
    if holding is None or holding.lease is None or holding.lease.is_used or holding.lease.terms.confirm_within is None:
        return
    lease = replace(holding.lease, is_used=True)
    fleet.apply(machine, replace(machine, holding=replace(holding, lease=lease)), Cause.KEPT, now)


def expected_end(fleet: Fleet, machine: Machine) -> Ending | None:
    """When this assignment ends if nothing happens until then, in monotonic seconds. None if it does not."""
    if machine.lease is None:
        return None
    end = ending(machine.lease, fleet.quiet(machine.id), sleeps=machine.state is State.SLEEPING)
    if end is None:
        return None
    at = max(end.at, fleet.nothing_expires_before, fleet.watches[machine.id].spared_until)
    return replace(end, at=at - fleet.lease_offset)


def expire(fleet: Fleet, now: float) -> None:
    """End the assignments whose time has come, or put their machines to sleep."""
    at = fleet.lease_time(now)
    if at < fleet.nothing_expires_before:
        return
    for machine_id in fleet.timers.take_due(at):
        machine = fleet.machines[machine_id]
        lease = machine.lease
        assert lease is not None, f"{machine_id} has a timer, but no lease"
        end = certain_ending(lease, fleet.quiet(machine_id), sleeps=machine.state is State.SLEEPING)
        assert end is not None, f"{machine_id} has a timer, but no deadline"
        assert end.at <= at, f"{machine_id} expires too early"
        spared_until = fleet.watches[machine_id].spared_until
        if end.by in SILENT and at - fleet.quiet(machine_id).until > FRESH_S:
            fleet.quiet(machine_id).note(at, is_active=None)  # nobody has looked since, so it is read anew
            fleet.set_timer(machine)
            continue
        if machine.state not in {State.READY, State.SLEEPING}:
            continue  # its timer is set again when it comes back to life
        if fleet.is_doubted(machine):
            fleet.timers.set(machine_id, at + AILING_S)
        elif at < spared_until:
            fleet.timers.set(machine_id, spared_until)
        else:
            _end(fleet, machine, end, now)


def warn(fleet: Fleet, spec: Spec, now: float) -> None:
    """Announce the ends that come soon.

    Not in the minute in which nothing expires. What is due at its end goes unannounced: its client had time to keep it.
    """
    if fleet.warned_for is not spec:
        _follow_times_of_warnings(fleet, spec)
    at = fleet.lease_time(now)
    if at < fleet.nothing_expires_before:
        return
    for machine_id in fleet.warnings.take_due(at):
        machine = fleet.machines[machine_id]
        if fleet.is_doubted(machine):
            fleet.warnings.set(machine_id, at + AILING_S)
        elif machine.state in {State.READY, State.SLEEPING}:  # else its timer is set again when it comes back to life
            _announce(fleet, machine, now)


def _follow_times_of_warnings(fleet: Fleet, spec: Spec) -> None:
    fleet.warned_for = spec
    before_s = {name: spec.pool(name).warn_before_s for name in (*spec.pools, *spec.retired)}
    if before_s != fleet.warn_before_s:
        fleet.warn_before_s = before_s
        for machine_id in sorted(fleet.leased):
            fleet.set_timer(fleet.machines[machine_id])


def _announce(fleet: Fleet, machine: Machine, now: float) -> None:
    holding, at = machine.holding, fleet.lease_time(now)
    assert holding is not None, f"{machine.id} is warned, but no project has it"
    assert holding.lease is not None, f"{machine.id} is warned, but has no lease"
    quiet = fleet.quiet(machine.id)
    sleeps = machine.state is State.SLEEPING
    certain = certain_ending(holding.lease, quiet, sleeps=sleeps)
    end = unannounced_ending(holding.lease, quiet, certain, sleeps=sleeps)
    assert end is not None, f"{machine.id} is warned, but has no deadline"
    ends_at = max(end.at, fleet.watches[machine.id].spared_until, at)
    lease = replace(holding.lease, announced=Announcement(at, ends_at, end.by))
    fleet.apply(machine, replace(machine, holding=replace(holding, lease=lease)), Cause.EXPIRING, now, deadline=end.by)


def _end(fleet: Fleet, machine: Machine, end: Ending, now: float) -> None:
    """This deadline of its assignment has passed."""
    lease = machine.lease
    assert lease is not None, f"{machine.id} has no lease that could end"
    oldest = age_ending(lease)
    if oldest is not None and oldest.at <= fleet.lease_time(now):
        end = oldest  # it counts before all others, since they may only put it to sleep
    reason = expired(end.by, getattr(lease.terms, end.by))
    if lease.on_expiry is OnExpiry.SLEEP and end is not oldest:
        put_to_sleep(fleet, machine, reason, now, end.by)
        return
    after = replace(machine, state=State.STOPPING, holding=None, reason=reason, evidence="")
    fleet.apply(machine, after, Cause.EXPIRED, now, deadline=end.by)
    if lease.on_expiry is OnExpiry.DESTROY:
        fleet.hurry(machine.id)
