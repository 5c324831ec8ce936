"""What operators and load balancers ask for: does the service run (/livez), can it serve (/readyz), its metrics (/metrics).

The two probes need no token and answer any Host, since a load balancer asks by address. They take nothing, and tell a
stranger only yes or no. The reasons are told to callers who may call the API, since they name images, addresses and paths.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import ClassVar, Final

from worker_orchestrator.http.reply import Reply, method_not_allowed

__all__ = ["Monitoring"]

_METRICS: Final = "/metrics"
_METHODS: Final = "GET, HEAD"


class Monitoring:
    """`obstacles` says why no machine can be given now, `metrics` gives the exposition and its content type."""

    PROBES: ClassVar[frozenset[str]] = frozenset({"/livez", "/readyz"})

    def __init__(self, obstacles: Callable[[], list[str]], metrics: Callable[[], tuple[bytes, str]]) -> None:
        self._obstacles, self._metrics = obstacles, metrics

    def probe(self, method: str, path: str, may_call: Callable[[], bool]) -> Reply:
        """The reply at one of `PROBES`; `may_call` says whether this caller may call the API."""
        if method not in {"GET", "HEAD"}:
            return method_not_allowed(_METHODS)
        obstacles = self._obstacles() if path == "/readyz" else []
        if not obstacles:
            return Reply(200, {"status": "ok"})
        reasons = {"problems": obstacles} if may_call() else {}
        return Reply(HTTPStatus.SERVICE_UNAVAILABLE, {"status": "unavailable", **reasons})

    def reply(self, method: str, path: str) -> Reply | None:
        """The reply to a caller who may call the API; None if this path is another one."""
        if path.removesuffix("/") != _METRICS:
            return None
        if method not in {"GET", "HEAD"}:
            return method_not_allowed(_METHODS)
        body, content_type = self._metrics()
        return Reply(200, body, content_type=content_type.encode())
