"""What a replica that does not lead answers itself: probes, where the leader is, and why it cannot pass something on."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from worker_orchestrator.errors import CommitFailed
from worker_orchestrator.http import problems
from worker_orchestrator.http.monitoring import Monitoring
from worker_orchestrator.http.reply import EVERY, Reply, failure, method_not_allowed, retry_after
from worker_orchestrator.settings.replicas import FORWARD, REDIRECT
from worker_orchestrator.wire.document import Failure

__all__ = ["NO_LEADER", "Asked", "Wayside", "asked", "encoded", "marked"]

_METRICS: Final = "/metrics"
_NOTHING_COUNTED: Final = b"# This replica stands by, and counts nothing. Metrics are those of the leader.\n"
_METRICS_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
_RELAYED: Final = "x-orchestrator-relayed"
"""On the first request that one replica passes on to another. That never passes it on again, so there is no circle."""
_STANDS_BY: Final = "Standing by"
NO_LEADER: Final = failure(
    HTTPStatus.SERVICE_UNAVAILABLE, _STANDS_BY, "No replica leads at the moment. Ask again in a second.", retry_after(1)
)


@dataclass(frozen=True, slots=True)
class Asked:
    """The first request of a connection, as far as it is read here. `target` is as it was sent, `path` without its query.

    `is_relayed`: by another replica.
    """

    method: str
    target: str
    path: str
    host: str
    is_relayed: bool


def asked(head: bytes) -> Asked | None:
    """What this head asks for; None if it is none of HTTP/1."""
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith(("/", "*")):
        return None
    fields = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in reversed(lines[1:])}
    return Asked(words[0], words[1], words[1].partition("?")[0], fields.get("host", ""), _RELAYED in fields)


def marked(read: bytes) -> bytes:
    """What was read of a connection, whose first request says from now on that it was relayed."""
    first, end, rest = read.partition(b"\r\n")
    return first + end + f"{_RELAYED}: 1\r\n".encode() + rest


@dataclass(frozen=True, slots=True)
class Wayside:
    """`standby` is the setting, `root_path` that under which a proxy shows the service, `previews` the hosts of previews."""

    standby: str
    root_path: str
    previews: Container[str]

    def reply(self, request: Asked, leader: str) -> Reply | None:
        """The reply to this request; None if it is to be passed on. `leader` is its address, empty if none is known."""
        path = self._own_path(request)
        if path in Monitoring.PROBES:
            return self._probe(request.method, path, leader)
        if path == _METRICS and request.method in {"GET", "HEAD"}:
            return Reply(200, _NOTHING_COUNTED, content_type=_METRICS_TYPE)
        if self.standby == FORWARD:
            return None
        if not leader:
            return NO_LEADER
        text = f"This replica stands by. The one that leads is at {leader}: ask there."
        if self.standby == REDIRECT and request.host not in self.previews:
            # a preview is found by its host, which an address of a replica is not
            return failure(307, _STANDS_BY, text, [(b"location", f"{leader}{request.target}".encode("latin-1"))])
        return failure(HTTPStatus.SERVICE_UNAVAILABLE, _STANDS_BY, text, retry_after(1))

    def _own_path(self, request: Asked) -> str:
        """The path of a request to the service itself; empty for one to a preview."""
        if request.host in self.previews:
            return ""
        is_prefixed = bool(self.root_path) and request.path.startswith(f"{self.root_path}/")
        return request.path.removeprefix(self.root_path) if is_prefixed else request.path

    def _probe(self, method: str, path: str, leader: str) -> Reply:
        """It is alive; and ready if whoever comes gets on to the leader."""
        if method not in {"GET", "HEAD"}:
            return method_not_allowed("GET, HEAD")
        if path == "/livez" or (leader and self.standby in {FORWARD, REDIRECT}):
            return Reply(200, {"status": "ok"})
        return Reply(HTTPStatus.SERVICE_UNAVAILABLE, {"status": "unavailable"})


def encoded(reply: Reply, request: Asked | None) -> bytes:
    """This reply as it is sent, after which the connection ends. Errors below /v1 are problem documents, as everywhere."""
    body, headers = reply.encoded(), reply.headers
    fields = reply.head(body, [])
    if request is not None and request.path.startswith("/v1/") and isinstance(reply.body, Failure):
        title, told = reply.body.error, reply.body.message
        kept = {name.decode(): value.decode("latin-1") for name, value in headers}
        retry = kept.pop("retry-after", None)
        retry_s = None if retry is None else int(retry)
        problem = problems.problem(int(reply.status), CommitFailed.code, title, told, kept, retry_s)
        body, fields = bytes(problem.body), [*EVERY, *problem.raw_headers]
    lines = [f"HTTP/1.1 {int(reply.status)} {HTTPStatus(reply.status).phrase}".encode(), b"connection: close"]
    lines += [name + b": " + value for name, value in fields]
    is_head = request is not None and request.method == "HEAD"
    return b"\r\n".join(lines) + b"\r\n\r\n" + (b"" if is_head else body)
