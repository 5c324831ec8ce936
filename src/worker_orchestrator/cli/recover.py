"""`orchestrator recover`: what this engine runs that this database does not know, and what is to become of it.

*Strays* carry our owner id: the database was restored or copied. *Foreign* ones belong to another orchestrator, or to a
database that was lost. Neither is ever touched by the service itself. Machines *of nobody* are on record under a project of
their own name: adopted without another one, or free in a database that was accepted though it may be old.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import click
from msgspec.structs import replace

from worker_orchestrator.cli.database import database
from worker_orchestrator.cli.serve import run_loop
from worker_orchestrator.clock import Clock
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import Cause, Instance, Machine, Snapshot, State
from worker_orchestrator.core.project import project_id
from worker_orchestrator.core.reconcile import foreign, strays
from worker_orchestrator.engines.removal import remove
from worker_orchestrator.errors import EngineRejected, InvalidInput, MachineNotFound, StoreLocked
from worker_orchestrator.service import opening
from worker_orchestrator.service.origin import keep_busy
from worker_orchestrator.settings.command_line import command_line
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.store.lock import Lock
from worker_orchestrator.telemetry import logs

__all__ = ["run"]

SHORTEST_NATIVE_ID: Final = 12


@dataclass(frozen=True, slots=True)
class Found:
    """What the engine runs, by machine id, and what of it this database does not know."""

    instances: Mapping[str, Instance]
    strays: Sequence[Instance]
    foreign: Sequence[Instance]

    def pick(self, name: str) -> Instance:
        for instance in [*self.strays, *self.foreign]:
            if self.id_of(name) == instance.id:
                return instance
        raise MachineNotFound(f"{name} is neither a stray nor a foreign machine; `recover` without a wish lists them.")

    def id_of(self, name: str) -> str:
        """The machine id, where `name` is the beginning of a container id; else the name itself."""
        native = (i.id for i in [*self.strays, *self.foreign] if i.native_id.startswith(name))
        return next(native, name) if len(name) >= SHORTEST_NATIVE_ID else name


def run(settings: Settings, *, adopt: tuple[str, ...], purge: tuple[str, ...], accept: bool, yes: bool) -> None:
    """Raises OrchestratorError."""
    logs.configure(settings.log_format)
    for wish in adopt:
        _check_project(wish)
    try:
        run_loop(_recover(settings, adopt=adopt, purge=purge, accept=accept, yes=yes))
    except StoreLocked:
        raise _locked(settings) from None


def _check_project(wish: str) -> None:
    """Raises InvalidProject."""
    _, _, project = wish.partition("=")
    if project:
        project_id(project)


def _locked(settings: Settings) -> StoreLocked:
    pid = Lock.holder(settings.state_dir)
    return StoreLocked(
        f"The service{f' (pid {pid})' if pid else ''} that uses the state directory {settings.state_dir} runs, and what it "
        "goes by cannot be changed meanwhile: stop it first; its workers keep running. Without --adopt, --purge and "
        "--accept `recover` only lists, also beside it."
    )


async def _recover(
    settings: Settings, *, adopt: tuple[str, ...], purge: tuple[str, ...], accept: bool, yes: bool
) -> None:
    look_only = not (adopt or purge or accept)
    if accept:
        database(settings, " to accept")
    async with opening.open_fleet(settings, accept=accept, look_only=look_only) as opened:
        listing = await opened.engine.list()
        snapshot = Snapshot(listing.as_of, listing.instances)
        if accept:
            _accept(opened, snapshot.instances)
        known = opening.load_fleet(opened.store)  # read after the listing: what was listed was recorded before
        found = Found(snapshot.instances, strays(known, snapshot), foreign(known, snapshot))
        if not adopt and not purge:
            _show(settings, found, known, "" if accept else opened.doubt)
            return
        wishes = {found.id_of(name): project for name, _, project in (wish.partition("=") for wish in adopt)}
        doomed = _doomed(found, purge, wishes.keys())
        if not yes:
            _ask_about(found.foreign, wishes.keys(), "two projects will share this machine")
            _ask_about(found.foreign, {i.id for i in doomed}, "a project may lose its files")
        for name, project in wishes.items():
            _adopt(opened, found, name, project)
        if doomed and (yes or _agreed(doomed)):
            for instance in doomed:
                await _purge(opened, instance, settings.stop_timeout)
                click.echo(f"removed {instance.id}")


async def _purge(opened: opening.Opened, instance: Instance, stop_timeout_s: float) -> None:
    """Remove what the operator named, though it may be another owner's: an engine removes nothing of others by itself."""
    owners = getattr(opened.engine, "owners", None)
    if owners is not None:
        owners.add(instance.owner)
    if stop_timeout_s:  # nobody knows whether a project has it
        with contextlib.suppress(EngineRejected):
            await opened.engine.stop(instance.id, stop_timeout_s)
    await remove(opened.engine, instance.id)


