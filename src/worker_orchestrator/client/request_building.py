"""The parts of a request to /v1: path, query, headers and body."""

from __future__ import annotations

import os
from typing import BinaryIO, Final
from urllib.parse import quote

from worker_orchestrator.client.call_steps import Request, Upload
from worker_orchestrator.errors import InvalidProject, MachineNotFound, OrchestratorError, PoolNotFound

__all__ = [
    "JSON",
    "deletion",
    "generation_header",
    "machine_path",
    "pool_path",
    "project_path",
    "query_of",
    "upload_of",
]

JSON: Final = {"content-type": "application/json"}


def query_of(**values: str | float | bool | None) -> tuple[tuple[str, str], ...]:
    """The query parameters, without those that are None."""
    return tuple((name, _text(value)) for name, value in values.items() if value is not None)


def _text(value: str | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def upload_of(file: BinaryIO) -> Upload:
    """The file from where it stands. Leaves it at its end if it can seek."""
    if not file.seekable():
        return Upload(file, 0, None)
    start = file.tell()
    return Upload(file, start, max(file.seek(0, os.SEEK_END) - start, 0))


def deletion(path: str, generation: int | None, *, now: bool = False) -> Request:
    """A DELETE, which is safe to repeat only with a generation: without one it might hit a later assignment."""
    query = query_of(generation=generation, now=now or None)
    return Request(method="DELETE", path=path, query=query, repeatable=generation is not None)


def generation_header(generation: int | None) -> dict[str, str]:
    """The header by which a call fails unless the machine is of this generation."""
    return {} if generation is None else {"if-match": f'"{generation}"'}


def project_path(project: str, resource: str) -> str:
    return f"/v1/projects/{_segment(project, InvalidProject)}/{resource}"


def machine_path(machine_id: str, resource: str = "") -> str:
    return f"/v1/machines/{_segment(machine_id, MachineNotFound)}{resource and '/'}{resource}"


def pool_path(name: str) -> str:
    return f"/v1/pools/{_segment(name, PoolNotFound)}"


def _segment(text: str, error: type[OrchestratorError]) -> str:
    """One segment of a path. Raises this error for a text that would make it another path on its way."""
    if not text or "/" in text or text in {".", ".."}:
        raise error(f"{text!r}: {error().message}")
    return quote(text, safe="")
