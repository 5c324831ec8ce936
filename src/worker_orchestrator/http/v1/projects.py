"""Projects and their machines: assign, show, release, and how an assignment came about."""

from __future__ import annotations

import json
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.control.telling.traces import Trace
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.core.reasons import sentence
from worker_orchestrator.core.refusals import machine_failed, machine_restarting
from worker_orchestrator.errors import InvalidInput
from worker_orchestrator.http.server.request_body import until_hang_up
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.responses import MachineShape, event, tagged_response, when
from worker_orchestrator.wire import v1 as wire

__all__ = ["Projects"]

LONGEST_WAIT_S: Final = 3600
METADATA_ENTRIES: Final = 32
METADATA_KEY: Final = 64
METADATA_VALUE: Final = 1024
_NOT_RECORDED: Final = "How the project got this machine was not recorded."


class Projects:
    """What is under /v1/projects."""

    def __init__(self, orchestrator: Orchestrator, shape: MachineShape, pool: str) -> None:
        self._orchestrator, self._shape, self._pool = orchestrator, shape, pool

    async def assign(self, request: Request) -> Response:
        project = parameters.path_project(request)
        body = await parameters.body(request, wire.AssignBody, optional=wire.AssignBody())
        wait_s = None if body.wait_seconds is None else _wait(body.wait_seconds)
        metadata = None if body.metadata is None else _metadata(body.metadata)
        assigned = await self._orchestrator.assign_machine(
            project, self._pool, lambda: until_hang_up(request.receive), wait_s=wait_s, metadata=metadata
        )
        shown = self._shape.of(await self._orchestrator.record(assigned.machine))
        return tagged_response(shown, shown.generation, 201 if assigned.is_new else 200)

    async def show(self, request: Request) -> Response:
        machine = await self._orchestrator.machine_of(parameters.path_project(request))
        shown = self._shape.of(await self._orchestrator.record(machine))
        return tagged_response(shown, shown.generation)

    async def release(self, request: Request) -> Response:
        project = parameters.path_project(request)
        machine = await self._orchestrator.release_of(project, *parameters.generations(request))
        return tagged_response(
            wire.Released(project=project, machine=machine.id, generation=machine.generation), machine.generation
        )

    async def why(self, request: Request) -> Response:
        project = parameters.path_project(request)
        machine = await self._orchestrator.machine_of(project)
        trace = self._orchestrator.trace(project)
        events = [event(one) for one in self._orchestrator.feed.of_assignment(machine)]
        assigned_at = [one.at for one in events if one.cause == "assigned"]

        explanation = wire.Why(
            project=project,
            machine=machine.id,
            generation=machine.generation,
            at=when(trace.at_ms) if trace is not None else assigned_at[-1] if assigned_at else None,
            how="unknown" if trace is None else trace.how,
            why=(_NOT_RECORDED if trace is None else _sentence(trace.why)) + self._what_now(machine),
            stages=None if trace is None else _stages(trace),
            failed_probes=[
                wire.FailedProbe(machine=name, detail=detail) for name, detail in (trace.failed_probes if trace else ())
            ],
            events=events,
        )
        return tagged_response(explanation, machine.generation)

    def _what_now(self, machine: Machine) -> str:
        """What keeps it from serving, and what comes next, after a blank; empty if nothing does."""
        fleet = self._orchestrator.fleet
        if machine.state is State.FAILED:
            return f" {machine_failed(self._orchestrator.spec, machine).message}"
        if machine.state is State.STARTING:
            return f" {machine_restarting(fleet, machine, self._orchestrator.now()).message}"
        ailment = fleet.ailing.get(machine.id)
        return "" if ailment is None else f" It cannot serve now. {ailment}"


def _wait(seconds: float) -> float:
    return parameters.check_range(seconds, "wait_seconds", 0, LONGEST_WAIT_S)


def _metadata(entries: dict[str, str]) -> str:
    """The entries as JSON, sorted, so that the same entries are always the same text. Raises InvalidInput."""
    if len(entries) > METADATA_ENTRIES:
        raise InvalidInput(f"metadata has {len(entries)} entries, but may have {METADATA_ENTRIES} at most.")
    for key, value in entries.items():
        if not 1 <= len(key) <= METADATA_KEY:
            raise InvalidInput(f"metadata has the key {key[:40]!r}, but a key has 1 to {METADATA_KEY} characters.")
        if len(value) > METADATA_VALUE:
            raise InvalidInput(f"metadata has {len(value)} characters under {key!r}, but may have {METADATA_VALUE}.")
    return json.dumps(entries, sort_keys=True, ensure_ascii=True) if entries else ""


def _sentence(text: str) -> str:
    """Traces of earlier versions are stored without a capital letter and a full stop."""
    return f"{text[:1].upper()}{sentence(text[1:])}"


def _stages(trace: Trace) -> wire.Stages:
    return wire.Stages(
        line_ms=trace.line_ms,
        create_ms=trace.create_ms,
        ready_ms=trace.ready_ms,
        probe_ms=trace.probe_ms,
        commit_ms=trace.commit_ms,
        total_ms=trace.total_ms,
    )
