"""A proxy that shows the service under a path of its own, as many do for several services on one host. It adds no header."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Prefixed", "prefixed"]

PREFIX: Final = "/some/where"
"""The service is under it as well, if it is started with --root-path."""
_LINE: Final = re.compile(rb"([A-Z]+) " + PREFIX.encode() + rb"(/[^ ]*) ")
_ALSO_ALONE: Final = re.compile(rb"[A-Z]+ " + PREFIX.encode() + rb"[/? ]")
_KEPT: Final = re.compile(rb"\r\nconnection: keep-alive", re.IGNORECASE)
_ELSEWHERE: Final = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(slots=True)
class Prefixed:
    """`strayed`: request lines that were for another path of the host, and reached nobody."""

    port: int
    strayed: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}{PREFIX}"


@contextmanager
def prefixed(service_port: int, *, keeps: bool = False) -> Iterator[Prefixed]:
    """`keeps`: it passes the path on as it is."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = Prefixed(listener.getsockname()[1])

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=_serve, args=(client, service_port, proxy, keeps), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield proxy
        listener.shutdown(socket.SHUT_RDWR)


def _serve(client: socket.socket, service_port: int, proxy: Prefixed, keeps: bool) -> None:  # noqa: FBT001 # of a thread
    """One request, and what follows it where it becomes a WebSocket."""
    with client, contextlib.suppress(OSError):
        head, rest = _head(client)
        if not head:
            return
        if (_ALSO_ALONE if keeps else _LINE).match(head) is None:
            proxy.strayed.append(head.partition(b"\r\n")[0].decode("latin-1"))
            client.sendall(_ELSEWHERE)
            return
        with socket.create_connection(("127.0.0.1", service_port)) as service:
            service.sendall(
                _KEPT.sub(b"\r\nConnection: close", head if keeps else _LINE.sub(rb"\1 \2 ", head, count=1)) + rest
            )
            back = threading.Thread(target=_pump, args=(service, client), daemon=True)
            back.start()
            _pump(client, service)
            back.join()


def _head(client: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(65536)
        if not more:
            return b"", b""
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
