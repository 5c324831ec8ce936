"""The least that can answer HTTP: one event loop, one fixed reply, no parsing.

usage: python -m bench.empty_server PORT [DATABASE]      with a database, one commit for each request

What the load client reaches against it is the ceiling of the client, and of any server in one Python process.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path
from typing import Final, cast

import uvloop

from bench.bare import BareStore

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


class _Storing(_Echo):
    store: BareStore
    _numbers = itertools.count()

    def data_received(self, data: bytes) -> None:
        self.store.commit(next(self._numbers))
        super().data_received(data)


async def _serve(port: int, protocol: type[_Echo]) -> None:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    protocol = _Echo
    if sys.argv[2:]:
        _Storing.store, protocol = BareStore(Path(sys.argv[2]), "NORMAL"), _Storing
    uvloop.run(_serve(int(sys.argv[1]), protocol))
