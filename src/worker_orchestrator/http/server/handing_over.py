"""A connection whose request is for a preview is given away, with all that was read of it: the door relays it.

Whether that is so is known when a head is complete. So the bytes of a head that comes in pieces are kept until then. That
concerns no request that is answered on the short way, nor any where there are no previews (`BoundedProtocol` is used then).

A connection changes sides once. What comes for a preview behind a request that is still being answered here, or in one
packet with one, is refused, and so is what comes for the service at the door. To browsers they are two origins, which never
share a connection.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, Final

from worker_orchestrator.http.reply import failure, retry_after
from worker_orchestrator.http.server.incoming_message import BETWEEN, HEAD, StopReadingError
from worker_orchestrator.http.server.protocol import BoundedProtocol

__all__ = ["HandOver", "HandingProtocol"]

HandOver = Callable[[int, bytes], bool]
"""Give the door the connection with this file descriptor, of which these bytes were read. False: it cannot take it now."""

_MISDIRECTED: Final = failure(
    421, "Another host", "A preview is asked for on a connection of its own, and not behind a request to the service."
)
_NO_DOOR: Final = failure(
    503, "No previews now", "What relays previews is about to start again. Try again in a moment.", retry_after(1)
)


class HandingProtocol(BoundedProtocol):
    """As `BoundedProtocol`, but what is for one of the `previews` (hosts, with a port or without) is handed over."""

    def __init__(self, *args: Any, previews: Container[str], hand_over: HandOver, **words: Any) -> None:
        super().__init__(*args, **words)
        self._previews, self._hand_over = previews, hand_over
        self._read = b""  # of a head, if it is the first thing in there; else empty

    def _feed(self, data: bytes) -> None:
        if self._message.part == BETWEEN and self._running is None and not self._declined_body:
            self._read = data
        elif self._message.part == HEAD and self._read:
            self._read += data
        else:
            self._read = b""
        super()._feed(data)

    def on_headers_complete(self) -> None:
        if any(name == b"host" and value.decode("latin-1") in self._previews for name, value in self.headers):
            self._give_away()
            raise StopReadingError
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._read = b""
        super().on_message_complete()

    def _give_away(self) -> None:
        if not self._read or self._running is not None or self.transport.get_write_buffer_size():
            self._refuse(_MISDIRECTED)
            return
        socket = self.transport.get_extra_info("socket")
        self.transport.pause_reading()
        if self._hand_over(socket.fileno(), self._read):
            self.give_way()
        else:
            self.transport.resume_reading()
            self._refuse(_NO_DOOR)
