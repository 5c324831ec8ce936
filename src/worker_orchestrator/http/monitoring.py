"""What those who operate the service ask for: whether it runs, whether it can serve, and its metrics.

The two probes need no token and answer any Host, as a load balancer asks by address: they take nothing, and tell a stranger
yes or no. Why not is for those who may call, since it names images, addresses and paths.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import ClassVar, Final

from worker_orchestrator.http.reply import Reply, failure

__all__ = ["Operating"]

_METRICS: Final = "/metrics"


class Operating:
    """`obstacles` says why no machine can be given now, `metrics` gives the exposition and its content type."""

    PROBES: ClassVar[frozenset[str]] = frozenset({"/livez", "/readyz"})

    def __init__(self, obstacles: Callable[[], list[str]], metrics: Callable[[], tuple[bytes, str]]) -> None:
        self._obstacles, self._metrics = obstacles, metrics

    def probe(self, method: str, path: str, may_call: Callable[[], bool]) -> Reply:
        """The reply at one of `PROBES`; `may_call` says whether who asks may call."""
        if method not in {"GET", "HEAD"}:
            return _not_allowed()
        obstacles = self._obstacles() if path == "/readyz" else []
        if not obstacles:
            return Reply(200, {"status": "ok"})
        why = {"problems": obstacles} if may_call() else {}
        return Reply(HTTPStatus.SERVICE_UNAVAILABLE, {"status": "unavailable", **why})

    def reply(self, method: str, path: str) -> Reply | None:
        """The reply to a caller who may call; None where this is not asked for."""
        if path.removesuffix("/") != _METRICS:
            return None
        if method not in {"GET", "HEAD"}:
            return _not_allowed()
        body, content_type = self._metrics()
        return Reply(200, body, content_type=content_type.encode())


def _not_allowed() -> Reply:
    return failure(405, "Method not allowed", "Allowed here: GET, HEAD.", [(b"allow", b"GET, HEAD")])
