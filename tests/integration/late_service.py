"""A service whose workers take values while they run, and what their hook does: that comes with the values."""

from __future__ import annotations

import base64
import io
import tarfile
from collections.abc import Mapping
from typing import Any, Final

from tests.integration.calling import Answer, call
from tests.integration.running import Running

__all__ = ["DIRECTORY", "FLAGS", "a_tar", "put"]

DIRECTORY: Final = "/run/project"
FLAGS: Final = (
    *("--late-dir", DIRECTORY),
    *("--late-hook", f"/bin/sh -c '. {DIRECTORY}/env; eval \"$HOOK\"'"),
    *("--late-timeout", "5"),
)
"""Runs the command in the variable HOOK."""


def put(
    service: Running,
    project: str,
    env: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    files: bytes = b"",
    **more: Any,
) -> Answer:
    """Ask for the machine of this project, with values for it."""
    body: dict[str, Any] = dict(more)
    if env is not None:
        body["env"] = env
    if secrets is not None:
        body["secrets"] = secrets
    if files:
        body["files"] = base64.b64encode(files).decode()
    return call(service.ports.api, "PUT", f"/v1/projects/{project}/machine", body)


def a_tar(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
