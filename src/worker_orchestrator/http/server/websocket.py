"""A WebSocket as this service speaks it: frames of a bounded size, and a connection that counts among the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

__all__ = ["FRAME_BYTES", "BoundedSocket"]

FRAME_BYTES: Final = 1024 * 1024


class BoundedSocket(WebSocketsSansIOProtocol):
    """`on_lost` is called when the connection has ended. `is_paused`: what went out on it before is not read yet."""

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
            self.handshake_complete = True  # it was refused, which uvicorn takes for a mishap

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_lost()
        super().connection_lost(exc)
