"""Where the proxies of pools belong whose workers reach names only, and who is behind them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from worker_orchestrator.engines.docker.calls import is_missing
from worker_orchestrator.engines.docker.fenced_networks import fence_of, inspected
from worker_orchestrator.engines.docker.lifecycle import DockerLifecycle
from worker_orchestrator.engines.fenced import Fence
from worker_orchestrator.errors import EngineRejected

__all__ = ["DockerFences"]


class DockerFences(DockerLifecycle):
    """Says where the proxies of pools belong."""

    async def fences(self) -> Mapping[str, Fence]:
        found = dict[str, Fence]()
        for pool, options in self._pools.all.items():
            if options.outbound == "names":
                with contextlib.suppress(EngineRejected):  # it is not there yet
                    found[pool] = fence_of(await inspected(self._client, self._networks.name_for(pool, options)))
        return found

    async def behind(self, pool: str) -> Mapping[str, str]:
        name = self._networks.name_for(pool, self._pools.chosen(pool))
        try:
            network = await inspected(self._client, name)
        except EngineRejected as error:
            if not is_missing(error):
                raise
            return {}
        containers = (network.get("Containers") or {}).values()
        return {str(one["IPv4Address"]).partition("/")[0]: str(one["Name"]) for one in containers}
