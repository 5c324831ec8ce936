"""Removes the networks that nothing needs any more, while the service runs.

* A network that workers share: no pool puts new workers on it, and no container of ours belongs to it, running or not. That
  must have been so in the look before as well, since a container that is just being made is in no listing yet. Should one
  need it all the same, its start makes it again.
* The network of a worker that is gone (`own_networks`).

The last shared network stays until `down`, because it is our mark on the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import structlog

from worker_orchestrator.engines.docker.calls import reading
from worker_orchestrator.engines.docker.listed import Listed
from worker_orchestrator.engines.docker.network import WorkerNetworks
from worker_orchestrator.engines.docker.own_networks import OwnNetworks
from worker_orchestrator.engines.docker.template import LABEL, NETWORK
from worker_orchestrator.errors import EngineError, EngineRejected

__all__ = ["Tidying"]

TIDY_EVERY_S: Final = 20.0
"""How often leftover networks are looked for, and removed within `TIDY_LIMIT_S`."""
TIDY_LIMIT_S: Final = 30.0

_log = structlog.get_logger(__name__)


class Tidying:
    """Looks at the networks again and again. `in_use` returns those on which new workers are put now.

    `containers` lists those of the workers. `own` is None on an engine that gives no worker a network of its own.
    """

    def __init__(
        self,
        shared: WorkerNetworks,
        own: OwnNetworks | None,
        in_use: Callable[[], AbstractSet[str]],
        containers: Callable[[], Awaitable[Sequence[Listed]]],
    ) -> None:
        self._shared, self._own, self._in_use, self._containers = shared, own, in_use, containers
        self._left: frozenset[str] = frozenset()  # shared networks that nothing needed in the last look
        self._told: set[str] = set()  # networks that could not be removed, so that each is told of once

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(TIDY_EVERY_S)
            with contextlib.suppress(EngineError, TimeoutError):
                async with asyncio.timeout(TIDY_LIMIT_S):
                    await self._tidy_shared()
                    if self._own is not None:
                        await self._tidy_own(self._own)

    async def _tidy_shared(self) -> None:
        unneeded = set(await self._shared.unneeded(self._in_use()))
        if unneeded:
            with reading():
                unneeded -= {_network_of(container) for container in await self._containers()}
        for name in sorted(unneeded & self._left):
            try:
                await self._shared.discard(name, self._in_use)
            except EngineRejected as error:
                if name not in self._told:
                    self._told.add(name)
                    _log.warning("a leftover network cannot be removed", network=name, why=error.message)
        self._left = frozenset(unneeded)

    async def _tidy_own(self, own: OwnNetworks) -> None:
        seen = await own.seen()
        with reading():
            ids = {container["Labels"][f"{LABEL}.machine"] for container in await self._containers()}
        await own.sweep(seen, ids)


def _network_of(container: Listed) -> str:
    """The network that it was made for, also while somebody has taken it off."""
    return str(container["Labels"].get(NETWORK) or container["HostConfig"]["NetworkMode"])
