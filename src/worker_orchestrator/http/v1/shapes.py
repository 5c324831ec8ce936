"""How machines, pools and events are told. Pure: from what the core knows to what goes over the wire."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from starlette.responses import Response

from worker_orchestrator.control.reading.history import Sample
from worker_orchestrator.control.reading.views import MachineView
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.store.rows import StoredEvent
from worker_orchestrator.wire import v1 as wire

__all__ = ["STATES", "Shapes", "counted", "event", "replied", "sample", "state_of", "tagged", "when"]

STATES: Final = ("idle", "starting", "assigned", "restarting", "stopping", "failed")
SHORT_ID: Final = 12
_BORN: Final = re.compile(r"worker-(\d{1,15})-")


def state_of(machine: Machine) -> str:
    """Life and project in one word."""
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


class Shapes:
    """Machines as /v1 tells of them; `advertise_host` stands in their URLs."""

    def __init__(self, advertise_host: str) -> None:
        self._host = advertise_host

    def machine(self, view: MachineView) -> wire.Machine:
        machine, instance = view.machine, view.instance
        born = _BORN.match(machine.id)
        host = (instance.host if instance is not None else "") or self._host
        url_host = f"[{host}]" if ":" in host else host
        changed_ms = view.changed_ms or (int(born[1]) if born else 0)
        return wire.Machine(
            id=machine.id,
            pool=machine.pool,
            state=state_of(machine),
            project=machine.project,
            generation=machine.generation,
            url=None if machine.port is None or machine.gone else f"http://{url_host}:{machine.port}",
            host=host,
            port=machine.port,
            container_id=instance.native_id[:SHORT_ID] if instance is not None else None,
            address=instance.address if instance is not None else None,
            template=machine.template,
            reason=view.reason,
            evidence=machine.evidence,
            metadata=json.loads(machine.metadata) if machine.metadata else {},
            created_at=when(int(born[1]) if born else changed_ms),
            changed_at=when(changed_ms),
        )


def counted(machines: Iterable[Machine]) -> wire.Counted:
    return wire.Counted(**Counter(map(state_of, machines)))


def event(stored: StoredEvent) -> wire.Event:
    return wire.Event(
        id=stored.id,
        at=when(stored.at_ms),
        machine=stored.machine,
        pool=stored.pool,
        project=stored.project,
        generation=stored.generation,
        cause=stored.cause,
        state=stored.state,
        reason=stored.reason,
    )


def sample(taken: Sample) -> wire.Sample:
    told = msgspec.structs.asdict(taken)
    return wire.Sample(at=when(told.pop("at_ms")), refill_lag_seconds=told.pop("refill_lag_s"), **told)


def replied(body: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def tagged(body: Any, generation: int, status: int = 200) -> Response:
    """A reply about one machine, with its generation as the ETag."""
    response = replied(body, status)
    response.headers["etag"] = f'"{generation}"'
    return response
