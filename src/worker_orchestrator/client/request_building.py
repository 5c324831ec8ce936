"""How requests are put together: paths, queries and bodies."""

from __future__ import annotations

import os
from typing import BinaryIO, Final
from urllib.parse import quote

from worker_orchestrator.client.call_steps import Request, Upload
from worker_orchestrator.errors import InvalidProject, MachineNotFound, OrchestratorError, PoolNotFound

__all__ = ["JSON", "deletion", "meant_for", "of_machine", "of_pool", "of_project", "query_of", "upload"]

JSON: Final = {"content-type": "application/json"}


def query_of(**values: str | int | bool | None) -> tuple[tuple[str, str], ...]:
    return tuple((name, _text(value)) for name, value in values.items() if value is not None)


def _text(value: str | int) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def upload(file: BinaryIO) -> Upload:
    if not file.seekable():
        return Upload(file, 0, None)
    start = file.tell()
    return Upload(file, start, max(file.seek(0, os.SEEK_END) - start, 0))


def deletion(path: str, generation: int | None, *, now: bool = False) -> Request:
    query = query_of(generation=generation, now=now or None)
    return Request(method="DELETE", path=path, query=query, repeatable=generation is not None)


def meant_for(generation: int | None) -> dict[str, str]:
    """The header by which a call insists on the machine being of this generation."""
    return {} if generation is None else {"if-match": f'"{generation}"'}


def of_project(project: str, what: str) -> str:
    return f"/v1/projects/{_name(project, InvalidProject)}/{what}"


def of_machine(machine_id: str, what: str = "") -> str:
    return f"/v1/machines/{_name(machine_id, MachineNotFound)}{what and '/'}{what}"


def of_pool(name: str) -> str:
    return f"/v1/pools/{_name(name, PoolNotFound)}"


def _name(text: str, wrong: type[OrchestratorError]) -> str:
    """One segment of a path. What would become another path on its way is refused here."""
    if not text or "/" in text or text in {".", ".."}:
        raise wrong(f"{text!r}: {wrong().message}")
    return quote(text, safe="")
