"""`orchestrator backup FILE`: a consistent copy of the database, also while the service runs."""

from __future__ import annotations

import os
from pathlib import Path

import click

from worker_orchestrator.cli.existing_database import existing_database, refuse_cluster_store
from worker_orchestrator.errors import InvalidInput, StoreError
from worker_orchestrator.settings.command_line import command_line
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.store.store import Store

__all__ = ["run"]


def run(settings: Settings, file: Path) -> None:
    """Write the copy, and say how to restore it. Raises OrchestratorError."""
    refuse_cluster_store(settings, "Back up the cluster's etcd instead.")
    source = existing_database(settings, " to copy")
    with Store(source, look_only=True) as store:
        _copy(store, file)
    with Store(file, look_only=True) as copy:
        machines = copy.machines()
    assigned = sum(machine.project is not None for machine in machines)
    click.echo(f"Wrote {file}: {len(machines)} machine{'' if len(machines) == 1 else 's'}, {assigned} assigned.")
    click.echo(
        f"To restore it: stop the service, remove {source.name}-wal and {source.name}-shm from {settings.state_dir}, copy "
        f"the file to {source}, and run `{command_line(settings, 'recover --accept')}`, which lists what it keeps and "
        "what is missing.",
    )


def _copy(store: Store, file: Path) -> None:
    """Create the file first, then write: an existing file is never replaced."""
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        raise InvalidInput(f"{file} exists already. Choose another name.") from None
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error.strerror}. Choose another place.") from None
    try:
        store.copy_to(file)
    except BaseException as error:
        file.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise StoreError(f"{file} cannot be written: {error.strerror}. Choose another place.") from None
        raise
