"""The server of a replica that does not lead. It goes on with what it relays when the replica becomes the leader.

A leader that is stopped, or cut off, ends no connection. So those that were given to a replica which leads no more are ended
after a while, in which it may answer what it was asked before.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from worker_orchestrator.door.connections import Connections
from worker_orchestrator.http.server.uvicorn_server import BACKLOG
from worker_orchestrator.service.replicas.answers import Wayside
from worker_orchestrator.service.replicas.relaying import Client

__all__ = ["StandingBy"]

MOST_CONNECTIONS: Final = 8_192
"""Each that is relayed has two sockets."""
LOOKS_EVERY_S: Final = 0.25
LEFT_S: Final = 1.0
"""So long one that leads no more may go on to answer what it was asked. If it ends by itself it turns all away at once."""
END_S: Final = 2.0
"""At the end of the process, what is relayed has so long. Nobody here knows whether a request of it is being answered."""


class StandingBy:
    """`own` is the address of this replica. `leader` returns that of the leader, as `relaying.Client` needs it."""

    def __init__(self, wayside: Wayside, leader: Callable[[], str], own: str, connections_per_client: int) -> None:
        self._wayside, self._leader, self._own = wayside, leader, own
        self._connections = Connections(connections_per_client, MOST_CONNECTIONS)
        self._clients = set[Client]()
        self._left: dict[Client, float] = {}  # since when (loop time) whom it was given to leads no more
        self._servers: list[asyncio.Server] = []

    async def open(self, sockets: list[socket.socket]) -> None:
        """Serve on copies of these sockets, unless it does."""
        if self._servers:
            return
        loop = asyncio.get_running_loop()
        for each in sockets:
            self._servers.append(await loop.create_server(self._made, sock=each.dup(), backlog=BACKLOG))

    def close(self) -> None:
        """Take no more connections. Those that were asked something go on."""
        servers, self._servers = self._servers, []
        for server in servers:
            server.close()
        for client in [each for each in self._clients if each.is_waiting]:
            client.close()

    async def run(self) -> None:
        """End what hangs, for ever."""
        while True:
            now, leader = asyncio.get_running_loop().time(), self._leader()
            stale = {each for each in self._clients if each.address and each.address != leader}
            self._left = {each: self._left.get(each, now) for each in stale}
            for client in [each for each, since in self._left.items() if now - since > LEFT_S]:
                client.give_way()
            await asyncio.sleep(LOOKS_EVERY_S)

    async def aclose(self) -> None:
        """End all, with a moment for what is being answered."""
        self.close()
        deadline = asyncio.get_running_loop().time() + END_S
        while self._clients and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 # they may be thousands
            await asyncio.sleep(0.05)
        for client in list(self._clients):
            with suppress(OSError):
                client.give_way()

    def _made(self) -> Client:
        return Client(self._wayside, self._leader, self._own, self._connections, self._clients)
