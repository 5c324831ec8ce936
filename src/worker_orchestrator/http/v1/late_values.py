"""The values that an assign brings for a worker that is running already: checked, and never shown in what is wrong.

A name that is wrong may be a value in the wrong place. So it is not shown either.
"""

from __future__ import annotations

import asyncio
import binascii
import re
from collections.abc import Mapping
from typing import Final

from worker_orchestrator.engines.extras import LateValues
from worker_orchestrator.errors import InvalidInput
from worker_orchestrator.http.v1.late_archive import FILES_BYTES, checked_archive
from worker_orchestrator.wire.assigning import AssignBody

__all__ = ["FilesTooLargeError", "late_values"]

ENV_ENTRIES: Final = 256
SECRETS: Final = 64
VALUE_BYTES: Final = 64 * 1024
_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_SECRET_NAME: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,128}")
_ENV_SAID: Final = "1 to 128 letters, digits and _, and does not begin with a digit"
_SECRET_SAID: Final = "1 to 128 letters, digits and _ . -, and is not . or .."  # noqa: S105 # what a name may be


class FilesTooLargeError(Exception):
    """The archive has more bytes than it may have."""

    def __str__(self) -> str:
        return (
            f"The archive in files may have at most {FILES_BYTES} bytes. Assign without it, and write it afterwards with "
            "PUT /v1/machines/{id}/files."
        )


async def late_values(body: AssignBody) -> LateValues | None:
    """What the body brings for the worker; None if it brings nothing. Raises InvalidInput, FilesTooLargeError."""
    if body.env is None and body.secrets is None and body.files is None:
        if body.replace:
            raise InvalidInput(
                "replace is true, but neither env, secrets nor files is given, so it would replace nothing."
            )
        return None
    env, secrets = body.env or {}, body.secrets or {}
    _check(env, "env", ENV_ENTRIES, _ENV_NAME, _ENV_SAID)
    _check(secrets, "secrets", SECRETS, _SECRET_NAME, _SECRET_SAID)
    files = await asyncio.to_thread(_archive, body.files) if body.files else b""
    return LateValues(env, secrets, files)


def _check(values: Mapping[str, str], name: str, most: int, allowed: re.Pattern[str], said: str) -> None:
    if len(values) > most:
        raise InvalidInput(f"{name} has {len(values)} entries, but may have {most} at most.")
    for number, (key, value) in enumerate(values.items(), 1):
        if not allowed.fullmatch(key):
            raise InvalidInput(
                f"The name of entry {number} of {name} is not allowed: a name has {said}. It is not shown here."
            )
        if "\0" in value or _size(value) > VALUE_BYTES:
            raise InvalidInput(
                f"The value of {key} in {name} is too long, or contains NUL. It may have {VALUE_BYTES} bytes of UTF-8."
            )


def _size(value: str) -> int:
    return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))


def _archive(text: str) -> bytes:
    if len(text) > (FILES_BYTES + 2) // 3 * 4:
        raise FilesTooLargeError
    try:
        archive = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except ValueError:  # also of a character that is not ASCII
        raise InvalidInput("files is not base64, without line breaks, of a tar archive.") from None
    if len(archive) > FILES_BYTES:
        raise FilesTooLargeError
    return checked_archive(archive)
