"""Two small servers: one for the pages that a browser is lured to, and one in front of the service that sees what comes."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

__all__ = ["Pages", "Relay", "Seen", "pages", "relay"]

_HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that a browser sent to the service, and the status of the reply."""

    method: str
    path: str
    headers: Mapping[str, str]
    status: int

    @property
    def site(self) -> str:
        return self.headers.get("sec-fetch-site", "")


@dataclass(slots=True)
class Pages:
    """HTML by path, the same on every host name; a path in `redirects` leads elsewhere. `cookies` is what was sent along."""

    port: int
    html: dict[str, str] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    cookies: list[str] = field(default_factory=list)

    def put(self, html: str, path: str = "/page", *, host: str = "evil.example") -> str:
        """Serve a page. Returns its URL under this host name."""
        self.html[path] = f"<!doctype html><meta charset=utf-8><title>page</title><body>{html}"
        return f"http://{host}:{self.port}{path}"


@dataclass(slots=True)
class Relay:
    """Stands in front of the service and changes nothing. `seen` is what passed, oldest first."""

    port: int
    seen: list[Seen] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"


@contextmanager
def pages(port: int = 0) -> Iterator[Pages]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.cookies.append(self.headers.get("Cookie", ""))
            if (target := served.redirects.get(self.path)) is not None:
                self.send_response(302)
                self.send_header("Location", target)
            else:
                self.send_response(200 if self.path in served.html else 404)
                self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(served.html.get(self.path, "").encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the base class's name
            """Say nothing."""

    with _serving(Handler, port) as taken:
        served = Pages(taken)
        yield served


@contextmanager
def relay(service_port: int) -> Iterator[Relay]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            connection = http.client.HTTPConnection("127.0.0.1", service_port, timeout=45)
            try:
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    connection.putheader(name, value)
                connection.endheaders(body or None)
                response = connection.getresponse()
                payload = response.read()
            finally:
                connection.close()
            headers = {name.lower(): value for name, value in self.headers.items()}
            passed.seen.append(Seen(self.command, self.path, headers, response.status))
            self.send_response_only(response.status)
            for name, value in response.getheaders():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(payload)

        do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815 # the base class's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the base class's name
            """Say nothing."""

    with _serving(Handler) as port:
        passed = Relay(port)
        yield passed


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler], port: int = 0) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
