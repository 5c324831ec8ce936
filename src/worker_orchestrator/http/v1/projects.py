"""Projects and their machines: assign, show, release, and how an assignment came about."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import asdict, replace
from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.control.caller import CALLER, pool_of_caller, shown, shown_project
from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.control.reading.views import configured
from worker_orchestrator.control.telling.traces import Trace
from worker_orchestrator.core.lease import Terms
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.core.reasons import OUTDATED, UNREACHABLE, not_the_current, sentence
from worker_orchestrator.core.refusals import machine_failed, machine_restarting, why_none_came
from worker_orchestrator.core.spec import DEFAULT_POOL
from worker_orchestrator.core.unreachable import is_unreachable
from worker_orchestrator.errors import InvalidInput, ProjectHasNoMachine
from worker_orchestrator.http.problems import code_of, problem
from worker_orchestrator.http.server.request_body import until_hang_up
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.configured_words import configured_in_words
from worker_orchestrator.http.v1.late_values import FilesTooLargeError, late_values
from worker_orchestrator.http.v1.responses import MachineShape, event, setup_of, tagged_response, when
from worker_orchestrator.wire import v1 as wire

__all__ = ["Projects"]

LONGEST_WAIT_S: Final = 3600
LONGEST_LEASE_S: Final = 365 * 86_400
METADATA_ENTRIES: Final = 32
METADATA_KEY: Final = 64
METADATA_VALUE: Final = 1024
_LATER: Final = "Once newer machines come up, "
_NOT_RECORDED: Final = "How the project got this machine was not recorded."


class Projects:
    """What is under /v1/projects. `obstacles` tells why no project can be given a machine of a pool now."""

    def __init__(
        self, orchestrator: Orchestrator, shape: MachineShape, obstacles: Callable[[str], Sequence[str]]
    ) -> None:
        self._orchestrator, self._shape, self._obstacles = orchestrator, shape, obstacles

    async def assign(self, request: Request) -> Response:
        project = parameters.path_project(request)
        body = await parameters.body(request, wire.AssignBody, optional=wire.AssignBody())
        wait_s = None if body.wait_seconds is None else _wait(body.wait_seconds)
        metadata = None if body.metadata is None else _metadata(body.metadata)
        pool = None if body.pool is None else _pool(body.pool)
        has_machine = CALLER.get() is not None and self._orchestrator.fleet.of_project(project) is not None
        pool = pool_of_caller(pool, has_machine=has_machine)
        try:
            values = await late_values(body)
        except FilesTooLargeError as error:
            return problem(413, code_of(413), "The files are too large", str(error))
        if values is not None and pool is not None:
            self._orchestrator.insist_on_pool(pool)  # else it would hear that this pool takes no values
        assigned = await self._orchestrator.assign_machine(
            project,
            pool,
            lambda: until_hang_up(request.receive),
            wait_s=wait_s,
            metadata=metadata,
            terms=_terms(body),
            values=values,
            replace=bool(body.replace),
        )
        shown = self._shape.of(await self._orchestrator.record(assigned.machine))
        if assigned.setup is not None:
            shown = replace(shown, setup=setup_of(assigned.setup))
        return tagged_response(shown, shown.generation, 201 if assigned.is_new else 200)

    async def keep_alive(self, request: Request) -> Response:
        project = parameters.path_project(request)
        body = await parameters.body(request, wire.KeepBody, optional=wire.KeepBody())
        await self._orchestrator.leases.keep_alive(project, _terms(body), *parameters.generations(request))
        return Response(status_code=204)

    async def sleep(self, request: Request) -> Response:
        project = parameters.path_project(request)
        machine = await self._orchestrator.sleepers.sleep(project, *parameters.generations(request))
        return await self._tagged(machine)

    async def wake(self, request: Request) -> Response:
        project = parameters.path_project(request)
        body = await parameters.body(request, wire.WakeBody, optional=wire.WakeBody())
        machine = await self._orchestrator.sleepers.wake(
            project,
            *parameters.generations(request),
            hung_up=lambda: until_hang_up(request.receive),
            wait_s=None if body.wait_seconds is None else _wait(body.wait_seconds),
        )
        return await self._tagged(machine)

    async def show(self, request: Request) -> Response:
        return await self._tagged(await self._orchestrator.machine_of(parameters.path_project(request)))

    async def _tagged(self, machine: Machine) -> Response:
        shown = self._shape.of(await self._orchestrator.record(machine))
        return tagged_response(shown, shown.generation)

    async def release(self, request: Request) -> Response:
        project = parameters.path_project(request)
        done = await self._orchestrator.release_of(project, *parameters.generations(request))
        machine = done.machine
        released = wire.Released(
            project=shown_project(project) or project,
            machine=machine.id,
            generation=machine.generation,
            removed=done.is_removed,
            retired=machine.pool not in self._orchestrator.spec.pools,
            cleaned=done.is_cleaned,
        )
        return tagged_response(released, released.generation)

    async def why(self, request: Request) -> Response:
        project = parameters.path_project(request)
        try:
            machine = await self._orchestrator.traced_machine_of(project)
        except ProjectHasNoMachine as error:
            told = (error.message, self._expiry(project), self._lost(project).strip(), self._why_none(project))
            raise ProjectHasNoMachine(" ".join(filter(None, told))) from None
        trace = self._orchestrator.trace(project)
        events = [event(one) for one in self._orchestrator.feed.of_assignment(machine)]
        assigned_at = [one.at for one in events if one.cause == "assigned"]

        trouble = self._impediment(machine)
        refused = self._orchestrator.traces.refused.told(machine)
        how_it_came = f"{_NOT_RECORDED if trace is None else _sentence(trace.why)}{self._outdated(machine)}"
        explanation = wire.Why(
            project=shown_project(project) or project,
            machine=machine.id,
            generation=machine.generation,
            at=when(trace.at_ms) if trace is not None else assigned_at[-1] if assigned_at else None,
            how="unknown" if trace is None else trace.how,
            why=shown(f"{how_it_came}{self._lost(project)}{self._configured(machine)}{refused}{trouble}"),
            trouble=shown(trouble.strip()) or None,
            stages=None if trace is None else _stages(trace),
            failed_probes=[
                wire.FailedProbe(machine=name, detail=detail) for name, detail in (trace.failed_probes if trace else ())
            ],
            events=events,
            pool=machine.pool,
            configured=configured(machine, self._orchestrator.spec.pool(machine.pool)),
        )
        return tagged_response(explanation, machine.generation)

    def _expiry(self, project: str) -> str:
        """Which deadline has taken a machine from it, if that is among the last expiries of a pool; else empty."""
        feed, pools = self._orchestrator.feed, self._orchestrator.spec.pools
        ended = [one for pool in pools for one in feed.expiries(pool) if one.project == project]
        if not ended:
            return ""
        last = max(ended, key=lambda one: one.id)
        return f"It lost {last.machine} at {when(last.at_ms):%Y-%m-%dT%H:%M:%SZ}. {last.reason}"

    def _lost(self, project: str) -> str:
        """Which machine it had before, after a blank, if that was removed since its set-up failed; else empty."""
        lost = self._orchestrator.traces.lost(project)
        if lost is None:
            return ""
        had = f"It had {lost.machine_id}, whose set-up failed at {when(lost.at_ms):%Y-%m-%dT%H:%M:%SZ}, so that was removed."
        return f" {had} {lost.why} `orchestrator events --machine {lost.machine_id}` tells its story."

    def _why_none(self, project: str) -> str:
        """What a project without a machine waits for, or would hear if it asked for one now, without naming a pool."""
        fleet, spec = self._orchestrator.fleet, self._orchestrator.spec
        waits_for = fleet.waiting.get(project)
        pool = waits_for or DEFAULT_POOL
        why = " ".join(map(sentence, self._obstacles(pool)))
        if not why and not fleet.count_idle(pool):
            why = why_none_came(fleet, spec, pool)
        if waits_for is not None:
            line = "It waits in line" if len(spec.pools) == 1 else f"It waits in line for a machine of the pool {pool}"
            return f"{line}. {why}".rstrip()
        return f"It cannot get one now. {why}" if why else f"Run `orchestrator assign {project}` to get one."

    def _outdated(self, machine: Machine) -> str:
        """That it is of an older template, and what to do, after a blank."""
        pool, fleet = self._orchestrator.spec.pool(machine.pool), self._orchestrator.fleet
        if pool.template is None or not pool.is_outdated(machine.template):
            return ""
        release = (
            f"`orchestrator release {machine.project}` gets the project a new one; the files in this one are lost."
        )
        brake = fleet.brake_in_force(machine.pool, pool.template)
        if brake is not None:
            return f" {not_the_current(brake.reason)} {_LATER}{release}"
        comes_up = fleet.has_come_up(machine.pool, pool.template)
        return f" {OUTDATED} Both were current when it was made. {'' if comes_up else _LATER}{release}"

    def _configured(self, machine: Machine) -> str:
        """Whether it has the values of its project, and why not, after a blank; empty if its pool takes none."""
        is_told = configured(machine, self._orchestrator.spec.pool(machine.pool)) is not None
        return f" {configured_in_words(machine)}" if is_told else ""

    def _impediment(self, machine: Machine) -> str:
        """What keeps it from serving, and what comes next, after a blank."""
        fleet = self._orchestrator.fleet
        if machine.state is State.FAILED:
            return f" {machine_failed(self._orchestrator.spec, machine).message}"
        if machine.state is State.STARTING:
            return f" {machine_restarting(fleet, machine, self._orchestrator.now()).message}"
        if machine.state is State.SLEEPING:
            return f" It sleeps now. {machine.reason} `orchestrator wake {machine.project}` wakes it, and so does an assign."
        ailment = fleet.ailing.get(machine.id)
        if ailment is not None:
            return f" It cannot serve now. {ailment}"
        return f" {UNREACHABLE}" if is_unreachable(fleet, machine) else ""


def _wait(seconds: float) -> float:
    return parameters.check_range(seconds, "wait_seconds", 0, LONGEST_WAIT_S)


def _pool(name: str) -> str:
    if not name:
        raise InvalidInput("pool is empty, but must be the name of a pool, or be left out.")
    return parameters.check_text(name, "pool", 128)


def _terms(body: wire.AssignBody | wire.KeepBody) -> Terms:
    asked = Terms(body.ttl, body.max_age, body.idle_timeout, body.confirm_within)
    for name, value in asdict(asked).items():
        if value and not 1 <= value <= LONGEST_LEASE_S:
            allowed = f"must be from 1 to {LONGEST_LEASE_S} seconds, or 0 for no such deadline"
            raise InvalidInput(f"{name} is {value:.15g}, but {allowed}.")
    return asked


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
