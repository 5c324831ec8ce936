"""A real server on a real socket that misbehaves as a test wants it to."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Act", "Heard", "ScriptedServer", "answer", "chunk", "cut", "problem", "reset", "scripted", "unheard"]


@dataclass(frozen=True)
class Heard:
    """One request as it came in, and which connection it came over."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Act = Callable[[socket.socket], bool]
"""What is done with a connection for one request: whether it stays open."""


def answer(
    status: int, body: object = b"", headers: Mapping[str, str] | None = None, *, kind: str = "application/json"
) -> Act:
    """A whole reply. `body`: bytes as they are, anything else as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content-type": kind, "content-length": str(len(content)), **(headers or {})}
    head = f"HTTP/1.1 {status} Said\r\n" + "".join(f"{name}: {value}\r\n" for name, value in given.items())

    def act(connection: socket.socket) -> bool:
        connection.sendall(head.encode() + b"\r\n" + content)
        return True

    return act


def problem(status: int, code: str, detail: str = "so it is", headers: Mapping[str, str] | None = None) -> Act:
    """An error as the service sends it."""
    body = {"type": "about:blank", "title": "T", "status": status, "detail": detail, "code": code, "request_id": "r-1"}
    return answer(status, body, headers, kind="application/problem+json")


def reset(connection: socket.socket) -> bool:
    """The request was read; the connection is reset and nothing said."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def unheard(connection: socket.socket) -> bool:
    """The connection is closed in good order, and nothing said."""
    return False


def cut(*pieces: bytes, end: bool = False, kind: str = "text/event-stream") -> Act:
    """A streamed reply that breaks off after these pieces, or ends."""

    def act(connection: socket.socket) -> bool:
        connection.sendall(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        for piece in pieces:
            connection.sendall(chunk(piece))
        if end:
            connection.sendall(b"0\r\n\r\n")
        return end

    return act


def chunk(piece: bytes) -> bytes:
    return f"{len(piece):x}\r\n".encode() + piece + b"\r\n"


@dataclass
class ScriptedServer:
    """Gives the acts of its script, one for each request; the last one for all that follow."""

    listener: socket.socket
    script: list[Act]
    heard: list[Heard] = field(default_factory=list)
    connections: list[socket.socket] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                connection, _ = self.listener.accept()
                self.connections.append(connection)
                number = len(self.connections)
                threading.Thread(target=self._talk, args=(connection, number), daemon=True).start()

    def _talk(self, connection: socket.socket, number: int) -> None:
        with connection, suppress(OSError, ValueError), connection.makefile("rb") as incoming:
            while line := incoming.readline():
                method, target, _ = line.decode().split()
                headers = dict(_headers(iter(incoming.readline, b"\r\n")))
                body = _body(incoming, headers)
                with self.lock:
                    self.heard.append(Heard(method, target, headers, body, number))
                    act = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                if not act(connection):
                    connection.shutdown(socket.SHUT_RD)
                    return

    def close(self) -> None:
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _headers(lines: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    for line in lines:
        name, _, value = line.decode().strip().partition(":")
        yield name.lower(), value.strip()


def _body(incoming: Any, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return bytes(incoming.read(int(headers.get("content-length", "0"))))
    body = b""
    while size := int(incoming.readline(), 16):
        body += incoming.read(size)
        incoming.readline()
    incoming.readline()
    return body


@contextmanager
def scripted(*script: Act) -> Iterator[ScriptedServer]:
    """A server that listens while the block runs."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = ScriptedServer(listener, list(script))
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()
