"""What a reply says: its value, or the error that the service raised, to be raised again here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

import msgspec

from worker_orchestrator.client.call_steps import NoReply, Reply
from worker_orchestrator.errors import (
    CallFailed,
    GenerationMismatch,
    NoMachineAvailable,
    OrchestratorError,
    ServiceUnreachable,
    SetupFailed,
    Unauthorized,
)
from worker_orchestrator.telemetry.foreign_text import plain
from worker_orchestrator.wire.v1 import Problem, Setup

__all__ = ["decode_reply", "error_of", "is_from_proxy", "retry_after_s", "unreachable"]

_T = TypeVar("_T")
_ETAG: Final = re.compile(r'"([0-9]{1,16})"')
_GATEWAY_STATUSES: Final = frozenset({502, 503, 504})
_PROXY_REFUSALS: Final[Mapping[int, str]] = {
    401: "requires a login of its own",
    403: "does not let this call pass",
    405: "does not let this method pass",
    407: "requires a login of its own",
    408: "did not receive the request in time",
    413: "accepts no request as large as this one. Raise its limit (nginx: client_max_body_size)",
    414: "accepts no address as long as this one. Raise its limit (nginx: large_client_header_buffers)",
    426: "does not pass on WebSockets. Let it pass on the fields Upgrade and Connection",
    429: "limits the number of requests",
    431: "accepts no headers as large as these. Raise its limit (nginx: large_client_header_buffers)",
}
"""What a proxy between us and the service means by a status with which it answers itself."""
_HOW_TO_PASS_A_TOKEN: Final = "pass it as token=…, ORCHESTRATOR_TOKEN or ORCHESTRATOR_TOKEN_FILE"  # noqa: S105 # says how


def _with_subclasses(top: type[OrchestratorError]) -> Iterator[type[OrchestratorError]]:
    yield top
    for cls in top.__subclasses__():
        yield from _with_subclasses(cls)


def _class_of(code: str) -> type[OrchestratorError]:
    """The class with this code. It walks the tree of classes, so that a new class needs no entry here."""
    return next((cls for cls in _with_subclasses(OrchestratorError) if cls.code == code), CallFailed)


def retry_after_s(reply: Reply) -> float | None:
    """The seconds of Retry-After; None if it is missing or a date."""
    value = reply.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() else None


def _generation(reply: Reply) -> int:
    """The current generation, which the ETag names; 0 if it names none."""
    match = _ETAG.fullmatch(reply.headers.get("etag", ""))
    return int(match[1]) if match else 0


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _problem(reply: Reply) -> Problem | None:
    if _media_type(reply.headers) != "application/problem+json":
        return None
    try:
        return msgspec.json.decode(reply.body, type=Problem)
    except msgspec.MsgspecError:
        return None


def is_from_proxy(reply: Reply) -> bool:
    """Whether a proxy replies that it does not reach the service."""
    return reply.status in _GATEWAY_STATUSES and _problem(reply) is None


def error_of(reply: Reply, url: str, *, with_token: bool) -> OrchestratorError | None:
    """The error that this reply stands for, None for a success. Its `request_id` and `status` are those of the reply."""
    if reply.status < 300:
        return None
    problem = _problem(reply)
    error = _foreign_error(reply, url) if problem is None else _service_error(problem, reply, with_token=with_token)
    error.request_id = (problem.request_id if problem else "") or reply.headers.get("x-request-id", "")
    error.status = reply.status
    return error


def _service_error(problem: Problem, reply: Reply, *, with_token: bool) -> OrchestratorError:
    cls = _class_of(problem.code)
    if issubclass(cls, NoMachineAvailable):
        wait_s = retry_after_s(reply)
        return cls(problem.detail) if wait_s is None else cls(problem.detail, retry_after_s=wait_s)
    if issubclass(cls, GenerationMismatch):
        return cls(problem.detail, generation=_generation(reply))
    if issubclass(cls, Unauthorized):
        problem_text = "refused this token" if with_token else "requires a token"
        return cls(f"The service {problem_text}: {_HOW_TO_PASS_A_TOKEN}.")
    if issubclass(cls, SetupFailed):
        return _setup_failed(problem)
    return cls(problem.detail or problem.title)


def _setup_failed(problem: Problem) -> SetupFailed:
    setup = problem.setup or Setup(exit_code=None, ms=0)
    return SetupFailed(
        problem.detail,
        machine=problem.machine or "",
        exit_code=setup.exit_code,
        took_ms=setup.ms,
        output=setup.output,
    )


def _foreign_error(reply: Reply, url: str) -> OrchestratorError:
    """The error for a reply that is no problem document of the service."""
    if is_from_proxy(reply):
        return ServiceUnreachable(
            f"The proxy at {url} replies {reply.status}: it does not reach the service. Check that the service runs."
        )
    if reply.status < 400:
        target = plain(reply.headers.get("location", "another address"), 200)
        return CallFailed(
            f"The server at {url} redirects to {target}, and redirects are not followed. Use the service's own address."
        )
    if refusal := _refusal(reply):
        return CallFailed(f"{plain(refusal.error)}. {plain(refusal.message)}".rstrip())
    if reply.status in _PROXY_REFUSALS:
        return CallFailed(
            f"A proxy at {url} replies {reply.status} in place of the service: it {_PROXY_REFUSALS[reply.status]}."
        )
    return CallFailed(
        f"The server at {url} replies {reply.status} and is not a worker orchestrator with /v1. Check address and version."
    )


class _Refusal(msgspec.Struct):
    """What the service replies before it has read a whole request: that it is too large, or too slow."""

    error: str
    message: str = ""


def _refusal(reply: Reply) -> _Refusal | None:
    if _media_type(reply.headers) != "application/json":
        return None
    try:
        return msgspec.json.decode(reply.body, type=_Refusal)
    except msgspec.MsgspecError:
        return None


def decode_reply(reply: Reply, shape: type[_T], url: str) -> _T:
    """The JSON of a success. Raises CallFailed if it has another shape."""
    try:
        return msgspec.json.decode(reply.body, type=shape)
    except msgspec.MsgspecError as error:
        raise CallFailed(
            f"The server at {url} is not a worker orchestrator, or one of another version: {error}."
        ) from None


def unreachable(failure: NoReply, url: str) -> ServiceUnreachable:
    """The error for a reply that did not arrive, not to its end, or not from a server that is trusted."""
    if failure.hopeless:
        return ServiceUnreachable(
            f"The service at {url} cannot be called: {failure.reason}. Check the address (ORCHESTRATOR_URL)."
        )
    advice = "" if failure.sent else " Check that it runs (`orchestrator serve`) and its address (ORCHESTRATOR_URL)."
    return ServiceUnreachable(f"The service at {url} does not answer: {failure.reason}.{advice}")
