"""The containers of an engine that the database does not know, and how `recover` lists them.

*Strays* carry our owner id: the database was restored or copied. *Foreign* ones belong to another orchestrator, or to a
database that was lost. The service itself never touches either. Machines *without a project* are on record under a project
of their own name: they were adopted without naming a project, or were free in a database that was accepted although it may
be old.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import click

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Instance
from worker_orchestrator.errors import MachineNotFound
from worker_orchestrator.settings.command_line import command_line
from worker_orchestrator.settings.settings import Settings

__all__ = ["UnknownInstances", "print_section", "print_unknown"]

_SHORTEST_NATIVE_ID: Final = 12


@dataclass(frozen=True, slots=True)
class UnknownInstances:
    """All instances of the engine by machine id, and those of them that the database does not know."""

    instances: Mapping[str, Instance]
    strays: Sequence[Instance]
    foreign: Sequence[Instance]

    def pick(self, name: str) -> Instance:
        """The unknown instance of this machine id or container id. Raises MachineNotFound."""
        for instance in [*self.strays, *self.foreign]:
            if self.id_of(name) == instance.id:
                return instance
        raise MachineNotFound(
            f"{name} is neither a stray nor a foreign machine. Run `recover` without options to list them."
        )

    def id_of(self, name: str) -> str:
        """The machine id, if `name` is the beginning of a container id; else the name itself."""
        ids = (each.id for each in [*self.strays, *self.foreign] if each.native_id.startswith(name))
        return next(ids, name) if len(name) >= _SHORTEST_NATIVE_ID else name


def print_unknown(settings: Settings, unknown: UnknownInstances, known: Fleet, doubt: str) -> None:
    """List them, with the commands that adopt or remove one. `doubt`: why the service refuses this database, if it does."""
    if doubt:
        click.echo(
            f"Careful: the service does not use this database yet: {doubt}. Run "
            f"`{command_line(settings, 'recover --accept')}` to use it. Machines that it takes for free then stay busy "
            "until you release or destroy them.\n",
        )
    without_project = [machine for machine in known.machines.values() if machine.project == machine.id]
    if not without_project and not unknown.strays and not unknown.foreign:
        click.echo("Nothing to recover: every worker container on this engine is on record here.")
        return
    print_section("Strays (ours, not on record)", map(_line, unknown.strays))
    print_section(
        "Foreign (another owner's: leave these alone unless their orchestrator is gone for good)",
        map(_line, unknown.foreign),
    )
    print_section(
        "Without a project (on record under their own name: adopt, release or destroy them)",
        (machine.id for machine in without_project),
    )
    if not doubt:  # before the database is accepted, nothing else can be done
        click.echo("" if unknown.strays or without_project else "\nOnly if their orchestrator is gone:")
        click.echo(f"Keep one:   {command_line(settings, 'recover --adopt ID=PROJECT')}")
        if unknown.strays or unknown.foreign:
            click.echo(f"Remove one: {command_line(settings, 'recover --purge ID')}")


def print_section(title: str, lines: Iterable[str]) -> None:
    """The title, and below it the lines in order; nothing if there are none."""
    ordered = sorted(lines)
    if ordered:
        click.echo("\n  ".join([f"{title}:", *ordered]))


def _line(instance: Instance) -> str:
    container = instance.native_id[:_SHORTEST_NATIVE_ID]
    return (
        f"{instance.id}  {instance.status:<8}  port {instance.port or '-':<5}  owner {instance.owner}  "
        f"container {container}"
    )
