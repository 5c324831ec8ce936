"""From a reply to what it says: the value, or the error that the service raised, raised again here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

import msgspec

from worker_orchestrator.client.call_steps import Lost, Reply
from worker_orchestrator.errors import (
    CallFailed,
    GenerationMismatch,
    NoMachineAvailable,
    OrchestratorError,
    ServiceUnreachable,
    Unauthorized,
)
from worker_orchestrator.telemetry.foreign_text import plain
from worker_orchestrator.wire.v1 import Problem

__all__ = ["decoded", "error_in", "is_away", "retry_after_s", "unreachable"]

_T = TypeVar("_T")
_ETAG: Final = re.compile(r'"([0-9]{1,16})"')
_AWAY: Final = frozenset({502, 503, 504})
_BY_A_PROXY: Final[Mapping[int, str]] = {
    401: "wants a login of its own",
    403: "does not let this call pass",
    405: "does not let this method pass",
    407: "wants a login of its own",
    408: "did not get the request in time",
    413: "takes no request so large: raise its limit (nginx: client_max_body_size)",
    414: "takes no address so long: raise its limit (nginx: large_client_header_buffers)",
    426: "does not pass on WebSockets: it must hand on the fields Upgrade and Connection",
    429: "limits how often it is asked",
    431: "takes no head so long: raise its limit (nginx: large_client_header_buffers)",
}
"""What a proxy in between means by a status that it answers in the service's place."""
_HOW_TO_GIVE_A_TOKEN: Final = "give it as token=…, ORCHESTRATOR_TOKEN or ORCHESTRATOR_TOKEN_FILE"  # noqa: S105 # says how


def _tree(top: type[OrchestratorError]) -> Iterator[type[OrchestratorError]]:
    yield top
    for cls in top.__subclasses__():
        yield from _tree(cls)


def _class_of(code: str) -> type[OrchestratorError]:
    """By walking the tree, so that a new class is known here from its first day."""
    return next((cls for cls in _tree(OrchestratorError) if cls.code == code), CallFailed)


def retry_after_s(reply: Reply) -> float | None:
    """What Retry-After says, where it says seconds."""
    value = reply.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() else None


def _generation(reply: Reply) -> int:
    """The one that holds, as the ETag names it; 0 where none does."""
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


def is_away(reply: Reply) -> bool:
    """Whether a proxy answers in place of a service that does not."""
    return reply.status in _AWAY and _problem(reply) is None


def error_in(reply: Reply, url: str, *, with_token: bool) -> OrchestratorError | None:
    """The error that this reply stands for, None for a success. `request_id` and `status` say which reply it was."""
    if reply.status < 300:
        return None
    problem = _problem(reply)
    error = _foreign(reply, url) if problem is None else _own(problem, reply, with_token=with_token)
    error.request_id = (problem.request_id if problem else "") or reply.headers.get("x-request-id", "")
    error.status = reply.status
    return error


def _own(problem: Problem, reply: Reply, *, with_token: bool) -> OrchestratorError:
    cls = _class_of(problem.code)
    if issubclass(cls, NoMachineAvailable):
        wait_s = retry_after_s(reply)
        return cls(problem.detail) if wait_s is None else cls(problem.detail, retry_after_s=wait_s)
    if issubclass(cls, GenerationMismatch):
        return cls(problem.detail, generation=_generation(reply))
    if issubclass(cls, Unauthorized):
        was = "refused this token" if with_token else "asks for a token"
        return cls(f"The service {was}: {_HOW_TO_GIVE_A_TOKEN}.")
    return cls(problem.detail or problem.title)


def _foreign(reply: Reply, url: str) -> OrchestratorError:
    if is_away(reply):
        return ServiceUnreachable(
            f"What answers at {url} says {reply.status}: the proxy there does not reach the service. Does it run?"
        )
    if reply.status < 400:
        elsewhere = plain(reply.headers.get("location", "another place"), 200)
        return CallFailed(
            f"What answers at {url} sends us on to {elsewhere}, which is not followed: give the service's own address."
        )
    if refused := _refusal(reply):
        return CallFailed(f"{plain(refused.error)}. {plain(refused.message)}".rstrip())
    if reply.status in _BY_A_PROXY:
        return CallFailed(
            f"What answers at {url} says {reply.status} and is not the service: a proxy in between "
            f"{_BY_A_PROXY[reply.status]}."
        )
    return CallFailed(
        f"What answers at {url} says {reply.status} and is no worker orchestrator with /v1: check address and version."
    )


class _Refusal(msgspec.Struct):
    """What the service says before it knows what is asked for: that a request is too large, or too slow."""

    error: str
    message: str = ""


def _refusal(reply: Reply) -> _Refusal | None:
    if _media_type(reply.headers) != "application/json":
        return None
    try:
        return msgspec.json.decode(reply.body, type=_Refusal)
    except msgspec.MsgspecError:
        return None


def decoded(reply: Reply, shape: type[_T], url: str) -> _T:
    """The JSON of a success. Raises CallFailed where it is something else."""
    try:
        return msgspec.json.decode(reply.body, type=shape)
    except msgspec.MsgspecError as error:
        raise CallFailed(
            f"What answers at {url} is no worker orchestrator, or one of another version: {error}."
        ) from None


def unreachable(lost: Lost, url: str) -> ServiceUnreachable:
    """Nobody answered, or not to the end, or nobody who can be believed."""
    if lost.hopeless:
        return ServiceUnreachable(
            f"The service at {url} cannot be asked: {lost.why}. Is the address right (ORCHESTRATOR_URL)?"
        )
    advice = "" if lost.sent else " Is it running (`orchestrator serve`), and is the address right (ORCHESTRATOR_URL)?"
    return ServiceUnreachable(f"The service at {url} does not answer: {lost.why}.{advice}")
