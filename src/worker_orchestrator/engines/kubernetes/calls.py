"""Translates what an API server refuses, and how calls break, into our errors.

A call that never reached the server raises EngineUnavailable. One that was cut off after it was sent raises OutcomeUnknown
if it writes, and EngineUnavailable if it reads. A quota, or what a namespace still lacks, is a cause outside.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import msgspec

from worker_orchestrator.core.reasons import sentence
from worker_orchestrator.errors import EngineError, EngineObstructed, EngineRejected, EngineUnavailable, OutcomeUnknown
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["Refusal", "is_expired", "is_missing", "looking", "reading", "refusal_of", "status_of", "writing"]

_QUOTA: Final = re.compile(r"exceeded quota|exceeds quota|must specify \S+.* quota", re.IGNORECASE)
_NOT_YET: Final = re.compile(r'serviceaccount "[^"]*" not found', re.IGNORECASE)
"""What a new namespace lacks for a moment."""
_BROKEN: Final = (aiohttp.ClientError, OSError, TimeoutError)
_UNREADABLE: Final = (msgspec.DecodeError, ValueError, RecursionError, LookupError, TypeError, AttributeError)
_UNCERTAIN: Final = frozenset({
    HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT,
})  # fmt: skip
"""The server, or a proxy before it, gave up in the middle: etcd may have carried it out."""


class Refusal(Exception):
    """The server answered with an error. `retry_after_s`: when it may be asked again, if it said so."""

    def __init__(self, status: int, reason: str = "", message: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status, self.reason, self.message, self.retry_after_s = status, reason, message, retry_after_s


def refusal_of(status: int, headers: Mapping[str, str], body: bytes) -> Refusal:
    """The error in an answer: a Status of Kubernetes, or what a proxy said."""
    said: Any = None
    with suppress(msgspec.DecodeError):
        said = msgspec.json.decode(body)
    told = said if isinstance(said, dict) else {}
    message = str(told.get("message") or "") or body[:1000].decode(errors="replace")
    details = told.get("details")
    wait = headers.get("Retry-After", "") or str(
        (details if isinstance(details, dict) else {}).get("retryAfterSeconds", "")
    )
    retry_after_s = float(wait) if re.fullmatch(r"\d{1,5}", wait) else None
    return Refusal(status, str(told.get("reason") or ""), message, retry_after_s)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Wraps calls that change nothing, and the reading of their answers. `what` was to be done, as in "read pods"."""
    try:
        yield
    except Refusal as error:
        meaning = _meaning(error, what)
        raise (EngineUnavailable(meaning.message) if isinstance(meaning, OutcomeUnknown) else meaning) from error
    except _BROKEN as error:
        raise EngineUnavailable(_no_answer(error, what)) from error
    except _UNREADABLE as error:
        raise EngineUnavailable(f"What Kubernetes says cannot be read ({type(error).__name__}, to {what}).") from error


@contextmanager
def looking(what: str) -> Iterator[None]:
    """As `reading`, for what must have an answer: a refusal counts as none, since nothing is known then."""
    try:
        with reading(what):
            yield
    except EngineRejected as error:
        raise EngineUnavailable(error.message) from error.__cause__


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Wraps calls that change something: what was cut off may have happened."""
    try:
        yield
    except Refusal as error:
        raise _meaning(error, what) from error
    except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
        raise EngineUnavailable(_no_answer(error, what)) from error
    except (*_BROKEN, *_UNREADABLE) as error:
        why = plain(error) or type(error).__name__
        raise OutcomeUnknown(f"The connection to Kubernetes broke ({why}, to {what}).") from error


def status_of(error: EngineError) -> int:
    """The status of the server's refusal; 0 if it was not the server that refused."""
    return error.__cause__.status if isinstance(error.__cause__, Refusal) else 0


def is_missing(error: EngineError) -> bool:
    """Whether the server refused because what was named is not there."""
    return status_of(error) == HTTPStatus.NOT_FOUND


def is_expired(error: EngineError) -> bool:
    """Whether what was to be continued is too old: it has to be listed anew."""
    return status_of(error) == HTTPStatus.GONE


def _no_answer(error: BaseException, what: str) -> str:
    why = plain(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
    return f"Kubernetes does not answer ({why}, to {what})."


def _meaning(error: Refusal, what: str) -> EngineError:
    said = plain(error.message) or str(error.status)
    match error.status:
        case HTTPStatus.UNAUTHORIZED:
            return EngineUnavailable(f"Kubernetes does not accept our credentials, to {what}: renew them.")
        case HTTPStatus.TOO_MANY_REQUESTS:
            return EngineUnavailable(f"Kubernetes has too much to do, to {what}: {sentence(said)}")
        case HTTPStatus.FORBIDDEN if _QUOTA.search(error.message):
            return EngineObstructed(
                f"The quota of the namespace leaves no room: {sentence(said)} Raise it, or lower max_machines.",
                kind="quota",
            )
        case HTTPStatus.FORBIDDEN if _NOT_YET.search(error.message):
            return EngineObstructed(f"The namespace lacks something yet: {sentence(said)}", kind="service account")
        case HTTPStatus.FORBIDDEN:
            return EngineRejected(f"Kubernetes does not let this service {what}: {sentence(said)}")
    if error.status in _UNCERTAIN:
        return OutcomeUnknown(f"Kubernetes failed to {what}: {sentence(said)}")
    return EngineRejected(f"Kubernetes refused to {what}: {sentence(said)}")
