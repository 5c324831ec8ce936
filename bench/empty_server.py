"""The least that can answer HTTP here: one event loop, one fixed reply, nothing parsed. python -m bench.empty_server PORT

What the load client reaches against it is the client's ceiling, and the limit of any server of one process in Python.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final, cast

import uvloop

_BODY: Final = (
    b'{"ip":"localhost","port":9093,"url":"http://localhost:9093","containerId":"worker-1795458288091-3foqe11bd"}'
)
_REPLY: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(_BODY),
    _BODY,
)


class _Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(_REPLY * data.count(b"\r\n\r\n"))


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Echo, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
