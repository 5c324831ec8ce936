"""Pools: what they should be and are, and changing that; and how the whole service is."""

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
from worker_orchestrator.core.spec import PoolSpec
from worker_orchestrator.errors import InvalidInput
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.shapes import counted, replied
from worker_orchestrator.wire import v1 as wire

__all__ = ["Health", "Pools"]

MOST: Final = 10_000
MOST_NAMED: Final = 3


class Pools:
    """What is under /v1/pools. `image` is what the settings name."""

    def __init__(self, orchestrator: Orchestrator, image: str) -> None:
        self._orchestrator, self._image = orchestrator, image

    async def list(self, _request: Request) -> Response:
        return replied(wire.Pools(pools=[self._pool(name) for name in self._orchestrator.spec.pools]))

    async def show(self, request: Request) -> Response:
        name = request.path_params["name"]
        self._orchestrator.insist_on_pool(name)
        return replied(self._pool(name))

    async def change(self, request: Request) -> Response:
        name = request.path_params["name"]
        body = await parameters.body(request, wire.PoolPatch)
        self._orchestrator.insist_on_pool(name)
        self._orchestrator.change_pool(name, _changes(body))
        return replied(self._pool(name))

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
            configured=wire.PoolSizes(
                min_idle=configured.min_idle, max_idle=configured.max_idle, limit=configured.limit
            ),
            machines=counted(machines),
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
    given = {name: getattr(body, name) for name in ("min_idle", "max_idle", "limit", "paused")}
    changes = {name: value for name, value in given.items() if value is not msgspec.UNSET}
    for name, value in changes.items():
        least = 1 if name == "limit" else 0
        if value is not None and not isinstance(value, bool) and not least <= value <= MOST:
            raise InvalidInput(f"{name} is {value}, but must be a whole number from {least} to {MOST}, or null.")
    return changes


class Health:
    """How the service is. `kind` names the engine's kind, `recover` is the command that lists strays."""

    def __init__(self, orchestrator: Orchestrator, kind: str, recover: str) -> None:
        self._orchestrator, self._kind, self._recover = orchestrator, kind, recover
        self._begun_at = time.monotonic()

    async def show(self, _request: Request) -> Response:
        status, problems = self._orchestrator.status(), self.problems()
        return replied(
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
                machines=counted(self._orchestrator.fleet.machines.values()),
                waiting=status.waiting,
                strays=status.strays,
                foreign=status.foreign,
                problems=problems,
            )
        )

    def problems(self) -> list[str]:
        """What is wrong, in words that name what to do where we know it."""
        status = self._orchestrator.status()
        return [*_store_problems(status), *self._supply_problems(status), *self._remains(status)]

    def obstacles(self) -> list[str]:
        """Why no project can be given a machine now; empty where one can, or may wait for one."""
        status = self._orchestrator.status()
        if any(machine.is_idle for machine in self._orchestrator.fleet.machines.values()):
            return _store_problems(status)
        return [*_store_problems(status), *self._supply_problems(status)]

    def _supply_problems(self, status: Status) -> list[str]:
        """Why no new machine comes up."""
        found = [] if status.problem is None else [f"The engine does not answer: {status.problem}"]
        for name, pool in self._orchestrator.spec.pools.items():
            found += self._problems_of_pool(name, pool)
        return list(dict.fromkeys(found))

    def _problems_of_pool(self, name: str, pool: PoolSpec) -> list[str]:
        fleet, found = self._orchestrator.fleet, [pool.problem] if pool.problem else []
        obstacle, brake = fleet.obstacle(name, pool.template), fleet.image_brake(name, pool.template)
        if obstacle is not None:
            found.append(f"No machine can be made: {obstacle.reason}")
        if brake is not None and brake.is_on:
            found.append(f"The image does not come up: {brake.reason}")
        if pool.paused:
            found.append(
                f"The pool {name} is paused, so no machine is started: run `orchestrator resume` when it may go on."
            )
        return found

    def _remains(self, status: Status) -> list[str]:
        """What somebody has to clear away."""
        strays, machines = status.strays, self._orchestrator.fleet.machines.values()
        failed = sorted(one.project for one in machines if one.project and one.state is State.FAILED and not one.gone)
        found = [_kept_for(failed)] if failed else []
        elsewhere = self._orchestrator.elsewhere
        whose = {one.project: elsewhere[one.id] for one in machines if one.project and one.id in elsewhere}
        found += [_published_elsewhere(whose)] if whose else []
        troubled = sorted(one.project for one in machines if one.project and one.id in self._orchestrator.fleet.ailing)
        found += [_held_up_for(troubled)] if troubled else []
        if strays:
            counted_strays = "1 container of ours is" if strays == 1 else f"{strays} containers of ours are"
            found.append(f"{counted_strays} not on record: run `{self._recover}`.")
        return found


def _store_problems(status: Status) -> list[str]:
    """Why not even an idle machine can be given."""
    return [status.store_problem] if status.store_problem else []


def _published_elsewhere(hosts: Mapping[str, str]) -> str:
    """`hosts` has the host of the URL by project."""
    projects = sorted(hosts)
    whose = ", ".join(projects) if len(projects) <= MOST_NAMED else f"{len(projects)} projects"
    return (
        f"The settings of URLs and addresses have changed since the machine of {whose} was made: its URL is on "
        f"{', '.join(sorted(set(hosts.values()))[:MOST_NAMED])} as before. Release or destroy it to have one as they say."
    )


def _held_up_for(projects: list[str]) -> str:
    whom = ", ".join(projects) if len(projects) <= MOST_NAMED else f"{len(projects)} projects"
    return (
        f"A machine was paused or taken off its network by somebody, and cannot serve its project: {whom}. "
        "`orchestrator list -o wide` shows why, and what to do."
    )


def _kept_for(projects: list[str]) -> str:
    whom = ", ".join(projects) if len(projects) <= MOST_NAMED else f"each of {len(projects)} projects"
    return (
        f"A machine that failed is kept with its files for {whom}, and no other is given: mend its files with "
        "`orchestrator cp` and start it again with `orchestrator restart`, or release or destroy it. "
        "`orchestrator list --state failed -o wide` shows why."
    )
