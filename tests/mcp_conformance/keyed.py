"""Adds header fields to each request on its way to the service. The rest is passed on as it comes, both ways."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

__all__ = ["adding"]

_OF_CONNECTION: Final = {"connection", "transfer-encoding"}
_NAMES_US: Final = {"host", "origin"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    added: Mapping[str, str]
    there: int

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        here, there = f":{self.connection.getsockname()[1]}", f":{self.there}"
        with closing(http.client.HTTPConnection("127.0.0.1", self.there, timeout=60)) as onward:
            onward.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _OF_CONNECTION:
                    onward.putheader(name, value.replace(here, there) if name.lower() in _NAMES_US else value)
            for name, value in self.added.items():
                onward.putheader(name, value)
            onward.endheaders(body or None)
            self._pass_back(onward.getresponse())

    def _pass_back(self, reply: http.client.HTTPResponse) -> None:
        self.send_response_only(reply.status, reply.reason)
        for name, value in reply.getheaders():
            if name.lower() not in _OF_CONNECTION:
                self.send_header(name, value)
        if reply.getheader("content-length") is None:
            self.send_header("connection", "close")
            self.close_connection = True
        self.end_headers()
        with suppress(OSError):  # whoever asked has gone
            while part := reply.read1(65536):
                self.wfile.write(part)
                self.wfile.flush()

    do_GET = do_POST = do_DELETE = do_OPTIONS = _pass_on  # noqa: N815 # names of the library

    def log_message(self, *_words: Any) -> None:
        pass


@contextmanager
def adding(fields: Mapping[str, str], there: int) -> Iterator[int]:
    """The port on which requests to the service at the port `there` get these header fields."""
    handler = type("Handler", (_Handler,), {"added": fields, "there": there})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
