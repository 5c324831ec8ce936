"""The operations on pools and on the service itself: sizes, events, health and history."""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from worker_orchestrator.client.call_decorators import operation, stream
from worker_orchestrator.client.call_steps import Flow, Request, Steps
from worker_orchestrator.client.calls_base import CallsBase
from worker_orchestrator.client.event_stream import follow_events
from worker_orchestrator.client.request_building import JSON, pool_path, query_of
from worker_orchestrator.errors import InvalidInput
from worker_orchestrator.wire.v1 import (
    Event,
    History,
    Pool,
    PoolPatch,
    PoolPlan,
    Pools,
    PreviewTarget,
    Reloaded,
    ServiceHealth,
)

__all__ = ["ServiceCalls"]

_FIELD: Final = re.compile(r"[\x20-\x7e]*")
_OURS: Final = "orchestrator_"


class ServiceCalls(CallsBase):
    """Operations on pools and on the service itself."""

    # pools

    @operation
    def pools(self) -> Steps[list[Pool]]:
        """All pools with their sizes and the number of their machines in each state.

        Last come those that are `retired`: the settings no longer name them, and machines of them are left.
        """
        listing = yield from self._get("/v1/pools", Pools)
        return listing.pools

    @operation
    def pool(self, name: str = "default") -> Steps[Pool]:
        """One pool: also how many idle machines it wants, why, and what holds it back. Raises PoolNotFound."""
        return (yield from self._get(pool_path(name), Pool))

    @operation
    def scale(
        self,
        name: str = "default",
        *,
        min_idle: int | UnsetType | None = UNSET,
        max_idle: int | UnsetType | None = UNSET,
        limit: int | UnsetType | None = UNSET,
        max_machines: int | UnsetType | None = UNSET,
        parked: int | UnsetType | None = UNSET,
    ) -> Steps[Pool]:
        """Change sizes of a pool. They stay after a restart of the service.

        `max_machines` is the pool's own limit; `limit` is that of all pools together, whichever pool is named. `parked`
        machines are kept beside the idle ones, paused until somebody needs them. None goes back to the setting. A size that
        is left out stays as it is.

        Raises PoolNotFound, InvalidInput.
        """
        patch = PoolPatch(min_idle=min_idle, max_idle=max_idle, limit=limit, max_machines=max_machines, parked=parked)
        return (yield from self._patch(name, patch))

    @operation
    def plan(self, name: str = "default", *, target: float | None = None, days: int | None = None) -> Steps[PoolPlan]:
        """Which sizes would have been right for the assigns of the last `days` (None: 7), as they were recorded.

        `target` is the wanted share of assigns that find a machine; None: that of the settings.

        Raises PoolNotFound, InvalidInput.
        """
        return (yield from self._get(f"{pool_path(name)}/plan", PoolPlan, query_of(target=target, days=days)))

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
        """Every transition of every machine as it happens, without gaps or repetitions, also after a lost connection.

        `after`: begin after the event with this id. Without it, begin with the next event, or with `follow=False` with the
        oldest that is kept. `project`, `machine`: only events of this one. `follow=False`: end with the newest event.

        Raises EventsLost if the event to continue after is not kept any more, or never was.
        """
        query = query_of(project=project, machine=machine, follow=None if follow else False)
        yield from follow_events(query, self._service, self._check, after=after, follow=follow)

    @operation
    def health(self) -> Steps[ServiceHealth]:
        """The health of the service, its engine and its machines."""
        return (yield from self._get("/v1/health", ServiceHealth))

    @operation
    def history(self, seconds: int = 3600) -> Steps[History]:
        """Samples of the pool: one for each 10 s of the last hour, or for each 120 s of a longer time, up to a day."""
        return (yield from self._get("/v1/history", History, query_of(seconds=seconds)))

    @operation
    def reload(self, *, dry_run: bool = False, digest: str | None = None) -> Steps[Reloaded]:
        """Have the service read its settings again, and take over what changed without a restart.

        Returns what changed. `dry_run`: only look. `digest`, from what a dry run returned: take over only what that showed.
        Raises InvalidSetting where the settings cannot be, SettingsChanged where others were shown; nothing is changed then.
        """
        query = query_of(dry_run=dry_run or None, digest=digest)
        return (yield from self._send(Request(method="POST", path="/v1/reload", query=query), Reloaded))

    @operation
    def route(
        self, host: str, *, cookie: str | None = None, token: str | None = None, address: str | None = None
    ) -> Steps[PreviewTarget]:
        """The worker to which this host of a preview leads, such as `my-project.localhost`. A proxy asks before it sends.

        The others are what the visitor shows, where a preview is not for everybody: its headers `Cookie` and
        `X-Orchestrator-Token`, and the IP address by which wrong tokens are counted. Keep these tokens, and cookies whose
        names begin with `orchestrator_`, from the worker; of its cookies only these are sent. Nothing is woken.

        Raises Forbidden if the visitor may not see it, ProjectHasNoMachine, NotRunning while the machine sleeps or does not
        serve yet, MachineFailed, CallFailed for a host that no project can have, InvalidInput, NotSupported.
        """
        shown = {
            "cookie": None if cookie is None else _of_service(cookie),
            "x-orchestrator-token": token,
            "x-forwarded-for": address,
        }
        headers = {name: _field(name, value) for name, value in shown.items() if value}
        request = Request(method="GET", path="/v1/route", query=query_of(host=host), headers=headers)
        return (yield from self._send(request, PreviewTarget))

    # shared by the operations above

    def _patch(self, name: str, patch: PoolPatch) -> Steps[Pool]:
        request = Request(method="PATCH", path=pool_path(name), headers=JSON, body=msgspec.json.encode(patch))
        return (yield from self._send(request, Pool))


def _of_service(cookie: str) -> str:
    """Those of a visitor's cookies that say anything to the service."""
    pairs = (pair.strip(" \t") for pair in cookie.split(";"))
    return "; ".join(pair for pair in pairs if pair.startswith(_OURS))


def _field(name: str, value: str) -> str:
    """The value of a header field, which is not shown. Raises InvalidInput."""
    if _FIELD.fullmatch(value):
        return value
    raise InvalidInput(f"What the visitor shows as {name} is not the value of a header. Pass it as it was received.")
