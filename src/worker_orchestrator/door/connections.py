"""The open connections, of the service and of the door. Idle ones never keep a new caller out: they make room, the longest
idle one first.

A connection is idle while no request of it is being answered; half a head does not count. One client may have `per_client`
connections, all together `total`. Every step is O(1).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Connection", "Connections"]


class Connection(Protocol):
    """One connection, as far as `Connections` needs it."""

    def give_way(self) -> None:
        """Close now; no request is being answered."""


_Idle = OrderedDict[Connection, str]  # from a connection to its client; the longest idle one first


@dataclass(slots=True)
class _Client:
    count: int = 0
    idle: _Idle = field(default_factory=OrderedDict)


class Connections:
    """The open connections. One that gave way counts no more from then on, whenever its socket is closed."""

    def __init__(self, per_client: int, total: int) -> None:
        self._per_client, self._total = per_client, total
        self._client_of: dict[Connection, str] = {}
        self._clients: dict[str, _Client] = {}
        self._idle: _Idle = OrderedDict()

    def __len__(self) -> int:
        return len(self._client_of)

    def admit(self, connection: Connection, client: str, *, shares_all: bool = False) -> bool:
        """Count a new connection, which is idle; False if there is no room and none can be made.

        `shares_all`: this client stands for many, so only the limit of all together holds for it.
        """
        known = None if shares_all else self._clients.get(client)
        if known is not None and known.count >= self._per_client and not self._make_room(known.idle):
            return False
        if len(self._client_of) >= self._total and not self._make_room(self._idle):
            return False
        self._client_of[connection] = client
        self._clients.setdefault(client, _Client()).count += 1
        self.rest(connection)
        return True

    def begin(self, connection: Connection) -> None:
        """A request of it is being answered."""
        client = self._client_of.get(connection)
        if client is not None:
            self._idle.pop(connection, None)
            self._clients[client].idle.pop(connection, None)

    def rest(self, connection: Connection) -> None:
        """All its requests have been answered: it is idle from now on, even if it was idle before."""
        client = self._client_of.get(connection)
        if client is not None:
            idle = self._clients[client].idle
            self._idle[connection] = idle[connection] = client
            self._idle.move_to_end(connection)
            idle.move_to_end(connection)

    def leave(self, connection: Connection) -> None:
        """It is closed: count it no more."""
        self.begin(connection)
        client = self._client_of.pop(connection, None)
        if client is not None:
            known = self._clients[client]
            known.count -= 1
            if not known.count:
                del self._clients[client]

    def _make_room(self, idle: _Idle) -> bool:
        oldest = next(iter(idle), None)
        if oldest is None:
            return False
        self.leave(oldest)
        oldest.give_way()
        return True
