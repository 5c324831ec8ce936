"""What the edge itself refuses, and what went wrong there, in the form that the clients of a door read."""

from __future__ import annotations

from starlette.responses import Response

from worker_orchestrator.errors import OrchestratorError
from worker_orchestrator.http import problems
from worker_orchestrator.http.e2b import refusal as of_e2b
from worker_orchestrator.http.reply import Reply

__all__ = ["failed", "refused"]


def refused(reply: Reply, *, is_e2b: bool) -> Response:
    return of_e2b.of_reply(reply).rest() if is_e2b else problems.of_reply(reply)


def failed(error: OrchestratorError, *, is_e2b: bool) -> Response:
    return of_e2b.of_error(error).rest() if is_e2b else problems.of_error(error)
