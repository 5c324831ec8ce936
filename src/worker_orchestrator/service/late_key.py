"""The key that stands for configurations in our records: values themselves are never stored, nor plain digests of them.

A plain digest of a short value tells the value to whoever tries all of them. Under a key that only this service can read it
tells nothing, so a copy of the database (a backup, say) without this file gives nothing away. If the file is lost, a new one
is made: then a repeat of the same values counts as other values, and workers that were made before refuse what is posted to
them.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path
from typing import Final

import structlog

from worker_orchestrator.errors import InvalidSetting

__all__ = ["FILE", "derived", "fleeting", "read_or_go_without", "read_or_make"]

FILE: Final = "late-key"
"""In the state directory, beside the database. Only its owner can read it."""
_BYTES: Final = 32

_log = structlog.get_logger(__name__)


def read_or_go_without(state_dir: Path, *, makes: bool = True, needed: bool = True) -> bytes:
    """As `read_or_make`. Unless it is `needed`, one that is of no use is a warning, and a `fleeting` one takes its place."""
    try:
        return read_or_make(state_dir, makes=makes)
    except InvalidSetting as error:
        if needed:
            raise
        _log.warning("the key of configurations is of no use, and no pool needs it now", reason=error.message)
        return fleeting()


def read_or_make(state_dir: Path, *, makes: bool = True) -> bytes:
    """The 32 bytes of the key, which is made if it is not there. The caller has the lock of the state directory.

    `makes=False`, for who only looks: a `fleeting` one if it is not there. Raises InvalidSetting if the file cannot be read
    or written, or holds something else.
    """
    file = state_dir.absolute() / FILE
    try:
        if not file.exists():
            if not makes:
                return fleeting()
            _make(file)
        key, mode = file.read_bytes(), stat.S_IMODE(file.stat().st_mode)
    except OSError as error:
        raise InvalidSetting(
            f"The key file {file} cannot be read or written: {error.strerror}. Make it and its folder yours."
        ) from None
    if len(key) != _BYTES:
        raise InvalidSetting(
            f"The key file {file} must hold {_BYTES} bytes, and holds {len(key)}: put it back, or remove it. Then a new one "
            "is made, and machines that are configured are taken for configured otherwise."
        )
    if mode & 0o077:
        _log.warning("other users can read the key file", file=str(file), mode=f"{mode:04o}", do=f"chmod 600 {file}")
    return key


def fleeting() -> bytes:
    """A key for machines that end with this process, or for who only looks."""
    return secrets.token_bytes(_BYTES)


def derived(key: bytes, purpose: str) -> bytes:
    """The key for one purpose, such as "values" or "token": what is made for one tells nothing of what another makes."""
    return hmac.digest(key, f"worker-orchestrator {purpose}".encode(), hashlib.sha256)


def _make(file: Path) -> None:
    """It is there whole or not at all, also after a crash."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as written:
        written.write(fleeting())
        written.flush()
        os.fsync(written.fileno())
    new.replace(file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # else its name may be gone after a crash, when workers were made with it
    finally:
        os.close(folder)
