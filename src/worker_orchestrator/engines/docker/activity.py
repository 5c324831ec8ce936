"""Whether a container is used: what it received, sent and computed, and whether a connection to it is open.

Where Docker runs on this computer that is read from the kernel, by the main process of the container, which is known
already (`watching.py`). Elsewhere, and where a container has more processes than may be followed, Docker is asked. With a
runtime such as gVisor the connections are not in the tables of the kernel: then they are read from inside.
"""

from __future__ import annotations

import asyncio
from typing import Final

from worker_orchestrator.core.activity import Counters
from worker_orchestrator.engines.docker.calls import reading
from worker_orchestrator.engines.docker.exec import DockerExec
from worker_orchestrator.engines.docker.proc_counters import (
    connections_in,
    cpu_seconds_of,
    is_listening,
    tables_of,
    traffic_of,
)
from worker_orchestrator.engines.docker.stats import DockerStats
from worker_orchestrator.engines.docker.watching import DockerWatching
from worker_orchestrator.errors import EngineRejected, EngineUnavailable, NotRunning

__all__ = ["DockerActivity"]

_TABLES: Final = ("cat", "/proc/net/tcp", "/proc/net/tcp6")
_READ_WITHIN_S: Final = 1.5


class DockerActivity(DockerWatching, DockerStats, DockerExec):
    """Reads of a container what shows its use."""

    async def counters(self, machine_id: str, *, cpu: bool) -> Counters:
        container = await self._looked_up_container(machine_id)  # else it is counted in two ways
        return self._counted_here(container, cpu=cpu) or await self._counted_there(machine_id, container)

    def _counted_here(self, container: str, *, cpu: bool) -> Counters | None:
        """What the kernel of this computer counts; None if it does not count this container, or not all of it."""
        now, pid = asyncio.get_running_loop().time(), self._processes.living(container)
        if pid is None:
            return None
        traffic, cpu_s = traffic_of(pid), cpu_seconds_of(pid, container) if cpu else None
        is_the_same = self._processes.living(container) == pid  # else the number may be that of another process
        if traffic is None or (cpu and cpu_s is None) or not is_the_same:
            return None
        return Counters(now, *traffic, cpu_s, run=f"process {pid}")

    async def _counted_there(self, machine_id: str, container: str) -> Counters:
        now = asyncio.get_running_loop().time()
        used = await self._used(machine_id, container)
        cpu_s = None if self._dialect.lacks_cgroups else used.cpu_seconds  # else those of its host
        return Counters(now, used.received_bytes, used.sent_bytes, cpu_s)

    async def is_connected(self, machine_id: str) -> bool | None:
        container = self._container_of(machine_id)
        with reading():
            details = await self._client.containers.get(container)
            pid, ports = int(details["State"]["Pid"]), _ports(details["NetworkSettings"].get("Ports") or {})
        if not pid:
            raise NotRunning(f"The container of {machine_id} does not run.")
        tables = tables_of(pid) if self._processes.living(container) == pid else ""
        if not is_listening(tables, ports):
            tables = await self._tables_inside(machine_id)
        return bool(connections_in(tables, ports)) if tables else None

    async def _tables_inside(self, machine_id: str) -> str:
        """The tables of TCP connections as the container sees them; empty if its image has nothing to read them with.

        Raises EngineUnavailable if that took too long: then nothing is known.
        """
        try:
            done = await self.exec(machine_id, _TABLES, timeout_s=_READ_WITHIN_S)
        except EngineRejected:
            return ""
        if done.exit_code is None:
            raise EngineUnavailable(f"The connections of {machine_id} could not be read within {_READ_WITHIN_S:g} s.")
        return done.stdout.decode(errors="replace")


def _ports(published: dict[str, object]) -> frozenset[int]:
    """The ports in the container, from names such as 80/tcp."""
    return frozenset(int(name.partition("/")[0]) for name in published)
