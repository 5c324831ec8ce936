"""Responses of /v1: machines, events and samples in the shapes of `wire.v1`, and these as JSON. Pure functions."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from starlette.responses import Response

from worker_orchestrator.control.assignment import SetupReport
from worker_orchestrator.control.caller import shown, shown_project
from worker_orchestrator.control.reading.history import Sample
from worker_orchestrator.control.reading.views import LeaseView, MachineView
from worker_orchestrator.core.configuration import Stage
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.http.machine_url import SHORT_ID, url_start
from worker_orchestrator.http.previews.urls import NO_URLS, PreviewUrls
from worker_orchestrator.store.rows import StoredEvent
from worker_orchestrator.wire import v1 as wire

__all__ = [
    "STATES",
    "MachineShape",
    "event",
    "expiry",
    "json_response",
    "machine_counts",
    "sample",
    "setup_of",
    "state_of",
    "tagged_response",
    "when",
]

STATES: Final = ("idle", "parked", "starting", "assigned", "restarting", "sleeping", "stopping", "failed")
_CREATED: Final = re.compile(r"worker-(\d{1,15})-")


def state_of(machine: Machine) -> str:
    """The state of a machine, with or without a project, in one word of `STATES`."""
    match machine.state:
        case State.READY:
            return "idle" if machine.project is None else "assigned"
        case State.STARTING:
            return "starting" if machine.project is None else "restarting"
        case _:
            return machine.state.value


def when(ms: int) -> datetime:
    """Wall time from milliseconds since 1970."""
    return datetime.fromtimestamp(ms / 1000, UTC)


class MachineShape:
    """Makes the JSON shape of machines; `advertise_host` is the host in their URLs if the engine names no other."""

    def __init__(self, advertise_host: str, preview_urls: PreviewUrls = NO_URLS) -> None:
        self._host, self._previews = advertise_host, preview_urls

    def of(self, view: MachineView) -> wire.Machine:
        machine, instance = view.machine, view.instance
        created = _CREATED.match(machine.id)
        host = (instance.host if instance is not None else "") or self._host
        changed_ms = view.changed_ms or (int(created[1]) if created else 0)
        return wire.Machine(
            id=machine.id,
            pool=machine.pool,
            state=state_of(machine),
            project=shown_project(machine.project),
            generation=machine.generation,
            url=_url(machine, host, machine.port),
            host=host,
            port=machine.port,
            container_id=instance.native_id[:SHORT_ID] if instance is not None else None,
            address=instance.address if instance is not None else None,
            template=machine.template,
            reason=shown(view.reason),
            evidence=machine.evidence,
            metadata=json.loads(machine.metadata) if machine.metadata else {},
            created_at=when(int(created[1]) if created else changed_ms),
            changed_at=when(changed_ms),
            next_try_at=None if view.next_try_ms is None else when(view.next_try_ms),
            outdated=view.is_outdated,
            lease=None if view.lease is None else _lease(view.lease),
            ports={name: self._port(machine, host, name, port) for name, port in machine.ports},
            preview_url=self._previews.of(machine.project),
            configured=view.is_configured,
            setup=_setup(machine),
        )

    def _port(self, machine: Machine, host: str, name: str, port: int) -> wire.PublishedPort:
        preview_url = self._previews.of(machine.project, name)
        return wire.PublishedPort(port=port, url=_url(machine, host, port), preview_url=preview_url)


def _setup(machine: Machine) -> wire.Setup | None:
    """How its project had it set up, unless that is gone. What an earlier project did is nobody's business."""
    configuration = machine.configuration
    if machine.holding is None or configuration is None or configuration.stage is Stage.LOST:
        return None
    if configuration.took_ms is None:
        return None
    return wire.Setup(exit_code=configuration.exit_code, ms=configuration.took_ms)


def setup_of(report: SetupReport) -> wire.Setup:
    """How the set-up went that this request asked for."""
    return wire.Setup(exit_code=report.exit_code, ms=report.took_ms, output=report.output)


def _lease(lease: LeaseView) -> wire.Lease:
    return wire.Lease(
        **msgspec.structs.asdict(lease.terms),
        expires_at=None if lease.ends_ms is None else when(lease.ends_ms),
        expires_by=lease.by,
        last_active_at=None if lease.active_ms is None else when(lease.active_ms),
    )


def _url(machine: Machine, host: str, port: int | None) -> str | None:
    return None if port is None or machine.gone else f"{url_start(host)}{port}"


def machine_counts(machines: Iterable[Machine]) -> wire.Counted:
    counted = list(machines)
    past = sum(one.state is State.FAILED and one.gone and one.holding is None for one in counted)
    return wire.Counted(**Counter(map(state_of, counted)), past_failures=past)


def event(recorded: StoredEvent) -> wire.Event:
    return wire.Event(
        id=recorded.id,
        at=when(recorded.at_ms),
        machine=recorded.machine,
        pool=recorded.pool,
        project=shown_project(recorded.project),
        generation=recorded.generation,
        cause=recorded.cause,
        state=recorded.state,
        reason=shown(recorded.reason),
    )


def expiry(recorded: StoredEvent) -> wire.Expiry:
    """What the event tells that ended the assignment."""
    return wire.Expiry(
        at=when(recorded.at_ms),
        project=recorded.project or "",
        machine=recorded.machine,
        by=recorded.deadline,
        reason=recorded.reason,
    )


def sample(taken: Sample) -> wire.Sample:
    fields = msgspec.structs.asdict(taken)
    return wire.Sample(at=when(fields.pop("at_ms")), refill_lag_seconds=fields.pop("refill_lag_s"), **fields)


def json_response(body: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def tagged_response(body: Any, generation: int, status: int = 200) -> Response:
    """A reply about one machine, with its generation as the ETag."""
    response = json_response(body, status)
    response.headers["etag"] = f'"{generation}"'
    return response
