"""What comes in after the head of a request, as ASGI tells it: the body, then nothing until the client hangs up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

__all__ = ["BodyTooLargeError", "HungUpError", "RequestBody", "until_hang_up"]

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class BodyTooLargeError(Exception):
    """The body has more bytes than it may have."""


class HungUpError(Exception):
    """The client closed the connection."""


class RequestBody:
    """The body of one request, of at most `limit_bytes`. `is_closed`: the client has hung up."""

    def __init__(self, receive: Receive, limit_bytes: int) -> None:
        self._receive, self.limit_bytes = receive, limit_bytes
        self.is_closed = False

    async def read(self) -> bytes:
        """The whole body. Raises BodyTooLargeError, HungUpError."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.is_closed = True
                raise HungUpError
            part = message.get("body", b"")
            size += len(part)
            if size > self.limit_bytes:
                raise BodyTooLargeError
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    async def hung_up(self) -> None:
        """Return when the client has hung up."""
        await until_hang_up(self._receive)
        self.is_closed = True


async def until_hang_up(receive: Receive) -> None:
    """Return when the client has hung up; bytes of the body that come before that are dropped."""
    while (await receive())["type"] != "http.disconnect":
        pass
