"""Instances without a record::

          owner      tombstone    what becomes of it
orphan    ours       yes          it is destroyed: its create landed after its removal
stray     ours       no           it is shown, never destroyed: the store was restored or lost, so it may hold files
foreign   another    -            it is shown on request, never touched
"""

from __future__ import annotations

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Instance, Snapshot

__all__ = ["foreign", "is_orphan", "orphans", "strays"]


def strays(fleet: Fleet, snapshot: Snapshot) -> list[Instance]:
    """Instances of our owner that are neither on record nor known to be removed."""
    ours = (i for i in snapshot.instances.values() if i.owner == fleet.owner and i.id not in fleet.machines)
    return [i for i in ours if not is_orphan(fleet, i)]


def foreign(fleet: Fleet, snapshot: Snapshot) -> list[Instance]:
    """Instances of another owner."""
    return [i for i in snapshot.instances.values() if i.owner != fleet.owner and i.id not in fleet.machines]


def orphans(fleet: Fleet, snapshot: Snapshot) -> list[Instance]:
    """Instances that were removed and are there all the same."""
    return [i for i in snapshot.instances.values() if i.id not in fleet.machines and is_orphan(fleet, i)]


def is_orphan(fleet: Fleet, instance: Instance) -> bool:
    """Whether its create landed after its removal. A create uses the id as the name, so a renamed instance is no orphan."""
    return instance.owner == fleet.owner and instance.id in fleet.tombstones and not instance.renamed
