"""`orchestrator recover`: what this engine runs that this database does not know, and what is to become of it.

*Strays* carry our owner id: the database was lost, restored or copied. *Foreign* ones belong to another orchestrator, or
to a database that was lost. Neither is ever touched by the service itself.
"""

from __future__ import annotations

import asyncio

import click

from worker_orchestrator import logs, service
from worker_orchestrator.cli.serve import run_loop
from worker_orchestrator.clock import Clock
from worker_orchestrator.errors import InvalidInput, MachineNotFound
from worker_orchestrator.machine import Cause, Instance, Machine, Snapshot, State
from worker_orchestrator.project import project_id
from worker_orchestrator.reconcile import foreign, strays
from worker_orchestrator.settings import Settings

__all__ = ["run"]


def run(settings: Settings, *, adopt: tuple[str, ...], purge: tuple[str, ...], accept: bool, yes: bool) -> None:
    """Raises OrchestratorError."""
    logs.configure(settings.log_format)
    run_loop(_recover(settings, adopt=adopt, purge=purge, accept=accept, yes=yes))


async def _recover(
    settings: Settings, *, adopt: tuple[str, ...], purge: tuple[str, ...], accept: bool, yes: bool
) -> None:
    look_only = not (adopt or purge or accept)
    async with service.open_fleet(settings, accept=accept, look_only=look_only) as opened:
        snapshot = Snapshot(asyncio.get_running_loop().time(), await opened.engine.list())
        known = service.load_fleet(opened.store)  # read after the listing: what was listed was recorded before
        ours, others = strays(known, snapshot), foreign(known, snapshot)
        unknown = {instance.id: instance for instance in [*ours, *others]}
        for wish in adopt:
            name, _, project = wish.partition("=")
            _adopt(opened, _pick(unknown, name), project or name)
        doomed = [i for name in purge for i in (ours if name == "strays" else [_pick(unknown, name)])]
        if doomed and (yes or _agreed(doomed)):
            for instance in doomed:
                await opened.engine.destroy(instance.id)
                click.echo(f"removed {instance.id}")
        if not adopt and not purge:
            _show(ours, others)


def _pick(unknown: dict[str, Instance], name: str) -> Instance:
    for instance in unknown.values():
        if instance.id == name or (len(name) >= 12 and instance.native_id.startswith(name)):
            return instance
    raise MachineNotFound(f"{name} is neither a stray nor a foreign machine; `orchestrator recover` lists them.")


def _adopt(opened: service.Opened, instance: Instance, project: str) -> None:
    """Record it as assigned: whose files these are, only the operator can say."""
    holder = opened.fleet.of_project(project_id(project))
    if holder is not None:
        raise InvalidInput(f"The project {project} has the machine {holder.id}; adopt {instance.id} for another one.")
    if instance.port is None:
        raise InvalidInput(
            f"{instance.id} publishes no port: start its container first (`docker start {instance.id}`)."
        )
    fleet = opened.fleet
    fleet.generation += 1
    machine = Machine(
        instance.id,
        instance.pool,
        instance.template,
        State.READY,
        instance.port,
        project,
        fleet.generation,
        reason="adopted",
    )
    fleet.apply(None, machine, Cause.ADOPTED, asyncio.get_running_loop().time())
    opened.store.commit(fleet.take_pending(), {"generation": fleet.generation}, Clock().wall_ms())
    click.echo(f"adopted {instance.id} for {project} (release or destroy it when it is not needed)")


def _agreed(doomed: list[Instance]) -> bool:
    for instance in doomed:
        click.echo(f"  {instance.id}  {instance.status}  owner {instance.owner}", err=True)
    return click.confirm(f"Remove {len(doomed)} containers with all their files?", default=False, err=True)


def _show(ours: list[Instance], others: list[Instance]) -> None:
    if not ours and not others:
        click.echo("Nothing to recover: every worker container on this engine is on record here.")
        return
    for title, found in (("Strays (ours, not on record)", ours), ("Foreign (another owner's)", others)):
        if found:
            click.echo(f"{title}:")
        for i in sorted(found, key=lambda i: i.id):
            click.echo(
                f"  {i.id}  {i.status:<8}  port {i.port or '-':<5}  owner {i.owner}  container {i.native_id[:12]}"
            )
    click.echo("\nKeep one:   orchestrator recover --adopt ID=PROJECT\nRemove one: orchestrator recover --purge ID")
