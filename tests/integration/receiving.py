"""A receiver of webhooks on loopback, as its owner would write it, and as it should not be."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

__all__ = ["Receiver", "Sent", "is_signed"]

_NEW_S: Final = 300
_HANGS_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Sent:
    """One POST as it arrived, with its headers in lower case."""

    at: float
    head: Mapping[str, str]
    body: bytes

    @property
    def message(self) -> dict[str, Any]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


def is_signed(sent: Sent, secret: str) -> bool:
    """As Standard Webhooks says: the signature fits, and the message is new."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{sent.head['webhook-id']}.{sent.head['webhook-timestamp']}.".encode() + sent.body
    expected = f"v1,{base64.b64encode(hmac.digest(key, signed, 'sha256')).decode()}"
    is_new = abs(time.time() - int(sent.head["webhook-timestamp"])) < _NEW_S
    return is_new and any(hmac.compare_digest(one, expected) for one in sent.head["webhook-signature"].split())


@dataclass
class Receiver:
    """`answers`: what it does with the next messages of a project, 204 after that; "hang" answers too late."""

    port: int
    sent: list[Sent] = field(default_factory=list)
    answers: dict[str, list[int | str]] = field(default_factory=dict)

    def of(self, project: str) -> list[Sent]:
        return [one for one in self.sent if one.message["project"] == project]

    def types(self, project: str) -> list[str]:
        return [one.message["type"] for one in self.of(project)]

    @contextmanager
    def listening(self) -> Iterator[Receiver]:
        receiver = self

        class Answering(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                head = {name.lower(): value for name, value in self.headers.items()}
                one = Sent(time.monotonic(), head, self.rfile.read(int(head["content-length"])))
                receiver.sent.append(one)
                left = receiver.answers.get(one.message["project"])
                answer = left.pop(0) if left else 204
                if answer == "hang":
                    time.sleep(_HANGS_S)
                    return
                self.send_response(int(answer))
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the library's name
                pass

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Answering)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