def _ask_about(foreign: Iterable[Instance], ids: Collection[str], risk: str) -> None:
    """An orchestrator that is not known here may be alive. Raises Abort unless the operator says that it is gone."""
    for instance in foreign:
        if instance.id in ids:
            click.confirm(
                f"{instance.id} belongs to another orchestrator (owner {instance.owner[:8]}…). If that one still runs, "
                f"{risk}. Is it gone for good?",
                abort=True,
                err=True,
            )


# accept


def _accept(opened: opening.Opened, instances: Mapping[str, Instance]) -> None:
    """Use this database from now on. What it takes for free stays busy, and what it lacks stays as it is."""
    fleet = opened.fleet
    skipped = opened.skip_numbers() if opened.is_older else {}
    if opened.doubt:
        keep_busy(fleet, instances, asyncio.get_running_loop().time())
    opened.move_in({**skipped, "generation": fleet.generation})
    click.echo("Accepted: this database is used here from now on.\n")
    if not opened.doubt:
        return
    machines = [m for m in fleet.machines.values() if not m.gone and m.project != m.id]
    missing = [machine for machine in machines if machine.id not in instances]
    held = [machine for machine in machines if machine.project is not None and machine.id in instances]
    _tell("On record and missing (their files are gone; the service will say the same)", map(_holder, missing))
    _tell(
        "Held as this database knows it (one that changed hands since shows its project what another one left; release it "
        "or destroy it if in doubt)",
        map(_holder, held),
    )


def _holder(machine: Machine) -> str:
    return f"{machine.id}  " + ("free" if machine.project is None else f"assigned to {machine.project}")


# adopt


def _adopt(opened: opening.Opened, found: Found, name: str, project: str) -> None:
    """Record it as assigned: whose files these are, only the operator can say."""
    fleet, known = opened.fleet, opened.fleet.machines.get(name)
    if known is not None and known.project == known.id and project:
        _refuse_a_second(fleet, known.id, project)
        _give_its_name_up(fleet, known, project)
        adopted = known.id
    elif known is not None and known.project == known.id:
        raise InvalidInput(
            f"{known.id} is on record under its own name already: `--adopt {known.id}=PROJECT` gives it to a project."
        )
    else:
        instance = found.pick(name)
        _refuse_a_second(fleet, instance.id, project or instance.id)
        _record(fleet, found, instance, project or instance.id)
        adopted = instance.id
    facts = {"generation": fleet.generation, opening.ADOPTED_OWNERS: _owners(opened, found.instances.get(adopted))}
    opened.store.commit(fleet.take_pending(), facts, Clock().wall_ms())
    click.echo(f"adopted {adopted} for {project or adopted} (release or destroy it when it is not needed)")


def _owners(opened: opening.Opened, adopted: Instance | None) -> str:
    """Whose machines were taken over so far, with that of this one."""
    owners = opened.store.meta().get(opening.ADOPTED_OWNERS, "").split()
    is_new = adopted is not None and adopted.owner not in {opened.fleet.owner, *owners}
    return " ".join([*owners, adopted.owner] if adopted is not None and is_new else owners)


def _refuse_a_second(fleet: Fleet, machine_id: str, project: str) -> None:
    holder = fleet.of_project(project_id(project))
    if holder is not None:
        raise InvalidInput(
            f"The project {project} has the machine {holder.id}. Release or destroy that one first, or adopt {machine_id} "
            "for another project.",
        )


