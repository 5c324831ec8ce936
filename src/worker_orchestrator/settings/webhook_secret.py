"""The secret with which messages to the webhook are signed: which texts are allowed, and where it comes from.

It has the form that Standard Webhooks gives it, so that the libraries of receivers take it as it is. As with the token, no
error, log line, repr, flag or reply ever shows it.
"""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path
from typing import Any, Final

from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.settings.secret_file import read_secret

__all__ = ["FILE", "key_of", "read", "read_or_make", "webhook_secret"]

FILE: Final = "webhook-secret"
"""In the state directory: the one that is made where none is set."""
_PREFIX: Final = "whsec_"
_DESCRIPTION: Final = "whsec_ and base64 of 24 to 64 random bytes, as from `echo whsec_$(openssl rand -base64 32)`"


def webhook_secret(value: Any) -> str:
    """Returns the secret unchanged. Raises ValueError with what is allowed."""
    if not isinstance(value, str) or not value.startswith(_PREFIX):
        raise ValueError(_DESCRIPTION)
    try:
        key = key_of(value)
    except ValueError:
        raise ValueError(_DESCRIPTION) from None
    if not 24 <= len(key) <= 64:
        raise ValueError(_DESCRIPTION)
    return value


def key_of(secret: str) -> bytes:
    """The key of the signatures."""
    return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)


def read(path: Path) -> str:
    """The secret in a file, without the space around. Logs a warning if other users can read it. Raises InvalidSetting."""
    return read_secret(path, "webhook secret file", webhook_secret)


def read_or_make(path: Path) -> str:
    """The secret in a file, which is made with a new one if it is not there. Raises InvalidSetting."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
    except OSError as error:
        raise InvalidSetting(
            f"The webhook secret file {path} cannot be written: {error.strerror}. Make its folder writable, or "
            "name a file with a secret with --webhook-secret-file."
        ) from None
    return read(path)


def _make(path: Path) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(f"{_PREFIX}{base64.b64encode(secrets.token_bytes(32)).decode()}\n")
