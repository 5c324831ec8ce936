"""Instances that bear a label of ours or of another owner, and of which there is no record."""

from __future__ import annotations

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Instance, Snapshot

__all__ = ["foreign", "is_orphan", "orphans", "strays"]


def strays(fleet: Fleet, snapshot: Snapshot) -> list[Instance]:
    """Instances of our owner that we have no memory of (a restored or lost store). They are shown, never destroyed."""
    ours = (i for i in snapshot.instances.values() if i.owner == fleet.owner and i.id not in fleet.machines)
    return [i for i in ours if not is_orphan(fleet, i)]


def foreign(fleet: Fleet, snapshot: Snapshot) -> list[Instance]:
    """Instances of another owner. They are shown on request, never touched."""
    return [i for i in snapshot.instances.values() if i.owner != fleet.owner and i.id not in fleet.machines]


def orphans(fleet: Fleet, snapshot: Snapshot) -> list[Instance]:
    """Instances that we once removed and that run all the same: a create that landed late."""
    return [i for i in snapshot.instances.values() if i.id not in fleet.machines and is_orphan(fleet, i)]


def is_orphan(fleet: Fleet, instance: Instance) -> bool:
    """A create that lands late gives its own name: what bears another one was somebody's doing, and is not ours to judge."""
    return instance.owner == fleet.owner and instance.id in fleet.tombstones and not instance.renamed
