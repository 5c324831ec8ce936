"""What a request asks for, checked: where it cannot be, one sentence names the value and what is allowed."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from typing import Final, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import HTTPConnection, Request

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core import commands
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.core.project import project_id
from worker_orchestrator.errors import InvalidInput

__all__ = [
    "body",
    "file_path",
    "fit_text",
    "flag",
    "generations",
    "hang_up",
    "number",
    "one_of",
    "only",
    "project",
    "text",
    "the_machine",
    "the_machine_seen",
    "within",
    "words",
]

LARGEST: Final = 2**53 - 1
_NUMBER: Final = re.compile(r"[0-9]{1,16}")
_ETAG: Final = re.compile(r'"([0-9]{1,16})"')
_T = TypeVar("_T")
_N = TypeVar("_N", int, float)


def project(request: HTTPConnection) -> str:
    """The project of the path. Raises InvalidProject."""
    return project_id(request.path_params["project"])


async def the_machine(request: HTTPConnection, orchestrator: Orchestrator) -> Machine:
    """The machine of the path. Raises MachineNotFound."""
    return await orchestrator.machine_named(request.path_params["id"])


async def the_machine_seen(request: HTTPConnection, orchestrator: Orchestrator) -> Machine:
    """The machine of the path, as the caller saw it: what is done in it must not hit the next project.

    Raises MachineNotFound, GenerationMismatch, InvalidInput.
    """
    seen = generations(request)
    machine = await the_machine(request, orchestrator)
    for generation in seen:
        commands.check_generation(machine, generation)
    return machine


def only(query: QueryParams, names: Collection[str]) -> None:
    """Raises InvalidInput where the query says anything else: a guard with a slip in its name would guard nothing."""
    for name in query:
        if name not in names:
            there_is = f"there is {', '.join(names)}" if names else "this call takes none"
            raise InvalidInput(f"{name[:40]!r} is no query parameter of this call: {there_is}.")


def number(query: QueryParams, name: str, least: int, most: int) -> int | None:
    """A whole number of the query; None where it is not there. Raises InvalidInput."""
    value = _only(query, name)
    if value is None:
        return None
    found = int(value) if _NUMBER.fullmatch(value) else -1
    if not least <= found <= most:
        raise InvalidInput(f"{name} is {value[:40]!r}, but must be a whole number from {least} to {most}.")
    return found


def flag(query: QueryParams, name: str, *, default: bool) -> bool:
    value = _only(query, name)
    if value is None:
        return default
    if value not in {"true", "false"}:
        raise InvalidInput(f"{name} is {value[:40]!r}, but must be true or false.")
    return value == "true"


def text(query: QueryParams, name: str, most: int, *, default: str = "") -> str:
    """A text of the query of at most so many characters, without NUL. Raises InvalidInput."""
    value = _only(query, name)
    return default if value is None else fit_text(value, name, most)


def words(query: QueryParams, name: str, most: int) -> list[str]:
    """All values of a name that may be repeated."""
    values = query.getlist(name)
    if len(values) > most:
        raise InvalidInput(f"{name} is given {len(values)} times, but may be {most} times at most.")
    return values


def fit_text(value: str, name: str, most: int) -> str:
    if len(value) > most or "\0" in value:
        raise InvalidInput(f"{name} is too long or has a NUL in it: use at most {most} characters.")
    return value


def file_path(request: Request) -> str:
    """The path of the query, an absolute one; a byte of it that is no text is a lone surrogate. Raises InvalidInput."""
    sent = request.scope["query_string"].decode("latin-1")
    query = QueryParams(parse_qsl(sent, keep_blank_values=True, errors="surrogateescape"))
    value = text(query, "path", 4096)
    if not value.startswith("/"):
        raise InvalidInput(f"path is {value[:40]!r}, but must be an absolute path in the worker, as /tmp/notes.txt.")
    return value


def generations(request: HTTPConnection) -> list[int]:
    """Which generations the caller insists on, by query and by header: all of them must hold. Raises InvalidInput."""
    found = []
    asked = number(request.query_params, "generation", 0, LARGEST)
    if asked is not None:
        found.append(asked)
    tag = request.headers.get("if-match", "*").strip()
    if tag != "*":
        match = _ETAG.fullmatch(tag)
        if match is None:
            raise InvalidInput(f'If-Match is {tag[:40]!r}, but must be the ETag of a machine, as "42", or *.')
        found.append(int(match[1]))
    return found


async def body(request: Request, kind: type[_T], *, optional: _T | None = None) -> _T:
    """The JSON object of the body; `optional` stands for none. Raises InvalidInput."""
    sent = await request.body()
    if not sent and optional is not None:
        return optional
    try:
        return msgspec.json.decode(sent, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        why = str(error).removesuffix(".") or "it is nested too deeply"
        raise InvalidInput(f"The body is not what this call takes: {why}. See /docs.") from None


def within(value: _N, name: str, least: float, most: float) -> _N:
    """Raises InvalidInput for a number outside of these."""
    if not math.isfinite(value) or not least <= value <= most:
        raise InvalidInput(f"{name} is {value:g}, but must be from {least:g} to {most:g}.")
    return value


async def hang_up(request: Request) -> None:
    """Return when the client has gone. Its body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def one_of(values: Sequence[str], name: str, allowed: Sequence[str]) -> None:
    """Raises InvalidInput unless each of these is allowed."""
    for value in values:
        if value not in allowed:
            raise InvalidInput(f"{name} is {value[:40]!r}, but must be one of {', '.join(allowed)}.")


def _only(query: QueryParams, name: str) -> str | None:
    values = query.getlist(name)
    if len(values) > 1:
        raise InvalidInput(f"{name} is given {len(values)} times, but may be given once.")
    return values[0] if values else None
