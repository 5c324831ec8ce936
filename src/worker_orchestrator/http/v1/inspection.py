"""What a worker uses, and its environment variables."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.clock import Clock
from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.engines.extras import Environment, Stats
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.engine_calls import EngineCalls, not_supported
from worker_orchestrator.http.v1.responses import json_response, when
from worker_orchestrator.http.v1.usage_history import LONGEST_S, Reading, UsageHistory
from worker_orchestrator.telemetry.redaction import without_secrets
from worker_orchestrator.wire import v1 as wire

__all__ = ["WorkerInspection"]


class WorkerInspection:
    """What is under /v1/machines/{id}/stats and /environment."""

    def __init__(self, orchestrator: Orchestrator, calls: EngineCalls) -> None:
        self._orchestrator, self._calls = orchestrator, calls
        self._past = UsageHistory(Clock().wall_ms)

    async def stats(self, request: Request) -> Response:
        past_s = parameters.number(request.query_params, "past_seconds", 0, LONGEST_S) or 0
        machine = await parameters.path_machine(request, self._orchestrator)
        engine = self._calls.engine
        if not isinstance(engine, Stats):
            raise not_supported("measure what a worker uses")
        parameters.insist_on_running(machine)
        used = await self._calls.ask(request, engine.stats(machine.id))
        past = [_reading(one) for one in self._past.of(machine.id, past_s)]
        self._past.add(machine.id, used)
        return json_response(
            wire.Usage(
                cpu_percent=used.cpu_percent,
                cpu_seconds=used.cpu_seconds,
                memory_bytes=used.memory_bytes,
                memory_limit_bytes=used.memory_limit_bytes,
                processes=used.processes,
                received_bytes=used.received_bytes,
                sent_bytes=used.sent_bytes,
                past=past,
            )
        )

    async def environment(self, request: Request) -> Response:
        machine = await parameters.path_machine(request, self._orchestrator)
        engine = self._calls.engine
        if not isinstance(engine, Environment):
            raise not_supported("read the environment of a worker")
        variables = []
        environment = await self._calls.ask(request, engine.environment(machine.id))
        for name, value in sorted(environment.items()):
            shown = without_secrets(name, value)
            variables.append(wire.Variable(name=name, value=shown, hidden=shown != value))
        return json_response(wire.Environment(variables=variables))


def _reading(reading: Reading) -> wire.UsageReading:
    used = reading.used
    return wire.UsageReading(
        at=when(reading.at_ms),
        cpu_percent=used.cpu_percent,
        memory_bytes=used.memory_bytes,
        received_bytes=used.received_bytes,
        sent_bytes=used.sent_bytes,
    )
