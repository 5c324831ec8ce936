"""Carries out one transaction: its writes, one after the other. A crash in between leaves nothing that is ambiguous."""

from __future__ import annotations

from worker_orchestrator.store.cluster.calls import Outdated, Steps
from worker_orchestrator.store.cluster.ledger import GONE, Ledger
from worker_orchestrator.store.cluster.objects import lease_name
from worker_orchestrator.store.cluster.transactions import (
    EndLease,
    FreePod,
    GivePod,
    KeepLease,
    MakeLease,
    Transaction,
    Write,
)

__all__ = ["carry_out"]


def carry_out(ledger: Ledger, transaction: Transaction) -> Steps[str]:
    """Store this. Returns empty text; or why not, and then nothing of it stands.

    Raises Outdated if this leader cannot know what stands: then nobody may be told anything of it.
    """
    made: list[str] = []
    for number, write in enumerate(transaction.writes):
        why = yield from _carry_out(ledger, write)
        if why:
            if len(made) < number:
                raise Outdated(f"Some of it was written, and the rest could not be: {why}")
            for name in made:
                yield from ledger.remove_lease(name)
            if any(map(ledger.may_come_late, made)):
                raise Outdated(f"A Lease may come late of what could not be written: {why}")
            return why
        if isinstance(write, MakeLease):
            made.append(lease_name(ledger.owner, write.machine.project or ""))
    return ""


def _carry_out(ledger: Ledger, write: Write) -> Steps[str]:
    match write:
        case FreePod(machine):
            why = yield from ledger.say(machine)
            return "" if why == GONE else why  # what is gone is free
        case GivePod(machine):
            pod, lease = ledger.pods.get(machine.id), ledger.leases.get(lease_name(ledger.owner, machine.project or ""))
            if lease is None or not lease.is_of(pod):
                return GONE  # another one has its name by now
            return (yield from ledger.say(machine))
        case MakeLease(machine):
            if machine.id not in ledger.pods:
                return GONE
            return (yield from ledger.make_lease(machine))
        case KeepLease(machine):
            return (yield from ledger.keep_lease(machine))
        case EndLease(project):
            yield from ledger.remove_lease(lease_name(ledger.owner, project))
            return ""
