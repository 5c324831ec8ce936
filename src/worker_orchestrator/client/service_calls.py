"""What is asked about pools, events and the service itself."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from worker_orchestrator.client.call_decorators import operation, stream
from worker_orchestrator.client.call_steps import Flow, Request, Steps
from worker_orchestrator.client.calls_base import Asking
from worker_orchestrator.client.event_stream import followed
from worker_orchestrator.client.request_building import JSON, of_pool, query_of
from worker_orchestrator.wire.v1 import Event, History, Pool, PoolPatch, Pools, ServiceHealth

__all__ = ["ServiceCalls"]


class ServiceCalls(Asking):
    """What is asked about pools, events and the service itself."""

    # pools

    @operation
    def pools(self) -> Steps[list[Pool]]:
        """All pools with their sizes and what is in them."""
        found = yield from self._get("/v1/pools", Pools)
        return found.pools

    @operation
    def pool(self, name: str = "default") -> Steps[Pool]:
        """One pool. Raises PoolNotFound."""
        return (yield from self._get(of_pool(name), Pool))

    @operation
    def scale(
        self,
        name: str = "default",
        *,
        min_idle: int | UnsetType | None = UNSET,
        max_idle: int | UnsetType | None = UNSET,
        limit: int | UnsetType | None = UNSET,
    ) -> Steps[Pool]:
        """Change sizes of a pool, beyond a restart of the service. None goes back to the setting; what is left out stays.

        Raises PoolNotFound, InvalidInput.
        """
        return (yield from self._patch(name, PoolPatch(min_idle=min_idle, max_idle=max_idle, limit=limit)))

    @operation
    def pause(self, name: str = "default") -> Steps[Pool]:
        """Make no new machines in this pool until `resume`. Raises PoolNotFound."""
        return (yield from self._patch(name, PoolPatch(paused=True)))

    @operation
    def resume(self, name: str = "default") -> Steps[Pool]:
        """Make machines in this pool again. Raises PoolNotFound."""
        return (yield from self._patch(name, PoolPatch(paused=False)))

    # the service

    @stream
    def events(
        self,
        *,
        after: int | None = None,
        project: str | None = None,
        machine: str | None = None,
        follow: bool = True,
    ) -> Flow[Event]:
        """Every transition of every machine, as it happens. Lost connections are made anew: nothing is missed or repeated.

        `after`: go on behind the event with this id; else from now on, or without `follow` with the oldest that is kept.
        `project`, `machine`: only of this one. `follow=False`: end with the newest.

        Raises EventsLost where the place to go on from is not kept any more, or never was.
        """
        query = query_of(project=project, machine=machine, follow=None if follow else False)
        yield from followed(query, self._service, self._check, after=after, follow=follow)

    @operation
    def health(self) -> Steps[ServiceHealth]:
        """How the service is."""
        return (yield from self._get("/v1/health", ServiceHealth))

    @operation
    def history(self, seconds: int = 3600) -> Steps[History]:
        """How the pool fared: a sample for each 10 s of the last hour, or for each 120 s of a longer time, up to a day."""
        return (yield from self._get("/v1/history", History, query_of(seconds=seconds)))

    # what they share

    def _patch(self, name: str, patch: PoolPatch) -> Steps[Pool]:
        request = Request(method="PATCH", path=of_pool(name), headers=JSON, body=msgspec.json.encode(patch))
        return (yield from self._ask(request, Pool))
