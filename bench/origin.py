"""What serves behind both proxies when previews are measured: it costs so little that the proxies are what is seen.

usage: python -m bench.origin PORT

`GET /large/N` is answered with N bytes, a request with a body with an empty reply when all of it has come, and all else
with a small page.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final, cast

import uvloop

_PAGE: Final = b"<!doctype html><title>A page</title><p>A small page, as a worker serves it.</p>".ljust(256)
_SMALL: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (len(_PAGE), _PAGE)
_TAKEN: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_LARGE: Final = b"GET /large/"
_PIECE: Final = bytes(256 * 1024)
_END: Final = b"\r\n\r\n"


class _Origin(asyncio.BufferedProtocol):
    """What is read goes into one buffer and is not kept. The head of a request comes in one piece, as proxies send it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=2 * len(_PIECE))
        self._buffer = bytearray(len(_PIECE))
        self._left, self._to_send, self._is_full = 0, 0, False

    def get_buffer(self, _sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, count: int) -> None:
        if self._left:
            self._take(count)
            return
        data = bytes(self._buffer[:count])
        head, _, rest = data.partition(_END)
        if head.startswith(_LARGE):
            self._to_send = int(head[len(_LARGE) : head.index(b" ", len(_LARGE))])
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self._to_send)
            self._send()
        elif b"\r\ncontent-length: " in (lowered := head.lower()):
            self._left = int(lowered.partition(b"\r\ncontent-length: ")[2].partition(b"\r")[0])
            self._take(len(rest))
        else:
            self._transport.write(_SMALL)

    def _take(self, count: int) -> None:
        self._left -= count
        if not self._left:
            self._transport.write(_TAKEN)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        self._send()

    def _send(self) -> None:
        while self._to_send and not self._is_full:
            count = min(self._to_send, len(_PIECE))
            self._to_send -= count
            self._transport.write(_PIECE if count == len(_PIECE) else _PIECE[:count])


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Origin, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
