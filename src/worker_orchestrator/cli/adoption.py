"""How `recover --adopt` records a machine that the database does not know as assigned to a project."""

from __future__ import annotations

import asyncio

import click
from msgspec.structs import replace

from worker_orchestrator.cli.unknown_instances import UnknownInstances
from worker_orchestrator.clock import Clock
from worker_orchestrator.core import reasons
from worker_orchestrator.core.configuration import UNKNOWN
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Instance
from worker_orchestrator.core.machine import Cause, Holding, Machine, State
from worker_orchestrator.core.project import project_id
from worker_orchestrator.errors import InvalidInput
from worker_orchestrator.service import opening

__all__ = ["adopt_machine"]


def adopt_machine(opened: opening.Opened, unknown: UnknownInstances, name: str, project: str) -> None:
    """Record the machine as assigned: only the operator can say to which project its files belong.

    `project`: if empty, a project of the machine's own name. Raises InvalidInput, MachineNotFound.
    """
    fleet, known = opened.fleet, opened.fleet.machines.get(name)
    if known is not None and known.project == known.id and project:
        _refuse_second_machine(fleet, known.id, project)
        _change_project(fleet, known, project)
        adopted_id = known.id
    elif known is not None and known.project == known.id:
        raise InvalidInput(
            f"{known.id} is on record under its own name already. Give it to a project with `--adopt {known.id}=PROJECT`."
        )
    else:
        instance = unknown.pick(name)
        _refuse_second_machine(fleet, instance.id, project or instance.id)
        _record(fleet, unknown, instance, project or instance.id)
        adopted_id = instance.id
    facts = {
        "generation": fleet.generation,
        opening.ADOPTED_OWNERS: _adopted_owners(opened, unknown.instances.get(adopted_id)),
    }
    opened.store.commit(fleet.take_pending(), facts, Clock().wall_ms())
    click.echo(f"adopted {adopted_id} for {project or adopted_id} (release or destroy it when it is not needed)")


def _adopted_owners(opened: opening.Opened, adopted: Instance | None) -> str:
    """The owners whose machines were adopted so far, and the owner of this one."""
    owners = opened.store.meta().get(opening.ADOPTED_OWNERS, "").split()
    is_new = adopted is not None and adopted.owner not in {opened.fleet.owner, *owners}
    return " ".join([*owners, adopted.owner] if adopted is not None and is_new else owners)


def _refuse_second_machine(fleet: Fleet, machine_id: str, project: str) -> None:
    holder = fleet.of_project(project_id(project))
    if holder is not None:
        raise InvalidInput(
            f"The project {project} has the machine {holder.id}. Release or destroy that one first, or adopt {machine_id} "
            "for another project.",
        )


def _change_project(fleet: Fleet, machine: Machine, project: str) -> None:
    now = asyncio.get_running_loop().time()
    is_free_only_then = machine.state is State.SLEEPING or machine.configuration is not None  # what is idle is clean
    state = State.STARTING if is_free_only_then else machine.state
    free = replace(machine, state=state, holding=None, reason=reasons.MOVED_TO_OTHER_PROJECT)
    fleet.generation += 1
    fleet.apply(machine, free, Cause.RELEASED, now)
    adopted = replace(free, holding=Holding(project), generation=fleet.generation, reason=reasons.ADOPTED)
    fleet.apply(free, adopted, Cause.ADOPTED, now)


def _record(fleet: Fleet, unknown: UnknownInstances, instance: Instance, project: str) -> None:
    if instance.port is None:
        name = instance.renamed or instance.id
        raise InvalidInput(
            f"{instance.id} publishes no port. {instance.trouble or f'Start its container first: `docker start {name}`.'}"
        )
    for port in dict.fromkeys([instance.port, *(port for _, port in instance.ports)]):
        _clear_port(fleet, unknown, instance, port)
    fleet.generation += 1
    machine = Machine(
        instance.id,
        instance.pool,
        instance.template,
        State.READY,
        instance.port,
        Holding(project),
        fleet.generation,
        reason=reasons.ADOPTED,
        ports=instance.ports,
        configuration=UNKNOWN if instance.is_configurable else None,
    )
    fleet.apply(None, machine, Cause.ADOPTED, asyncio.get_running_loop().time())


def _clear_port(fleet: Fleet, unknown: UnknownInstances, instance: Instance, port: int) -> None:
    """Free the port if an old database has it on record for a machine whose container is gone."""
    now, holder_id = asyncio.get_running_loop().time(), fleet.ports.get(("", port))
    if holder_id is None:
        return
    if holder_id in unknown.instances:
        raise InvalidInput(f"The port {port} of {instance.id} is on record for {holder_id}. Remove that one first.")
    holder = fleet.machines[holder_id]
    if holder.state is State.STOPPING:
        fleet.apply(holder, None, Cause.FORGOTTEN, now)
    else:
        gone = replace(holder, state=State.FAILED, gone=True, reason=reasons.GONE)
        fleet.apply(holder, gone, Cause.FAILED, now)
