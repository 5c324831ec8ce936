"""Pools: their sizes as set and as they are, and how to change them; and the health of the whole service."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator import __version__
from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.control.reading.views import Status
from worker_orchestrator.core.machine import State
from worker_orchestrator.core.reasons import sentence
from worker_orchestrator.core.spec import PoolSpec
from worker_orchestrator.errors import InvalidInput
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.responses import json_response, machine_counts
from worker_orchestrator.wire import v1 as wire

__all__ = ["Health", "Pools"]

MOST: Final = 10_000
"""The largest size of a pool."""
MOST_NAMED: Final = 3
"""So many projects a problem names; of more it tells the number."""


class Pools:
    """What is under /v1/pools. `image` is the image as the settings name it."""

    def __init__(self, orchestrator: Orchestrator, image: str) -> None:
        self._orchestrator, self._image = orchestrator, image

    async def list(self, _request: Request) -> Response:
        return json_response(wire.Pools(pools=[self._pool(name) for name in self._orchestrator.spec.pools]))

    async def show(self, request: Request) -> Response:
        name = request.path_params["name"]
        self._orchestrator.insist_on_pool(name)
        return json_response(self._pool(name))

    async def change(self, request: Request) -> Response:
        name = request.path_params["name"]
        body = await parameters.body(request, wire.PoolPatch)
        self._orchestrator.insist_on_pool(name)
        self._orchestrator.change_pool(name, _changes(body))
        return json_response(self._pool(name))

    def _pool(self, name: str) -> wire.Pool:
        spec, fleet = self._orchestrator.spec, self._orchestrator.fleet
        wanted, configured = spec.pools[name], self._orchestrator.configured(name)
        machines = [machine for machine in fleet.machines.values() if machine.pool == name]
        return wire.Pool(
            name=name,
            image=self._image,
            template=wanted.template,
            min_idle=wanted.min_idle,
            max_idle=wanted.max_idle,
            limit=spec.max_machines,
            paused=wanted.paused,
            on_release="recycle" if wanted.recycle else "reuse",
            configured=wire.PoolSizes(
                min_idle=configured.min_idle, max_idle=configured.max_idle, limit=configured.limit
            ),
            machines=machine_counts(machines),
            waiting=len(fleet.pool(name).line),
            problem=wanted.problem or None,
            back_off=self._back_off(name, wanted),
        )

    def _back_off(self, name: str, wanted: PoolSpec) -> wire.BackOff | None:
        brake = self._orchestrator.fleet.brake_in_force(name, wanted.template)
        if brake is None:
            return None
        return wire.BackOff(
            retry_in_seconds=round(max(0.0, brake.until - self._orchestrator.now()), 3),
            reason=brake.reason,
            evidence=brake.evidence,
        )


def _changes(body: wire.PoolPatch) -> dict[str, int | bool | None]:
    sent = {name: getattr(body, name) for name in ("min_idle", "max_idle", "limit", "paused")}
    changes = {name: value for name, value in sent.items() if value is not msgspec.UNSET}
    for name, value in changes.items():
        least = 1 if name == "limit" else 0
        if value is not None and not isinstance(value, bool) and not least <= value <= MOST:
            raise InvalidInput(f"{name} is {value}, but must be a whole number from {least} to {MOST}, or null.")
    return changes


class Health:
    """The health of the service. `kind` is the kind of its engine, `recover` the command that lists strays."""

    def __init__(self, orchestrator: Orchestrator, kind: str, recover: str) -> None:
        self._orchestrator, self._kind, self._recover = orchestrator, kind, recover
        self._begun_at = time.monotonic()

    async def show(self, _request: Request) -> Response:
        status, problems = self._orchestrator.status(), self.problems()
        return json_response(
            wire.ServiceHealth(
                status="ok" if not problems else "down" if self.obstacles() else "degraded",
                version=__version__,
                uptime_seconds=round(time.monotonic() - self._begun_at, 3),
                engine=wire.EngineHealth(
                    kind=self._kind,
                    connected=status.problem is None,
                    problem=status.problem,
                    last_listing_age_seconds=None if status.listing_age_s is None else round(status.listing_age_s, 3),
                ),
                machines=machine_counts(self._orchestrator.fleet.machines.values()),
                waiting=status.waiting,
                strays=status.strays,
                foreign=status.foreign,
                problems=problems,
            )
        )

    def problems(self) -> list[str]:
        """What is wrong, in sentences that say what to do if we know it."""
        status = self._orchestrator.status()
        return [*_store_problems(status), *self._supply_problems(status), *self._work_for_operators(status)]

    def obstacles(self) -> list[str]:
        """Why no project can be given a machine now; empty if one can, or may wait for one."""
        status = self._orchestrator.status()
        if any(machine.is_idle for machine in self._orchestrator.fleet.machines.values()):
            return _store_problems(status)
        return [*_store_problems(status), *self._supply_problems(status)]

    def _supply_problems(self, status: Status) -> list[str]:
        """Why no new machine comes up."""
        problems = (
            [] if status.problem is None else [f"The container engine is unavailable. {sentence(status.problem)}"]
        )
        for name, pool in self._orchestrator.spec.pools.items():
            problems += self._problems_of_pool(name, pool)
        return list(dict.fromkeys(problems))

    def _problems_of_pool(self, name: str, pool: PoolSpec) -> list[str]:
        fleet, problems = self._orchestrator.fleet, [pool.problem] if pool.problem else []
        obstacle, brake = fleet.obstacle(name, pool.template), fleet.image_brake(name, pool.template)
        if obstacle is not None:
            problems.append(f"No machine can be created now. {sentence(obstacle.reason)}")
        if brake is not None and brake.is_on:
            problems.append(f"The image does not come up. {sentence(brake.reason)}")
        if pool.paused:
            problems.append(f"The pool {name} is paused, so no machine is started. Run `orchestrator resume` to go on.")
        return problems

    def _work_for_operators(self, status: Status) -> list[str]:
        """What an operator has to clear away."""
        strays, machines = status.strays, self._orchestrator.fleet.machines.values()
        failed = sorted(one.project for one in machines if one.project and one.state is State.FAILED and not one.gone)
        problems = [_failed_machines(failed)] if failed else []
        elsewhere = self._orchestrator.elsewhere
        hosts = {one.project: elsewhere[one.id] for one in machines if one.project and one.id in elsewhere}
        if self._orchestrator.spec.first_port is None:
            hosts = {}  # every host is the engine's choice, whatever the settings say
        problems += [_published_elsewhere(hosts)] if hosts else []
        ailing = sorted(one.project for one in machines if one.project and one.id in self._orchestrator.fleet.ailing)
        problems += [_ailing_machines(ailing)] if ailing else []
        if strays:
            count = "1 container of this service is" if strays == 1 else f"{strays} containers of this service are"
            problems.append(f"{count} not on record. Run `{self._recover}` to see what can be done.")
        return problems


def _store_problems(status: Status) -> list[str]:
    """Why not even an idle machine can be given."""
    return [status.store_problem] if status.store_problem else []


def _published_elsewhere(hosts: Mapping[str, str]) -> str:
    """`hosts` are the hosts of the URLs, by project."""
    projects = sorted(hosts)
    whose = ", ".join(projects) if len(projects) <= MOST_NAMED else f"{len(projects)} projects"
    return (
        f"The settings of URLs and addresses have changed since the machine of {whose} was made, so its URL is still on "
        f"{', '.join(sorted(set(hosts.values()))[:MOST_NAMED])}. Release or destroy it to get one with the new settings."
    )


def _ailing_machines(projects: list[str]) -> str:
    whom = ", ".join(projects) if len(projects) <= MOST_NAMED else f"{len(projects)} projects"
    return (
        f"A machine was paused or taken off its network from outside, and cannot serve its project: {whom}. "
        "Run `orchestrator list -o wide` to see why, and what to do."
    )


def _failed_machines(projects: list[str]) -> str:
    whom = ", ".join(projects) if len(projects) <= MOST_NAMED else f"each of {len(projects)} projects"
    return (
        f"A machine that failed is kept with its files for {whom}, which gets no other machine. Repair its files with "
        "`orchestrator cp` and restart it with `orchestrator restart`, or release or destroy it. "
        "Run `orchestrator list --state failed -o wide` to see why it failed."
    )
