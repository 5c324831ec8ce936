"""Every error of /v1 and of the Python client, by its code."""

from __future__ import annotations

import inspect
from http import HTTPStatus

from website.reference.markdown import code, table
from worker_orchestrator import errors as classes
from worker_orchestrator import key_errors
from worker_orchestrator.errors import CallFailed, OrchestratorError
from worker_orchestrator.http.problems import STATUSES, code_of

__all__ = ["errors"]

_INTRODUCTION = """\
# All errors

Made from the source of this version. Errors of `/v1` are `application/problem+json` with a `code` that never changes; the
Python client raises the class of that code. [The Python client](../docs/client.md) says how to handle them.

"""
_EDGE = """\
## What the HTTP edge refuses by itself

"""


def _kinds() -> list[type[OrchestratorError]]:
    """In the order of the source, the base class first."""
    return [
        kind
        for module in (classes, key_errors)
        for kind in vars(module).values()
        if inspect.isclass(kind) and issubclass(kind, OrchestratorError) and kind.__module__ == module.__name__
    ]


def _status(kind: type[OrchestratorError]) -> str:
    if issubclass(kind, CallFailed):
        return "the client's own"
    return str(next(STATUSES[base] for base in kind.__mro__ if base in STATUSES))


def _row(kind: type[OrchestratorError]) -> tuple[str, str, str, str]:
    told = (kind.__doc__ or "").strip().split("\n\n")[0]
    return code(kind.code), _status(kind), code(kind.__name__), told


def errors() -> str:
    rows = sorted(map(_row, _kinds()))
    edge = [(code(code_of(status)), str(status)) for status in HTTPStatus if code_of(status) != "call_failed"]
    return _INTRODUCTION + table(("code", "status", "class", "meaning"), rows) + _EDGE + table(("code", "status"), edge)
