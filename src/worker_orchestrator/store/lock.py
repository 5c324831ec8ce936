"""Only one process at a time uses a state directory. Its lock ends with the process; a file beside it holds the pid."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Final

from filelock import FileLock, Timeout

from worker_orchestrator.errors import StoreLocked, StoreRefused

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Lock"]

_LOCK: Final = "orchestrator.lock"
_PID_FILE: Final = "orchestrator.pid"


class Lock:
    """The right to use a state directory, until `release` or the end of the process."""

    def __init__(self, state_dir: Path) -> None:
        """Raises StoreLocked, which names the holder, and StoreRefused for a folder that cannot be used."""
        self._pid_file = state_dir / _PID_FILE
        self._lock = FileLock(state_dir / _LOCK)
        try:
            os.umask(0o077)  # which project has which machine is private, also in a folder that others can read
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            for file in state_dir.glob("orchestrator.*"):
                file.chmod(0o600)
            self._lock.acquire(timeout=0)
            self._pid_file.write_text(json.dumps({"pid": os.getpid()}), encoding="utf-8")
        except Timeout:
            pid = _recorded_pid(state_dir)
            raise StoreLocked(
                f"Another orchestrator{f' (pid {pid})' if pid else ''} uses the state directory {state_dir}. "
                "Stop it, or choose another folder for this one with --state-dir.",
            ) from None
        except (OSError, NotImplementedError) as error:
            self._lock.release()
            raise _unusable(state_dir, error) from None

    @staticmethod
    def holder(state_dir: Path) -> int | None:
        """The pid of the process that holds this directory's lock; None if none does, or its pid is not known.

        Raises StoreRefused for a folder that cannot be used.
        """
        probe = FileLock(state_dir / _LOCK)
        try:
            if not (state_dir / _LOCK).exists():
                return None
            probe.acquire(timeout=0)
        except Timeout:
            return _recorded_pid(state_dir)
        except (OSError, NotImplementedError) as error:
            raise _unusable(state_dir, error) from None
        probe.release()
        return None

    def release(self) -> None:
        with contextlib.suppress(OSError):  # a pid without a lock means nothing
            self._pid_file.unlink(missing_ok=True)
        self._lock.release()


def _recorded_pid(state_dir: Path) -> int | None:
    """The pid that the holder of the lock wrote into its file."""
    try:
        return int(json.loads((state_dir / _PID_FILE).read_text(encoding="utf-8"))["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _unusable(state_dir: Path, error: Exception) -> StoreRefused:
    why = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return StoreRefused(
        f"The state directory {state_dir} cannot be used: {why}. Fix that, or choose another folder with --state-dir.",
    )
