"""HTTP calls as a client makes them, one connection each."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Answer", "call"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply: status, headers with names in lower case, body, and how long it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    took_s: float

    @property
    def json(self) -> Any:
        """The body, which must be marked as JSON."""
        assert self.headers.get("content-type") == "application/json", f"no JSON: {self.headers} {self.body!r}"
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


def call(
    port: int,
    method: str,
    path: str,
    body: object = None,
    headers: Mapping[str, str | None] | None = None,
    *,
    host: str = "127.0.0.1",
    timeout_s: float = 45.0,
) -> Answer:
    """One request. `body`: bytes as they are, anything else as JSON; a header that is None is left out (Host too)."""
    given = {name.lower(): value for name, value in (headers or {}).items()}
    payload = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    if body is not None:
        given = {"content-type": "application/json", **given}
    begun = time.monotonic()
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        named = {"host": f"localhost:{port}", "content-length": str(len(payload)) if payload else None, **given}
        for name, value in named.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(payload or None)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read(), time.monotonic() - begun)
    finally:
        connection.close()
