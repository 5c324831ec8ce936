"""What a container uses, by Docker's own measurements.

The processor's share needs two samples (`engines/samples`). Memory is counted without the file cache, as Docker's own tools
do.
Source: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerStats
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from worker_orchestrator.engines.docker.calls import reading
from worker_orchestrator.engines.docker.connect import Endpoint
from worker_orchestrator.engines.docker.connector import Client
from worker_orchestrator.engines.docker.dialect import DOCKER, Dialect
from worker_orchestrator.engines.docker.reach import DockerReach, send_request, while_it_runs
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.engines.extras import Usage
from worker_orchestrator.engines.samples import Sample, Samples, fits
from worker_orchestrator.errors import NotRunning, NotSupported

__all__ = ["DockerStats"]

_PAUSE_S: Final = 0.2
_NANO: Final = 1_000_000_000
_FILE_CACHE: Final = ("total_inactive_file", "inactive_file")  # cgroups 1, cgroups 2


class DockerStats(DockerReach):
    """The measurements of containers."""

    def __init__(
        self,
        endpoint: Endpoint,
        client: Client,
        owner: str,
        options: Mapping[str, DockerOptions],
        dialect: Dialect = DOCKER,
    ) -> None:
        super().__init__(endpoint, client, owner, options, dialect)
        self._samples = Samples()

    async def stats(self, machine_id: str) -> Usage:
        native_id = await self._own(machine_id, running=True)
        if self._dialect.lacks_cgroups:
            raise NotSupported(
                "This engine cannot measure what a worker uses: it runs rootless on cgroups version 1, and counts its host."
            )
        stats = await self._measure(machine_id, native_id)
        now = _sample(stats, "cpu_stats", "read")
        before = self._samples.of(native_id) or _sample(stats, "precpu_stats", "preread")
        if now is not None and not fits(before, now):
            before = now
            await asyncio.sleep(_PAUSE_S)
            stats = await self._measure(machine_id, native_id)
            now = _sample(stats, "cpu_stats", "read")
        if now is None:
            raise NotRunning(f"The container of {machine_id} does not run.")
        self._samples.remember(native_id, now)
        with reading():
            return _usage(stats, now, before if fits(before, now) else None)

    async def _used(self, machine_id: str, native_id: str) -> Usage:
        """One sample, without the processor's share."""
        stats = await self._measure(machine_id, native_id)
        now = _sample(stats, "cpu_stats", "read")
        if now is None:
            raise NotRunning(f"The container of {machine_id} does not run.")
        with reading():
            return _usage(stats, now, None)

    async def _measure(self, machine_id: str, native_id: str) -> Mapping[str, Any]:
        # An engine that does not know `one-shot` takes two samples itself, and returns both.
        params = {"stream": "false", "one-shot": "true"}
        with while_it_runs(machine_id):
            async with send_request(self._client, "GET", f"/containers/{native_id}/stats", params=params) as response:
                stats: Mapping[str, Any] = msgspec.json.decode(await response.read())
        return stats


def _sample(stats: Mapping[str, Any], measured: str, time: str) -> Sample | None:
    """None if nothing was measured: Docker then gives a time in the year 1, and nothing for a container that ended."""
    try:
        taken = datetime.fromisoformat(stats[time])
        cpu_s = stats[measured]["cpu_usage"]["total_usage"] / _NANO
    except (LookupError, TypeError, ValueError):
        return None
    return Sample(taken.timestamp(), cpu_s) if taken.year > 1 else None


def _usage(stats: Mapping[str, Any], now: Sample, before: Sample | None) -> Usage:
    """What nobody counted is None: where control groups lack a controller, Docker says 0 of what a running container has."""
    memory = stats.get("memory_stats") or {}
    networks = stats.get("networks")
    share = None if before is None else (now.cpu_s - before.cpu_s) / (now.taken_s - before.taken_s)
    return Usage(
        cpu_percent=None if share is None or not now.cpu_s else 100 * share,
        cpu_seconds=now.cpu_s or None,
        memory_bytes=_without_file_cache(memory),
        memory_limit_bytes=memory.get("limit"),
        processes=(stats.get("pids_stats") or {}).get("current"),
        received_bytes=None if networks is None else sum(network["rx_bytes"] for network in networks.values()),
        sent_bytes=None if networks is None else sum(network["tx_bytes"] for network in networks.values()),
    )


def _without_file_cache(memory: Mapping[str, Any]) -> int | None:
    """None where the engine's cgroups do not count memory, so that nobody can know."""
    used: int | None = memory.get("usage")
    if not used:
        return None
    detail = memory.get("stats") or {}
    cached = next((detail[name] for name in _FILE_CACHE if name in detail), 0)
    return used - cached if cached < used else used
