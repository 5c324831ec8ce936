"""What an engine offers whose workers can be kept on a network without a way out, beside a proxy: another of the extras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

__all__ = ["PROXY_PORT", "Fence", "Fenced"]

PROXY_PORT: Final = 3129
"""Of the proxy, on the address that its pool's network has on the host."""


@dataclass(frozen=True, slots=True)
class Fence:
    """The network of a pool. `address` is that of the host on it, where the proxy listens; `subnet` that of the workers."""

    address: str
    subnet: str


@runtime_checkable
class Fenced(Protocol):
    """An engine whose pools may have networks that lead to a proxy on the host, and nowhere else."""

    async def fences(self) -> Mapping[str, Fence]:
        """The networks that are there, by the names of their pools. Raises EngineError."""
        ...

    async def behind(self, pool: str) -> Mapping[str, str]:
        """The ids of the machines on the network of this pool, by their addresses. Raises EngineError."""
        ...
