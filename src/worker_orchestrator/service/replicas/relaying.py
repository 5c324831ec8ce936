"""One connection at a replica that does not lead: its first head is read, and then all of it goes to the leader.

What was read goes on as it is, but for one field that says so, and then whatever follows in both directions: bodies,
streams, upgrades, and further requests of the same connection. So the leader judges all of it as if it had come there, but
for the address it came from.

Until a leader can be reached, a connection is held. Nothing of it has been sent by then, so trying again is safe; and of a
client that has hung up meanwhile nothing is sent at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from worker_orchestrator.door.connections import Connections
from worker_orchestrator.http.reply import Reply
from worker_orchestrator.http.server import limits
from worker_orchestrator.service.replicas.answers import NO_LEADER, Asked, Wayside, asked, encoded, marked

__all__ = ["Client"]

HELD_S: Final = 10.0
"""So long a connection waits for a leader: longer than it takes to elect one."""
TRIES_EVERY_S: Final = 0.1
CONNECT_S: Final = 2.0
_HELD_BYTES: Final = 256 * 1024
"""So much is read of a connection that nobody has taken yet."""
_END: Final = b"\r\n\r\n"


class _Leader(asyncio.Protocol):
    """The other half of a relayed connection."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._client.transport.write(data)

    def pause_writing(self) -> None:
        self._client.transport.pause_reading()

    def resume_writing(self) -> None:
        self._client.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 # asyncio calls it so
        self._client.close()


class Client(asyncio.Protocol):
    """A connection that a replica was given, whose own address is `own`.

    `leader` returns the address of the leader, empty if there is none; its own only while it serves as that. `known` has
    those that are open.
    """

    transport: asyncio.Transport

    def __init__(
        self,
        wayside: Wayside,
        leader: Callable[[], str],
        own: str,
        connections: Connections,
        known: set[Client],
    ) -> None:
        self._wayside, self._leader, self._own = wayside, leader, own
        self._connections, self._known = connections, known
        self._read = b""
        self._request: Asked | None = None
        self._other: _Leader | None = None
        self._linking: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_answered = False
        self.address = ""  # of the leader that it was given to

    # asyncio's side

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._known.add(self)
        peer = transport.get_extra_info("peername")
        if not self._connections.admit(self, str(peer[0]) if peer else ""):
            self._answer(limits.NO_ROOM)
            return
        self._timer = asyncio.get_running_loop().call_later(limits.HEAD_S, self.close)

    def data_received(self, data: bytes) -> None:
        if self._other is not None and self._other.transport is not None:
            self._other.transport.write(data)
        elif not self._is_answered:
            self._read += data
            if self._request is None:
                self._look()
            elif len(self._read) > _HELD_BYTES:
                self.transport.pause_reading()

    def pause_writing(self) -> None:
        if self._other is not None and self._other.transport is not None:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None and self._other.transport is not None:
            self._other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 # as above
        self._connections.leave(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._linking is not None:
            self._linking.cancel()
        if self._other is not None and self._other.transport is not None:
            self._other.transport.close()
        self._known.discard(self)

    # ours

    @property
    def is_waiting(self) -> bool:
        """Whether nothing was asked on it so far."""
        return self._request is None and not self._is_answered

    def close(self) -> None:
        self.transport.close()

    def give_way(self) -> None:
        self.transport.abort()

    def _look(self) -> None:
        """Read the first head, once it is complete."""
        head, end, _ = self._read.partition(_END)
        if len(head) > limits.HEAD_LIMIT_BYTES:
            self._answer(limits.head_too_large())
            return
        if not end:
            return
        self._connections.begin(self)
        self._request = asked(head)
        if self._request is None:
            self._answer(limits.NOT_HTTP)
            return
        reply = self._wayside.reply(self._request, self._leader())
        if reply is not None:
            self._answer(reply)
            return
        if self._timer is not None:
            self._timer.cancel()
        self._linking = asyncio.get_running_loop().create_task(self._link(), name="relay")

    def _answer(self, reply: Reply) -> None:
        """Send this, and end the connection; what is still on its way here is read for a moment, and dropped."""
        self._is_answered, self._read = True, b""
        self.transport.write(encoded(reply, self._request))
        if self._timer is not None:
            self._timer.cancel()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = asyncio.get_running_loop().call_later(limits.LINGER_S, self.close)

    async def _link(self) -> None:
        """Give the connection to the leader, as soon as one can be reached."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + HELD_S
        while loop.time() < deadline:
            address = self._leader()
            if address and self._is_relayed and address != self._own:
                break  # whoever gave it to us knows less than we do, for a moment
            if address and await self._is_linked(address):
                return
            await asyncio.sleep(TRIES_EVERY_S)
        self._answer(NO_LEADER)

    @property
    def _is_relayed(self) -> bool:
        return self._request is not None and self._request.is_relayed

    async def _is_linked(self, address: str) -> bool:
        parts = urlsplit(address)
        other = _Leader(self)
        try:
            async with asyncio.timeout(CONNECT_S):
                await asyncio.get_running_loop().create_connection(
                    lambda: other, parts.hostname or "", parts.port or 80
                )
        except (OSError, TimeoutError):
            return False
        assert other.transport is not None, "it is connected"
        if self.transport.is_closing():
            other.transport.close()
            return True
        self._other, self.address = other, address
        self.transport.resume_reading()  # what is written next may pause it again
        other.transport.write(self._read if self._is_relayed else marked(self._read))
        self._read = b""
        return True
