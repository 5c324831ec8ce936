"""The database that a command works on. It must exist: a mistyped folder must not lead to a new, empty database."""

from __future__ import annotations

from pathlib import Path

from worker_orchestrator.errors import InvalidSetting, StoreRefused
from worker_orchestrator.settings.replicas import KUBERNETES
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.store.store import DATABASE

__all__ = ["existing_database", "refuse_cluster_store"]


def refuse_cluster_store(settings: Settings, instead: str) -> None:
    """Raises InvalidSetting where there is no database, since the cluster has the records. `instead`: what to do."""
    if settings.store == KUBERNETES:
        raise InvalidSetting(f"This command works on a database, and with store kubernetes there is none. {instead}")


def existing_database(settings: Settings, consequence: str) -> Path:
    """Its file. Raises StoreRefused if there is none, with the `consequence` in its message, such as ` to copy`."""
    file = settings.state_dir / DATABASE
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        folder = settings.state_dir.absolute()
        raise StoreRefused(
            f"There is no database in {folder}{consequence}. Name the right folder with --state-dir."
        ) from None
    except OSError as error:
        raise StoreRefused(f"The database {file} cannot be read: {error.strerror}.") from None
    return file
