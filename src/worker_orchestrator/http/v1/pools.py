"""Pools: their sizes as set and as they are, why they stand as they do, and how to change them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.control.reading.gauges import names_of_pools
from worker_orchestrator.control.reading.history import History
from worker_orchestrator.control.reading.standing import Standing, demand
from worker_orchestrator.core.brake import failed_predecessor
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.core.spec import PoolSpec
from worker_orchestrator.errors import InvalidInput
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.health import obstructed, unreachable
from worker_orchestrator.http.v1.responses import expiry, json_response, machine_counts
from worker_orchestrator.wire import v1 as wire

__all__ = ["Pools"]

MOST: Final = 10_000
"""The largest size of a pool."""


class Pools:
    """What is under /v1/pools. `image_of` returns the image of a pool as the settings name it."""

    def __init__(self, orchestrator: Orchestrator, image_of: Callable[[str], str], history: History) -> None:
        self._orchestrator, self._image_of, self._history = orchestrator, image_of, history

    async def list(self, _request: Request) -> Response:
        machines: dict[str, list[Machine]] = {}
        for machine in self._orchestrator.fleet.machines.values():  # once, however many pools there are
            machines.setdefault(machine.pool, []).append(machine)
        return json_response(wire.Pools(pools=[self._pool(name, machines.get(name, ())) for name in self._names()]))

    async def show(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._names():
            self._orchestrator.insist_on_pool(name)
        return self._one(name)

    async def change(self, request: Request) -> Response:
        name = request.path_params["name"]
        body = await parameters.body(request, wire.PoolPatch)
        if name not in self._orchestrator.spec.pools and name in self._names():
            raise InvalidInput(
                f"The settings no longer name the pool {name}, so it cannot be changed: it makes no machines, and those "
                "that it has go when their projects release them. To have it again, name it in the settings."
            )
        self._orchestrator.insist_on_pool(name)
        self._orchestrator.change_pool(name, _changes(body))
        return self._one(name)

    def _one(self, name: str) -> Response:
        machines = [one for one in self._orchestrator.fleet.machines.values() if one.pool == name]
        return json_response(self._pool(name, machines))

    def _names(self) -> Sequence[str]:
        return names_of_pools(self._orchestrator.fleet, self._orchestrator.spec)

    def _pool(self, name: str, machines: Sequence[Machine]) -> wire.Pool:
        """`machines` are all of this pool."""
        spec, fleet = self._orchestrator.spec, self._orchestrator.fleet
        wanted, standing = spec.pool(name), self._orchestrator.standing(name, machines)
        return wire.Pool(
            name=name,
            image=self._image_of(name) if name in spec.pools else "",
            template=wanted.template,
            min_idle=wanted.min_idle,
            max_idle=wanted.max_idle,
            limit=spec.max_machines,
            max_machines=wanted.max_machines,
            spare=wanted.spare,
            sizing="adaptive" if wanted.is_adaptive else "fixed",
            target=wanted.target,
            parked=wanted.parked,
            paused=wanted.paused,
            retired=name not in spec.pools,
            on_release="recycle" if wanted.recycle else "reuse",
            port_names=list(wanted.port_names),
            takes_values=wanted.late is not None,
            configured=self._configured(name),
            changed={} if name not in spec.pools else self._orchestrator.sizes.changed(name),
            dropped=self._orchestrator.sizes.dropped(name) or None if name in spec.pools else None,
            machines=machine_counts(machines),
            waiting=len(fleet.pool(name).line),
            wanted_idle=standing.wanted_idle,
            why=standing.why,
            held_back=standing.held_back or None,
            demand=self._demand(name, standing),
            problem=wanted.problem or self._beside_the_image(name, wanted) or None,
            back_off=self._back_off(name, wanted),
            expiries=[expiry(one) for one in self._orchestrator.feed.expiries(name)],
        )

    def _configured(self, name: str) -> wire.PoolSizes:
        spec = self._orchestrator.spec
        if name not in spec.pools:
            return wire.PoolSizes(min_idle=0, max_idle=0, limit=spec.max_machines)
        sizes = self._orchestrator.sizes.configured[name]
        return wire.PoolSizes(
            min_idle=sizes.min_idle,
            max_idle=sizes.max_idle,
            limit=sizes.limit,
            max_machines=sizes.max_machines,
            parked=sizes.parked,
        )

    def _demand(self, name: str, standing: Standing) -> wire.Demand | None:
        pool = self._orchestrator.spec.pool(name)
        if pool.is_adaptive:  # it reckons with more than an average, and `why` says with what
            return None
        found = demand(self._history.assigns_per_minute(name), standing.warm_up_s)
        if found is None:
            return None
        return wire.Demand(
            assigns_per_minute=round(found.assigns_per_minute, 3),
            warm_up_seconds=round(found.warm_up_s, 3),
            idle_needed=found.idle_needed,
            sentence=found.says(standing.wanted_idle, pool.parked),
        )

    def _beside_the_image(self, name: str, wanted: PoolSpec) -> str:
        """What keeps machines from coming up although it is no fault of the image; empty if that may be one."""
        fleet = self._orchestrator.fleet
        obstacle, brake = fleet.obstacle(name, wanted.template), fleet.image_brake(name, wanted.template)
        if brake is not None and brake.is_on:
            return unreachable(self._orchestrator.engine)
        return "" if obstacle is None else obstructed(obstacle)

    def _back_off(self, name: str, wanted: PoolSpec) -> wire.BackOff | None:
        fleet, spec = self._orchestrator.fleet, self._orchestrator.spec
        predecessor = failed_predecessor(fleet, spec, name)
        if predecessor is not None and fleet.obstacle(name, wanted.template) is None:
            return wire.BackOff(
                retry_in_seconds=0.0,
                reason=predecessor.reason,
                evidence=predecessor.evidence,
                trying_new_image=True,
            )
        brake = fleet.brake_in_force(name, wanted.template)
        if brake is None:
            return None
        return wire.BackOff(
            retry_in_seconds=round(max(0.0, brake.until - self._orchestrator.now()), 3),
            reason=brake.reason,
            evidence=brake.evidence,
        )


def _changes(body: wire.PoolPatch) -> dict[str, int | bool | None]:
    sent = {name: getattr(body, name) for name in body.__struct_fields__}
    changes = {name: value for name, value in sent.items() if value is not msgspec.UNSET}
    for name, value in changes.items():
        least = 1 if name in {"limit", "max_machines"} else 0
        if value is not None and not isinstance(value, bool) and not least <= value <= MOST:
            raise InvalidInput(f"{name} is {value}, but must be a whole number from {least} to {MOST}, or null.")
    return changes
