"""The database that a command is about, which must be there: a folder that was mistyped is no reason to make one."""

from __future__ import annotations

from pathlib import Path

from worker_orchestrator.errors import StoreRefused
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.store.store import DATABASE

__all__ = ["database"]


def database(settings: Settings, without: str) -> Path:
    """Its file. Raises StoreRefused where there is none; `without` goes on with what that means, as ` to copy`."""
    file = settings.state_dir / DATABASE
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        where = settings.state_dir.absolute()
        raise StoreRefused(f"There is no database in {where}{without}; --state-dir says where to look.") from None
    except OSError as error:
        raise StoreRefused(f"The database {file} cannot be read: {error.strerror}.") from None
    return file
