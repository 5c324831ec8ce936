"""One process owns a state directory: by a lock that ends with the process, and a card beside it with its pid."""

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
_CARD: Final = "orchestrator.pid"


class Lock:
    """The right to use a state directory, held until `release` or the end of the process."""

    def __init__(self, state_dir: Path) -> None:
        """Raises StoreLocked, which names the holder, and StoreRefused for a folder that cannot be used."""
        self._card = state_dir / _CARD
        self._lock = FileLock(state_dir / _LOCK)
        try:
            os.umask(0o077)  # who has which machine is nobody's business, also in a folder that others can read
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            for ours in state_dir.glob("orchestrator.*"):
                ours.chmod(0o600)
            self._lock.acquire(timeout=0)
            self._card.write_text(json.dumps({"pid": os.getpid()}), encoding="utf-8")
        except Timeout:
            pid = _on_card(state_dir)
            raise StoreLocked(
                f"Another orchestrator{f' (pid {pid})' if pid else ''} uses the state directory {state_dir}. "
                "Stop it, or give this one another with --state-dir.",
            ) from None
        except (OSError, NotImplementedError) as error:
            self._lock.release()
            raise _unusable(state_dir, error) from None

    @staticmethod
    def holder(state_dir: Path) -> int | None:
        """The pid of the process that holds this directory's lock; None where nobody does or nobody knows.

        Raises StoreRefused for a folder that cannot be used.
        """
        if not (state_dir / _LOCK).exists():
            return None
        probe = FileLock(state_dir / _LOCK)
        try:
            probe.acquire(timeout=0)
        except Timeout:
            return _on_card(state_dir)
        except (OSError, NotImplementedError) as error:
            raise _unusable(state_dir, error) from None
        probe.release()
        return None

    def release(self) -> None:
        with contextlib.suppress(OSError):  # a card without a lock is nobody's claim
            self._card.unlink(missing_ok=True)
        self._lock.release()


def _on_card(state_dir: Path) -> int | None:
    """The pid that the holder of the lock wrote down."""
    try:
        return int(json.loads((state_dir / _CARD).read_text(encoding="utf-8"))["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _unusable(state_dir: Path, error: Exception) -> StoreRefused:
    why = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return StoreRefused(
        f"The state directory {state_dir} cannot be used: {why}. Mend that, or choose another with --state-dir.",
    )
