"""The health of the whole service, and what is wrong with it, in sentences that say what to do."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator import __version__
from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.control.reading.views import Status
from worker_orchestrator.core.brake import failed_predecessor
from worker_orchestrator.core.machine import State
from worker_orchestrator.core.pool import Brake
from worker_orchestrator.core.reasons import sentence
from worker_orchestrator.core.spec import DEFAULT_POOL
from worker_orchestrator.core.unreachable import is_unreachable
from worker_orchestrator.core.wanted import nothing_left
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.extras import Bearings
from worker_orchestrator.http.v1.responses import json_response, machine_counts
from worker_orchestrator.wire import v1 as wire

if TYPE_CHECKING:
    from worker_orchestrator.control.telling.webhook import Webhook

__all__ = ["Health", "obstructed", "unreachable"]

MEND_IMAGE: Final = "Rebuild it under the same tag: the pool notices at once, and no restart is needed."
MOST_NAMED: Final = 3
"""So many projects a problem names; of more it tells the number."""


class Health:
    """The health of the service. `kind` is the kind of its engine, `recover` the command that lists strays."""

    def __init__(self, orchestrator: Orchestrator, kind: str, recover: str, webhook: Webhook | None = None) -> None:
        self._orchestrator, self._kind, self._recover, self._webhook = orchestrator, kind, recover, webhook
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
        return [
            *_store_problems(status),
            *self._supply_problems(status),
            *self._nothing_left(),
            *self._work_for_operators(status),
            *([self._webhook.problem] if self._webhook is not None and self._webhook.problem else []),
        ]

    def obstacles(self) -> list[str]:
        """Why no project can be given a machine now; empty if one can, or may wait for one.

        One pool that can give a machine is enough: projects of the other pools must still reach the machines that they have.
        """
        status = self._orchestrator.status()
        if all(self._obstacles_of_pool(name, status) for name in self._orchestrator.spec.pools):
            return [*_store_problems(status), *self._supply_problems(status)]
        return _store_problems(status)

    def obstacles_of(self, name: str) -> list[str]:
        """Why no project can be given a machine of this pool now; empty if one can, or may wait for one."""
        status = self._orchestrator.status()
        return [*_store_problems(status), *self._obstacles_of_pool(name, status)]

    def _obstacles_of_pool(self, name: str, status: Status) -> list[str]:
        if self._orchestrator.fleet.count_idle(name):
            return []
        return [*_engine_problems(status), *self._problems_of_pool(name), *self._pause_of_pool(name)]

    def _supply_problems(self, status: Status) -> list[str]:
        """Why no new machine comes up. A problem says which pools have it, unless all of them do."""
        pools, having = self._orchestrator.spec.pools, dict[str, list[str]]()
        for name in pools:
            for problem in self._problems_of_pool(name):
                having.setdefault(problem, []).append(name)
        return [
            *_engine_problems(status),
            *(one if len(names) == len(pools) else _in_pools(names, one) for one, names in having.items()),
            *(pause for name in pools for pause in self._pause_of_pool(name)),
        ]

    def _nothing_left(self) -> list[str]:
        """Which limits leave no machine for another project. That is no fault: projects give their machines back."""
        fleet, spec = self._orchestrator.fleet, self._orchestrator.spec
        return [why for why in dict.fromkeys(nothing_left(fleet, spec, name) for name in spec.pools) if why]

    def _problems_of_pool(self, name: str) -> list[str]:
        fleet, pool = self._orchestrator.fleet, self._orchestrator.spec.pool(name)
        problems = [pool.problem] if pool.problem else []
        obstacle, brake = fleet.obstacle(name, pool.template), fleet.image_brake(name, pool.template)
        if obstacle is not None:
            problems.append(obstructed(obstacle))
        if brake is not None and brake.is_on:
            problems.append(unreachable(self._orchestrator.engine) or f"{_image_fails(brake)} {MEND_IMAGE}")
        predecessor = failed_predecessor(fleet, self._orchestrator.spec, name)
        if predecessor is not None:
            problems.append(
                f"{_image_fails(predecessor)} The image was replaced since, and the new one is being tried."
            )
        return problems

    def _pause_of_pool(self, name: str) -> list[str]:
        if not self._orchestrator.spec.pool(name).paused:
            return []
        of_pool = "" if name == DEFAULT_POOL else f" --pool {name}"
        return [f"The pool {name} is paused, so no machine is started. Run `orchestrator resume{of_pool}` to go on."]

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
        lost = sorted(one.project for one in machines if one.project and is_unreachable(self._orchestrator.fleet, one))
        problems += [_unreachable_machines(lost)] if lost else []
        if strays:
            count = "1 container of this service is" if strays == 1 else f"{strays} containers of this service are"
            problems.append(f"{count} not on record. Run `{self._recover}` to see what can be done.")
        return problems


def obstructed(obstacle: Brake) -> str:
    """A cause outside, which is neither the image's nor a worker's."""
    return f"No machine can be created now. {sentence(obstacle.reason)}"


def _image_fails(brake: Brake) -> str:
    """That it does not come up, and why."""
    return f"The image does not come up. {sentence(brake.reason)}"


def unreachable(engine: Engine) -> str:
    """That this service is in the wrong place, so that no image would come up; empty if nothing says so."""
    why = engine.misplaced if isinstance(engine, Bearings) else ""
    return f"No worker can be reached from here: {sentence(why)}" if why else ""


def _engine_problems(status: Status) -> list[str]:
    """Why no new machine can be made anywhere."""
    return [] if status.problem is None else [f"The container engine is unavailable. {sentence(status.problem)}"]


def _in_pools(names: list[str], problem: str) -> str:
    """The problem as that of these pools, unless it says so itself."""
    if len(names) == 1:
        where = f"In pool {names[0]}: "
    elif len(names) <= MOST_NAMED:
        where = f"In pools {', '.join(names[:-1])} and {names[-1]}: "
    else:
        where = f"In {len(names)} pools: "
    return problem if problem.startswith(where) else f"{where}{problem}"


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


def _unreachable_machines(projects: list[str]) -> str:
    whom = ", ".join(projects) if len(projects) <= MOST_NAMED else f"{len(projects)} projects"
    return (
        f"The engine does not know whether the machine still runs that it gave to {whom}, as when its node does not report. "
        "It is kept. Once you know that it is lost, release it, or let unreachable_grace do so at the next assign."
    )


def _failed_machines(projects: list[str]) -> str:
    whom = ", ".join(projects) if len(projects) <= MOST_NAMED else f"each of {len(projects)} projects"
    return (
        f"A machine that failed is kept with its files for {whom}, which gets no other machine. Repair its files with "
        "`orchestrator cp` and restart it with `orchestrator restart`, or release or destroy it. "
        "Run `orchestrator list --state failed -o wide` to see why it failed."
    )
