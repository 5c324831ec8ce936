"""Machines, with or without a project: list, show, restart, destroy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.control.caller import CALLER, is_visible, shown_project
from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.responses import STATES, MachineShape, json_response, state_of, tagged_response
from worker_orchestrator.wire import v1 as wire

__all__ = ["Machines"]


MOST_POOLS: Final = 100
"""So many pools a list may be of."""


class Machines:
    """What is under /v1/machines and needs only the record of a machine, not the engine."""

    def __init__(self, orchestrator: Orchestrator, shape: MachineShape) -> None:
        self._orchestrator, self._shape = orchestrator, shape

    async def list(self, request: Request) -> Response:
        query = request.query_params
        limit = parameters.number(query, "limit", 1, 1000) or 100
        after = parameters.text(query, "after", 128)
        matches = _filter(request)
        records = [one for one in await self._orchestrator.records() if is_visible(one.machine)]
        views = [one for one in records if one.machine.id > after and matches(one.machine)]
        page = [self._shape.of(view) for view in views[:limit]]
        return json_response(wire.Machines(machines=page, next=page[-1].id if len(views) > limit else None))

    async def show(self, request: Request) -> Response:
        machine = await parameters.path_machine(request, self._orchestrator)
        shown = self._shape.of(await self._orchestrator.record(machine))
        return tagged_response(shown, shown.generation)

    async def restart(self, request: Request) -> Response:
        name, generations = request.path_params["id"], parameters.generations(request)
        if CALLER.get() is not None:
            own = await parameters.path_machine(request, self._orchestrator)
            name, generations = own.id, [*generations, own.generation]
        machine = await self._orchestrator.restart(name, *generations)
        shown = self._shape.of(await self._orchestrator.record(machine))
        return tagged_response(shown, shown.generation, 202)

    async def destroy(self, request: Request) -> Response:
        name = request.path_params["id"]
        at_once = parameters.flag(request.query_params, "now", default=False)
        generations = parameters.generations(request)
        if CALLER.get() is not None:
            own = await parameters.path_machine(request, self._orchestrator)
            name, generations = own.id, [*generations, own.generation]
        machine = await self._orchestrator.destroy(name, *generations, at_once=at_once)
        return json_response(
            wire.Destroyed(
                machine=name if machine is None else machine.id,
                generation=None if machine is None else machine.generation,
            )
        )


def _filter(request: Request) -> Callable[[Machine], bool]:
    query = request.query_params
    states = parameters.repeated(query, "state", len(STATES))
    parameters.check_choices(states, "state", STATES)
    project = parameters.text(query, "project", 128)
    named = (parameters.check_text(name, "pool", 128) for name in parameters.repeated(query, "pool", MOST_POOLS))
    pools = {name for name in named if name}

    def matches(machine: Machine) -> bool:
        in_state = not states or state_of(machine) in states
        is_of = not project or shown_project(machine.project) == project
        return in_state and is_of and (not pools or machine.pool in pools)

    return matches
