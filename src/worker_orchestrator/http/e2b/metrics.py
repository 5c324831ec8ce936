"""What a sandbox uses, in E2B's form: a reading now, and those of earlier calls. What the engine does not measure is 0."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.clock import Clock
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.extras import Stats
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.engine_calls import EngineCalls, not_supported
from worker_orchestrator.http.v1.usage_history import LONGEST_S, Reading, UsageHistory

__all__ = ["Metrics"]

_LAST_S = 253_402_300_799  # the end of the year 9999


class Metrics:
    """The readings of all sandboxes at which somebody looked."""

    def __init__(self, calls: EngineCalls) -> None:
        self._calls, self._clock = calls, Clock()
        self._past = UsageHistory(self._clock.wall_ms)

    async def of(self, request: Request, machine: Machine) -> Response:
        """Those from `start` to `end`, in seconds since 1970, oldest first. Raises OrchestratorError."""
        query = request.query_params
        start_s = parameters.number(query, "start", 0, _LAST_S) or 0
        end_s = parameters.number(query, "end", 0, _LAST_S) or _LAST_S
        engine = self._calls.engine
        if not isinstance(engine, Stats):
            raise not_supported("measure what a worker uses")
        used = await self._calls.ask(request, engine.stats(machine.id))
        past = self._past.of(machine.id, LONGEST_S)
        self._past.add(machine.id, used)
        readings = [*past, Reading(self._clock.wall_ms(), used)]
        wanted = [one for one in readings if start_s * 1000 <= one.at_ms < (end_s + 1) * 1000]
        return Response(msgspec.json.encode([_shown(one) for one in wanted]), media_type="application/json")


def _shown(reading: Reading) -> dict[str, Any]:
    used = reading.used
    return {
        "timestamp": datetime.fromtimestamp(reading.at_ms / 1000, UTC),
        "timestampUnix": reading.at_ms // 1000,
        "cpuCount": 0,
        "cpuUsedPct": used.cpu_percent or 0.0,
        "memUsed": used.memory_bytes or 0,
        "memTotal": used.memory_limit_bytes or 0,
        "memCache": 0,
        "diskUsed": 0,
        "diskTotal": 0,
    }