def _give_its_name_up(fleet: Fleet, machine: Machine, project: str) -> None:
    now = asyncio.get_running_loop().time()
    free = replace(machine, project=None, reason="adopted for another project", metadata="")
    fleet.generation += 1
    fleet.apply(machine, free, Cause.RELEASED, now)
    adopted = replace(free, project=project, generation=fleet.generation, reason="adopted")
    fleet.apply(free, adopted, Cause.ADOPTED, now)


def _record(fleet: Fleet, found: Found, instance: Instance, project: str) -> None:
    if instance.port is None:
        name = instance.renamed or instance.id
        raise InvalidInput(
            f"{instance.id} publishes no port: {instance.trouble or f'start its container first (`docker start {name}`)'}."
        )
    _clear_port(fleet, found, instance, instance.port)
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


def _clear_port(fleet: Fleet, found: Found, instance: Instance, port: int) -> None:
    """An old database may know this port as that of a machine whose container is gone."""
    now, holder_id = asyncio.get_running_loop().time(), fleet.ports.get(("", port))
    if holder_id is None:
        return
    if holder_id in found.instances:
        raise InvalidInput(f"The port {port} of {instance.id} is on record for {holder_id}: remove that one first.")
    holder = fleet.machines[holder_id]
    if holder.state is State.STOPPING:
        fleet.apply(holder, None, Cause.FORGOTTEN, now)
    else:
        gone = replace(holder, state=State.FAILED, gone=True, reason="its container vanished")
        fleet.apply(holder, gone, Cause.FAILED, now)


# purge


def _doomed(found: Found, purge: Iterable[str], adopted: Collection[str]) -> list[Instance]:
    """What is to be removed. `strays` leaves out what is adopted at once. Raises InvalidInput, MachineNotFound."""
    doomed: dict[str, Instance] = {}
    for name in purge:
        if name == "strays":
            doomed |= {stray.id: stray for stray in found.strays if stray.id not in adopted}
            if not found.strays:
                click.echo("There are no strays.")
        elif (machine := found.id_of(name)) in adopted:
            raise InvalidInput(f"{machine} cannot be both adopted and purged: choose one.")
        else:
            doomed[machine] = found.pick(machine)
    return list(doomed.values())


def _agreed(doomed: Collection[Instance]) -> bool:
    for instance in doomed:
        click.echo(f"  {instance.id}  {instance.status}  owner {instance.owner}", err=True)
    containers = "1 container" if len(doomed) == 1 else f"{len(doomed)} containers"
    return click.confirm(f"Remove {containers} with all files?", default=False, err=True)


# show


def _show(settings: Settings, found: Found, known: Fleet, doubt: str) -> None:
    if doubt:
        click.echo(
            f"Careful, the service does not use this database as it is: {doubt}. After "
            f"`{command_line(settings, 'recover --accept')}` it does, and what it takes for free stays busy until you say "
            "otherwise.\n",
        )
    of_nobody = [machine for machine in known.machines.values() if machine.project == machine.id]
    if not of_nobody and not found.strays and not found.foreign:
        click.echo("Nothing to recover: every worker container on this engine is on record here.")
        return
    _tell("Strays (ours, not on record)", map(_line, found.strays))
    _tell(
        "Foreign (another owner's: leave these alone unless their orchestrator is gone for good)",
        map(_line, found.foreign),
    )
    _tell("Of nobody (on record under their own name: adopt, release or destroy them)", (m.id for m in of_nobody))
    if not doubt:  # before it is accepted, nothing else can be done
        click.echo("" if found.strays or of_nobody else "\nOnly if it is gone:")
        click.echo(f"Keep one:   {command_line(settings, 'recover --adopt ID=PROJECT')}")
        if found.strays or found.foreign:
            click.echo(f"Remove one: {command_line(settings, 'recover --purge ID')}")


def _tell(title: str, lines: Iterable[str]) -> None:
    shown = sorted(lines)
    if shown:
        click.echo("\n  ".join([f"{title}:", *shown]))


def _line(i: Instance) -> str:
    return (
        f"{i.id}  {i.status:<8}  port {i.port or '-':<5}  owner {i.owner}  container {i.native_id[:SHORTEST_NATIVE_ID]}"
    )
