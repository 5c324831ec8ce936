"""Which machines a listing is about to fail or to restart, so that the last lines of their workers can be read before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.core.machine import State
from worker_orchestrator.core.outcomes import start_deadline
from worker_orchestrator.core.spec import Spec
from worker_orchestrator.core.watch import Watch

__all__ = ["about_to_fail", "ended_again"]

_SERVE_OR_MAY: Final = frozenset({State.STARTING, State.READY, State.PARKED})


def about_to_fail(fleet: Fleet, instances: Mapping[str, Instance], spec: Spec, now: float) -> Iterator[str]:
    """Ids of machines that this listing will fail or restart and whose container exists: their last lines can be read."""
    for machine in fleet.machines.values():
        instance = instances.get(machine.id)
        if instance is None or machine.is_dirty or machine.state not in _SERVE_OR_MAY:
            continue
        exited = instance.status is Status.EXITED
        if machine.holding is not None:
            if exited and (machine.state is State.READY or ended_again(fleet.watches[machine.id], spec)):
                yield machine.id
        elif exited or (machine.state is State.STARTING and now > start_deadline(fleet, spec, machine)):
            yield machine.id


def ended_again(watch: Watch, spec: Spec) -> bool:
    """Whether a project's starting machine that is dead was started, and is not merely waiting for that."""
    if not spec.restarts_in_place:
        return True
    return watch.restart_acknowledged and not watch.restart_requests
