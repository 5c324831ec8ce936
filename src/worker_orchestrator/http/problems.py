"""Errors as /v1 sends them: problem details (RFC 9457), with a `code` that never changes.

One table has the statuses of the core's errors; the class of an error, or the nearest base class of it, is looked up.

https://www.rfc-editor.org/rfc/rfc9457
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from msgspec.structs import replace
from starlette.responses import Response

from worker_orchestrator.control.caller import shown
from worker_orchestrator.errors import (
    CommitFailed,
    ConfiguredOtherwise,
    EngineError,
    EngineObstructed,
    EngineRejected,
    EngineUnavailable,
    GenerationMismatch,
    InvalidInput,
    MachineFailed,
    MachineNotFound,
    NoMachineAvailable,
    NotAssigned,
    NotRunning,
    NotSupported,
    OrchestratorError,
    OtherPool,
    OutcomeUnknown,
    PathNotFound,
    PoolNotFound,
    SettingsChanged,
    SetupFailed,
)
from worker_orchestrator.http.reply import RETRY_S, Reply
from worker_orchestrator.key_errors import KeyExists, KeyLimitReached, KeyNotFound
from worker_orchestrator.telemetry.request_id import REQUEST_ID
from worker_orchestrator.wire.document import Failure
from worker_orchestrator.wire.v1 import Problem, Setup

__all__ = ["DEFECT", "code_of", "details_of", "of_error", "of_reply", "problem"]

DEFECT: Final = "This is a bug in the service. Its log has the details."
STATUSES: Final[Mapping[type[OrchestratorError], int]] = {
    InvalidInput: 400,
    MachineNotFound: 404,
    PoolNotFound: 404,
    PathNotFound: 404,
    OtherPool: 409,
    MachineFailed: 409,
    NotRunning: 409,
    NotAssigned: 409,
    ConfiguredOtherwise: 409,
    SettingsChanged: 409,
    GenerationMismatch: 412,
    SetupFailed: 424,
    KeyLimitReached: 429,
    KeyNotFound: 404,
    KeyExists: 409,
    NotSupported: 501,
    EngineObstructed: 503,
    EngineRejected: 502,
    NoMachineAvailable: 503,
    EngineUnavailable: 503,
    OutcomeUnknown: 503,
    EngineError: 502,
    CommitFailed: 503,
    OrchestratorError: 500,
}
_EDGE: Final[Mapping[int, str]] = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    411: "length_required",
    413: "payload_too_large",
    426: "upgrade_required",
    429: "too_many_requests",
    500: "internal_error",
}
"""The codes of what the HTTP edge itself refuses, by status."""


def of_error(error: OrchestratorError) -> Response:
    """The reply to the request that caused this error."""
    headers = {"etag": f'"{error.generation}"'} if isinstance(error, GenerationMismatch) else {}
    return _response(details_of(error), headers)


def details_of(error: OrchestratorError) -> Problem:
    """This error in the shape of /v1, also where no status can be sent any more."""
    status = next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
    title = (type(error).__doc__ or "").strip().splitlines()[0].rstrip(".")
    retry_s = None
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        retry_s = max(1, math.ceil(error.retry_after_s if isinstance(error, NoMachineAvailable) else RETRY_S))
    if isinstance(error, NoMachineAvailable):
        title = "No machine is available"
    details = _details(status, error.code, title, shown(error.message), retry_s)
    if isinstance(error, SetupFailed):
        setup = Setup(exit_code=error.exit_code, ms=error.took_ms, output=error.output)
        return replace(details, machine=error.machine or None, setup=setup)
    return details


def of_reply(reply: Reply) -> Response:
    """A refusal of the HTTP edge, in the form of /v1."""
    failure = reply.body
    assert isinstance(failure, Failure), f"{reply} is not a refusal"
    headers = {name.decode(): value.decode("latin-1") for name, value in reply.headers}
    retry_after = headers.pop("retry-after", None)
    code = _EDGE.get(reply.status, "call_failed")
    retry_s = None if retry_after is None else int(retry_after)
    return problem(reply.status, code, failure.error, failure.message, headers, retry_s)


def problem(
    status: int,
    code: str,
    title: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    retry_after_s: int | None = None,
) -> Response:
    """A problem+json response."""
    return _response(_details(status, code, title, detail, retry_after_s), headers or {})


def _details(status: int, code: str, title: str, detail: str, retry_after_s: int | None) -> Problem:
    return Problem(
        type=f"urn:worker-orchestrator:{code}",
        title=title,
        status=status,
        detail=detail or title,
        code=code,
        request_id=REQUEST_ID.get(),
        retry_after_seconds=retry_after_s,
    )


def _response(details: Problem, headers: Mapping[str, str]) -> Response:
    retry_s = details.retry_after_seconds
    retry = {} if retry_s is None else {"retry-after": str(retry_s)}
    return Response(
        msgspec.json.encode(details), details.status, {**headers, **retry}, media_type="application/problem+json"
    )


def code_of(status: int) -> str:
    """The code of what the router itself refuses with this status."""
    return _EDGE.get(status, "call_failed")
