"""What an engine offers that knows where its instances are reached from here: another of the extras (`extras.py`)."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

__all__ = ["Reachable"]


@runtime_checkable
class Reachable(Protocol):
    """An engine that publishes host ports on an address that callers of the service need not be able to use."""

    def address_of(self, machine_id: str) -> str:
        """The host name or address at which this process reaches the host ports of a machine."""
        ...
