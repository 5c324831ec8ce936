"""`orchestrator recover`: lists the containers of this engine that the database does not know, and adopts or removes them.

`unknown_instances` says which kinds of them there are.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Mapping

import click

from worker_orchestrator.cli.adoption import adopt_machine
from worker_orchestrator.cli.asking import ask
from worker_orchestrator.cli.event_loop import run_on_event_loop
from worker_orchestrator.cli.existing_database import existing_database, refuse_cluster_store
from worker_orchestrator.cli.unknown_instances import UnknownInstances, print_section, print_unknown
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Instance, Snapshot
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.core.project import project_id
from worker_orchestrator.core.unrecorded import foreign, strays
from worker_orchestrator.engines.base import Listing
from worker_orchestrator.engines.removal import remove
from worker_orchestrator.errors import EngineRejected, InvalidInput, StoreLocked
from worker_orchestrator.service import opening
from worker_orchestrator.service.origin import keep_busy
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.store.lock import Lock
from worker_orchestrator.telemetry import logs

__all__ = ["run"]


def run(settings: Settings, *, adopt: tuple[str, ...], purge: tuple[str, ...], accept: bool, yes: bool) -> None:
    """`adopt`: ID or ID=PROJECT; `purge`: ids, or `strays` for all of them. Without both and `accept`, only list.

    Raises OrchestratorError.
    """
    logs.configure(settings.log_format)
    refuse_cluster_store(
        settings, "Each new leader reads what there is, and removes what nobody has on record by itself."
    )
    for id_and_project in adopt:
        _check_project(id_and_project)
    try:
        run_on_event_loop(_recover(settings, adopt=adopt, purge=purge, accept=accept, yes=yes))
    except StoreLocked:
        if adopt or accept:
            raise _service_runs(settings) from None
        run_on_event_loop(_purge_beside(settings, purge, yes=yes))


def _check_project(id_and_project: str) -> None:
    """Raises InvalidProject."""
    _, _, project = id_and_project.partition("=")
    if project:
        project_id(project)


def _service_runs(settings: Settings) -> StoreLocked:
    pid = Lock.holder(settings.state_dir)
    return StoreLocked(
        f"The service{f' (pid {pid})' if pid else ''} that uses the state directory {settings.state_dir} is running, so the "
        "database cannot be changed. Stop the service first; its workers keep running. Without --adopt and --accept "
        "`recover` changes no database, and works while the service runs too."
    )


async def _recover(
    settings: Settings, *, adopt: tuple[str, ...], purge: tuple[str, ...], accept: bool, yes: bool
) -> None:
    look_only = not (adopt or purge or accept)
    if accept:
        existing_database(settings, " to accept")
    async with opening.open_fleet(settings, accept=accept, look_only=look_only) as opened:
        listing = await opened.engine.list()
        if accept:
            _accept(opened, listing.instances)
        known, unknown = _compare(opened, listing)
        if not adopt and not purge:
            print_unknown(settings, unknown, known, "" if accept else opened.doubt)
            return
        adopted = {unknown.id_of(name): project for name, _, project in (each.partition("=") for each in adopt)}
        purged = _to_purge(unknown, purge, adopted.keys())
        if not yes:
            _confirm_foreign(unknown.foreign, adopted.keys(), "two projects will share this machine")
            _confirm_foreign(unknown.foreign, {instance.id for instance in purged}, "a project may lose its files")
        for name, project in adopted.items():
            adopt_machine(opened, unknown, name, project)
        if purged and (yes or _is_confirmed(purged)):
            await _purge_all(opened, purged, settings.stop_timeout)


async def _purge_beside(settings: Settings, purge: tuple[str, ...], *, yes: bool) -> None:
    """Remove containers beside the running service, which touches none that it has no record of. No record changes."""
    async with opening.open_fleet(settings, look_only=True) as opened:
        if opened.doubt:  # it is another database than the running service has open
            raise _service_runs(settings)
        _, unknown = _compare(opened, await opened.engine.list())
        purged = _to_purge(unknown, purge, ())
        if not yes:
            _confirm_foreign(unknown.foreign, {instance.id for instance in purged}, "a project may lose its files")
        if purged and (yes or _is_confirmed(purged)):
            await _purge_all(opened, await _still_unknown(opened, purged), settings.stop_timeout)


async def _still_unknown(opened: opening.Opened, purged: Iterable[Instance]) -> list[Instance]:
    """Those that are not on record now. While the operator was asked, another command may have adopted one."""
    known, _ = _compare(opened, await opened.engine.list())
    for instance in purged:
        if instance.id in known.machines:
            click.echo(f"{instance.id} is on record by now, so it was not removed.", err=True)
    return [instance for instance in purged if instance.id not in known.machines]


def _compare(opened: opening.Opened, listing: Listing) -> tuple[Fleet, UnknownInstances]:
    """What is on record, read after the listing, since all that it contains was recorded before; and what is not."""
    snapshot, known = Snapshot(listing.as_of, listing.instances), opening.load_fleet(opened.store)
    return known, UnknownInstances(snapshot.instances, strays(known, snapshot), foreign(known, snapshot))


def _confirm_foreign(foreign: Iterable[Instance], ids: Collection[str], risk: str) -> None:
    """Ask about each foreign one, since its orchestrator may still run. Raises Abort unless the operator says it is gone."""
    for instance in foreign:
        if instance.id in ids:
            question = (
                f"{instance.id} belongs to another orchestrator (owner {instance.owner[:8]}…). If that one still runs, "
                f"{risk}. Is it gone for good?"
            )
            if not ask(question, "Nothing was changed."):
                raise click.Abort


# --accept


def _accept(opened: opening.Opened, instances: Mapping[str, Instance]) -> None:
    """Use this database from now on. Machines that it has as free stay busy, and unknown ones stay as they are."""
    fleet = opened.fleet
    skipped_numbers = opened.skip_numbers() if opened.is_older else {}
    if opened.doubt:
        keep_busy(fleet, instances, asyncio.get_running_loop().time())
    opened.move_in({**skipped_numbers, "generation": fleet.generation})
    click.echo("Accepted: this database is used here from now on.\n")
    if not opened.doubt:
        return
    machines = [machine for machine in fleet.machines.values() if not machine.gone and machine.project != machine.id]
    missing = [machine for machine in machines if machine.id not in instances]
    assigned = [machine for machine in machines if machine.project is not None and machine.id in instances]
    print_section(
        "On record and missing (their files are gone; the service will say the same)", map(_machine_line, missing)
    )
    print_section(
        "Assigned according to this database (if a machine was given to another project since then, its project sees the "
        "files of that one; release or destroy it if in doubt)",
        map(_machine_line, assigned),
    )


def _machine_line(machine: Machine) -> str:
    return f"{machine.id}  " + ("free" if machine.project is None else f"assigned to {machine.project}")


# --purge


def _to_purge(unknown: UnknownInstances, purge: Iterable[str], adopted: Collection[str]) -> list[Instance]:
    """The instances to remove. `strays` is all strays but those that are adopted. Raises InvalidInput, MachineNotFound."""
    purged: dict[str, Instance] = {}
    for name in purge:
        if name == "strays":
            purged |= {stray.id: stray for stray in unknown.strays if stray.id not in adopted}
            if not unknown.strays:
                click.echo("There are no strays.")
        elif (machine_id := unknown.id_of(name)) in adopted:
            raise InvalidInput(f"{machine_id} cannot be both adopted and purged. Choose one.")
        else:
            purged[machine_id] = unknown.pick(machine_id)
    return list(purged.values())


def _is_confirmed(purged: Collection[Instance]) -> bool:
    for instance in purged:
        click.echo(f"  {instance.id}  {instance.status}  owner {instance.owner}", err=True)
    containers = "1 container" if len(purged) == 1 else f"{len(purged)} containers"
    return ask(f"Remove {containers} with all files?", "No container was removed.")


async def _purge_all(opened: opening.Opened, purged: Iterable[Instance], stop_timeout_s: float) -> None:
    for instance in purged:
        await _purge(opened, instance, stop_timeout_s)
        click.echo(f"removed {instance.id}")


async def _purge(opened: opening.Opened, instance: Instance, stop_timeout_s: float) -> None:
    """Remove what the operator named, also if it is another owner's: by itself an engine never removes those."""
    owners = getattr(opened.engine, "owners", None)
    if owners is not None:
        owners.add(instance.owner)
    if stop_timeout_s:  # it may belong to a project, so it is stopped first
        with contextlib.suppress(EngineRejected):
            await opened.engine.stop(instance.id, stop_timeout_s)
    await remove(opened.engine, instance.id)
