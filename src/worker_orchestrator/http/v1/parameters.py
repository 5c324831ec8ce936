"""The parameters of a request: of its path, query, headers and body. All are checked, and what is wrong is InvalidInput.

A message names the parameter, its value and what is allowed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from typing import Final, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import HTTPConnection, Request

from worker_orchestrator.control.caller import CALLER, is_visible, recorded
from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core import commands
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.core.project import project_id
from worker_orchestrator.errors import InvalidInput, MachineNotFound, NotRunning

__all__ = [
    "allow_only",
    "body",
    "check_choices",
    "check_range",
    "check_text",
    "decimal",
    "file_path",
    "flag",
    "generations",
    "insist_on_running",
    "number",
    "path_machine",
    "path_machine_if_match",
    "path_project",
    "repeated",
    "text",
]

LARGEST: Final = 2**53 - 1
_NUMBER: Final = re.compile(r"[0-9]{1,16}")
_DECIMAL: Final = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")
_ETAG: Final = re.compile(r'"([0-9]{1,16})"')
_T = TypeVar("_T")
_N = TypeVar("_N", int, float)


def path_project(request: HTTPConnection) -> str:
    """The project of the path, as it is recorded. Raises InvalidProject."""
    project = project_id(request.path_params["project"])
    return project if CALLER.get() is None else project_id(recorded(project))


async def path_machine(request: HTTPConnection, orchestrator: Orchestrator) -> Machine:
    """The machine of the path, if there is one for this caller. Raises MachineNotFound."""
    name = request.path_params["id"]
    machine = await orchestrator.machine_named(name)
    if not is_visible(machine):
        raise MachineNotFound(f"There is no machine {name}.")
    return machine


async def path_machine_if_match(request: HTTPConnection, orchestrator: Orchestrator) -> Machine:
    """The machine of the path, if it has the generation that the caller names: a call must not hit the next project.

    Raises MachineNotFound, GenerationMismatch, InvalidInput.
    """
    expected = generations(request)
    machine = await path_machine(request, orchestrator)
    for generation in expected:
        commands.check_generation(machine, generation)
    return machine


def insist_on_running(machine: Machine) -> None:
    """Raises NotRunning for a parked machine. The engine would say how to let it go on, and it would be paused again."""
    if machine.state is State.PARKED:
        raise NotRunning(
            f"{machine.id} is parked, which means paused until a project needs a machine. Its logs and files can be "
            "reached meanwhile. To run something, use the machine of a project (`orchestrator assign PROJECT`)."
        )


def allow_only(query: QueryParams, names: Collection[str]) -> None:
    """Raises InvalidInput if the query has any other parameter: a condition with a misspelt name would not hold."""
    for name in query:
        if name not in names:
            allowed = f"Allowed: {', '.join(names)}." if names else "This call takes none."
            raise InvalidInput(f"Unknown query parameter {name[:40]!r}. {allowed}")


def number(query: QueryParams, name: str, least: int, most: int) -> int | None:
    """A whole number of the query; None if it is not there. Raises InvalidInput."""
    value = _single(query, name)
    if value is None:
        return None
    parsed = int(value) if _NUMBER.fullmatch(value) else -1
    if not least <= parsed <= most:
        raise InvalidInput(f"{name} is {value[:40]!r}, but must be a whole number from {least} to {most}.")
    return parsed


def decimal(query: QueryParams, name: str, least: float, most: float) -> float | None:
    """A number of the query; None if it is not there. Raises InvalidInput."""
    value = _single(query, name)
    if value is None:
        return None
    parsed = float(value) if _DECIMAL.fullmatch(value) else math.nan
    if not least <= parsed <= most:
        raise InvalidInput(f"{name} is {value[:40]!r}, but must be a number from {least:.15g} to {most:.15g}.")
    return parsed


def flag(query: QueryParams, name: str, *, default: bool) -> bool:
    value = _single(query, name)
    if value is None:
        return default
    if value not in {"true", "false"}:
        raise InvalidInput(f"{name} is {value[:40]!r}, but must be true or false.")
    return value == "true"


def text(query: QueryParams, name: str, most: int, *, default: str = "") -> str:
    """A text of the query of at most `most` characters, without NUL. Raises InvalidInput."""
    value = _single(query, name)
    return default if value is None else check_text(value, name, most)


def repeated(query: QueryParams, name: str, most: int) -> list[str]:
    """All values of a parameter that may be repeated up to `most` times. Raises InvalidInput."""
    values = query.getlist(name)
    if len(values) > most:
        raise InvalidInput(f"{name} is given {len(values)} times, but may be given {most} times at most.")
    return values


def check_text(value: str, name: str, most: int) -> str:
    """This value. Raises InvalidInput if it is longer than `most` characters, or contains NUL."""
    if len(value) > most or "\0" in value:
        raise InvalidInput(f"{name} is too long or contains NUL. Use at most {most} characters, without NUL.")
    return value


def file_path(request: Request) -> str:
    """The absolute path in the query; a byte of it that is not UTF-8 is a lone surrogate. Raises InvalidInput."""
    sent = request.scope["query_string"].decode("latin-1")
    query = QueryParams(parse_qsl(sent, keep_blank_values=True, errors="surrogateescape"))
    value = text(query, "path", 4096)
    if not value.startswith("/"):
        raise InvalidInput(
            f"path is {value[:40]!r}, but must be an absolute path in the worker, such as /tmp/notes.txt."
        )
    return value


def generations(request: HTTPConnection) -> list[int]:
    """The generations that the caller insists on, by query and by header: all must match. Raises InvalidInput."""
    expected = []
    in_query = number(request.query_params, "generation", 0, LARGEST)
    if in_query is not None:
        expected.append(in_query)
    tag = request.headers.get("if-match", "*").strip()
    if tag != "*":
        match = _ETAG.fullmatch(tag)
        if match is None:
            raise InvalidInput(f'If-Match is {tag[:40]!r}, but must be the ETag of a machine, such as "42", or *.')
        expected.append(int(match[1]))
    return expected


async def body(request: Request, kind: type[_T], *, optional: _T | None = None) -> _T:
    """The JSON object in the body; `optional` if the body is empty. Raises InvalidInput."""
    sent = await request.body()
    if not sent and optional is not None:
        return optional
    try:
        return msgspec.json.decode(sent, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        why = str(error).removesuffix(".") or "it is nested too deeply"
        raise InvalidInput(f"The body of this call is invalid: {why}. See /docs.") from None


def check_range(value: _N, name: str, least: float, most: float) -> _N:
    """This value. Raises InvalidInput if it is not a finite number from `least` to `most`."""
    if not math.isfinite(value) or not least <= value <= most:
        raise InvalidInput(f"{name} is {value:.15g}, but must be from {least:.15g} to {most:.15g}.")
    return value


def check_choices(values: Sequence[str], name: str, allowed: Sequence[str]) -> None:
    """Raises InvalidInput if one of these values is not allowed."""
    for value in values:
        if value not in allowed:
            raise InvalidInput(f"{name} is {value[:40]!r}, but must be one of {', '.join(allowed)}.")


def _single(query: QueryParams, name: str) -> str | None:
    values = query.getlist(name)
    if len(values) > 1:
        raise InvalidInput(f"{name} is given {len(values)} times, but may be given once.")
    return values[0] if values else None
