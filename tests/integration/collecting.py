"""A collector of OpenTelemetry on loopback: OTLP over HTTP, decoded by the official messages of the protocol."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

__all__ = ["Collector", "Seen"]

_HANGS_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One span as it arrived. Ids are hexadecimal, times in ns since 1970."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    began: int
    ended: int
    is_bad: bool
    attributes: Mapping[str, str]
    links: tuple[str, ...]
    """Ids of spans."""
    resource: Mapping[str, str]


@dataclass
class Collector:
    """`hangs`: it takes what comes, and does not answer."""

    port: int
    hangs: bool = False
    spans: list[Seen] = field(default_factory=list)
    heads: list[Mapping[str, str]] = field(default_factory=list)

    def named(self, name: str) -> list[Seen]:
        return [span for span in self.spans if span.name == name]

    def children(self, parent: Seen) -> dict[str, Seen]:
        """The spans right below this one, by their names."""
        return {span.name: span for span in self.spans if (span.trace, span.parent) == (parent.trace, parent.id)}

    @contextmanager
    def listening(self) -> Iterator[Collector]:
        collector = self

        class Answering(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
                collector.heads.append({name.lower(): value for name, value in self.headers.items()})
                request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
                collector.spans += _seen(request)
                if collector.hangs:
                    time.sleep(_HANGS_S)
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.end_headers()
                self.wfile.write(ExportTraceServiceResponse().SerializeToString())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the library's name
                pass

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Answering)
        self.port = server.server_port
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


def _seen(request: ExportTraceServiceRequest) -> Iterator[Seen]:
    for group in request.resource_spans:
        resource = {one.key: one.value.string_value for one in group.resource.attributes}
        for scope in group.scope_spans:
            for span in scope.spans:
                yield _one(span, resource)


def _one(span: Span, resource: Mapping[str, str]) -> Seen:
    values = {one.key: one.value.string_value or str(one.value.int_value) for one in span.attributes}
    return Seen(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.kind,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == 2,
        values,
        tuple(link.span_id.hex() for link in span.links),
        resource,
    )
