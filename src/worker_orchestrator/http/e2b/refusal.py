"""Errors as E2B's clients read them: `code` and `message`, for the API with a number, for Connect with one of its names.

Source: https://connectrpc.com/docs/protocol#error-codes
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from starlette.responses import Response

from worker_orchestrator.errors import NoMachineAvailable, OrchestratorError
from worker_orchestrator.http.problems import details_of
from worker_orchestrator.http.reply import Reply
from worker_orchestrator.key_errors import KeyLimitReached
from worker_orchestrator.wire.document import Failure

__all__ = ["Refusal", "of_error", "of_reply"]

_NAMES: Final = {
    400: "invalid_argument",
    401: "unauthenticated",
    403: "permission_denied",
    404: "not_found",
    409: "failed_precondition",
    412: "aborted",
    413: "resource_exhausted",
    424: "failed_precondition",
    429: "resource_exhausted",
    501: "unimplemented",
    502: "unavailable",
    503: "unavailable",
    504: "deadline_exceeded",
}


class Refusal(Exception):
    """A call that is refused: its HTTP status, the name of the error in Connect, and one sentence."""

    def __init__(self, status: int, name: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.name, self.message, self.headers = status, name, message, headers or {}

    @classmethod
    def gone(cls, sandbox: str) -> Refusal:
        """Of a sandbox that is not there (any more). E2B's clients take 502 with these words for its end."""
        return cls(502, "unavailable", f"The sandbox was not found: {sandbox[:128]}. It has ended, or never was.")

    @classmethod
    def missing(cls, what: str) -> Refusal:
        """Of what E2B offers and this service does not."""
        return cls(501, "unimplemented", f"This service does not offer {what}. See docs/e2b.md.")

    @classmethod
    def invalid(cls, message: str) -> Refusal:
        return cls(400, "invalid_argument", message)

    def rest(self) -> Response:
        """For E2B's own API."""
        return self._response({"code": self.status, "message": self.message})

    def connect(self) -> Response:
        """For a call of the agent in a sandbox that has one reply."""
        return self._response(self.body())

    def body(self) -> dict[str, str]:
        return {"code": self.name, "message": self.message}

    def _response(self, body: object) -> Response:
        return Response(msgspec.json.encode(body), self.status, self.headers, media_type="application/json")


def of_error(error: OrchestratorError) -> Refusal:
    """An error of the core. That there is no machine is 429, on which E2B's clients wait and ask again."""
    details = details_of(error)
    status = 429 if isinstance(error, NoMachineAvailable) else details.status
    retry_s = details.retry_after_seconds
    headers = {} if retry_s is None else {"retry-after": str(retry_s)}
    if isinstance(error, KeyLimitReached):
        headers["should-retry"] = "false"  # E2B's clients would ask three times more
    return Refusal(status, _NAMES.get(status, "internal"), details.detail, headers)


def of_reply(reply: Reply) -> Refusal:
    """What the HTTP edge refuses: a wrong key, a foreign host, too many requests."""
    assert isinstance(reply.body, Failure), f"{reply} is not a refusal"
    fields = dict(reply.headers)
    retry_after = fields.get(b"retry-after")
    message = (
        f"{reply.body.message} E2B's clients send it as their API key." if reply.status == 401 else reply.body.message
    )
    headers = {"retry-after": retry_after.decode()} if retry_after else {}
    return Refusal(reply.status, _NAMES.get(reply.status, "internal"), message, headers)
