"""A WebSocket as this service speaks it: frames of a bounded size, and a connection that counts among the others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

__all__ = ["FRAME_LIMIT_BYTES", "BoundedSocket", "bounded_socket"]

FRAME_LIMIT_BYTES: Final = 1024 * 1024


class BoundedSocket(WebSocketsSansIOProtocol):
    """`on_lost` is called when the connection has ended. `is_paused`: its client has not read yet what was sent before."""

    def __init__(
        self, *args: Any, on_lost: Callable[[], None] = lambda: None, is_paused: bool = False, **words: Any
    ) -> None:
        super().__init__(*args, **words)
        self._on_lost = on_lost
        if is_paused:
            self.pause_writing()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True  # it was refused, which uvicorn would report as an error

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_lost()
        super().connection_lost(exc)


def bounded_socket(on_lost: Callable[[], None], *, is_paused: bool) -> Callable[..., BoundedSocket]:
    """Makes the protocol of a WebSocket, as uvicorn calls it."""
    return partial(BoundedSocket, on_lost=on_lost, is_paused=is_paused)
