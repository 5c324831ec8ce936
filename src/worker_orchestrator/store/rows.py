"""How machines and changes become rows of the tables `machine` and `event`, and the statements that write them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import compress
from operator import is_not
from typing import Final

import msgspec
from msgspec.structs import astuple

from worker_orchestrator.core.configuration import Configuration
from worker_orchestrator.core.lease import Lease
from worker_orchestrator.core.machine import Cause, Change, Holding, Machine, State

__all__ = [
    "DELETE_MACHINE",
    "INSERT_EVENT",
    "INSERT_MACHINE",
    "MACHINE_COLUMNS",
    "StoredEvent",
    "changed_columns",
    "event_of",
    "machine_of",
    "row_of",
    "update_machine",
]

_EXPIRING: Final = Cause.EXPIRING

_EVENT_COLUMNS: Final = ("event_seq", "event_cause", "event_project")
"""Those of a machine's row that hold its last event until the event table has it. The rest of the event is the row's own."""
MACHINE_COLUMNS: Final = (
    "id, pool, template, state, port, project, generation, host, gone, reason, evidence, ports, configuration, metadata, "
    "lease"
)
"""In the order of the fields of `Machine`, whose `holding` is three of them: project, and at the end metadata and lease."""
INSERT_MACHINE: Final = f"INSERT INTO machine ({MACHINE_COLUMNS}, changed_ms) VALUES ({'?, ' * 15}?)"  # noqa: S608 # constant text
DELETE_MACHINE: Final = "DELETE FROM machine WHERE id = ?"
INSERT_EVENT: Final = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

_HOLDING, _PORTS, _CONFIGURATION = map(Machine.__struct_fields__.index, ("holding", "ports", "configuration"))
_FREE: Final = Holding("")  # of a machine that no project has
_NO_PORTS: Final = "[]"
_NO_LEASE: Final = ""
_NO_CONFIGURATION: Final = ""
_configuration_of: Final = msgspec.json.Decoder(Configuration).decode
_lease_of: Final = msgspec.json.Decoder(Lease).decode
_ports_of: Final = msgspec.json.Decoder(tuple[tuple[str, int], ...]).decode
_VALUES: Final[Mapping[str, str]] = {word: word.value for word in (*Cause, *State)}  # `.value` of an enum takes 1 µs


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """One row of the event table: one transition of one machine. The fields are in the order of the columns.

    `id` is its number, `at_ms` wall time. `state` is None for a machine that is not on record any more. `deadline` is the
    one that caused it, or that comes soon; None where it is about none.
    """

    id: int
    at_ms: int
    machine: str
    pool: str
    project: str | None
    generation: int
    cause: str
    state: str | None
    reason: str
    deadline: str | None = None


@cache
def update_machine(changed: tuple[bool, ...], *, with_event: bool, with_time: bool = True) -> str:
    """The statement that writes the columns that changed, `changed_ms` and, if `with_event`, the event of the change.

    Without `with_time` the machine counts as unchanged since the time that its row has.

    A column that stays as it is need not be checked and written again, which saves a third of the time.
    """
    names = [*compress(MACHINE_COLUMNS.split(", "), changed)]
    names += ["changed_ms"] * with_time + list(_EVENT_COLUMNS) * with_event
    return f"UPDATE machine SET {', '.join(f'{name} = ?' for name in names)} WHERE id = ?"  # noqa: S608 # constant text


def event_of(number: int, change: Change, at_ms: int) -> StoredEvent:
    """The event that tells of a change. It names the project that the change concerned: after a release, the last one."""
    before, after = change.before, change.after
    subject = after if after is not None and after.holding is not None else (before or change.machine)
    return StoredEvent(
        number,
        at_ms,
        subject.id,
        subject.pool,
        None if subject.holding is None else subject.holding.project,
        subject.generation,
        _VALUES[change.cause],
        None if after is None else _VALUES[after.state],
        change.machine.reason if change.cause is not _EXPIRING else change.reason,
        None if change.deadline is None else change.deadline.value,
    )


def row_of(machine: Machine) -> tuple[object, ...]:
    """The values of a machine in the order of `MACHINE_COLUMNS`."""
    holding = machine.holding
    return (
        machine.id,
        machine.pool,
        machine.template,
        machine.state,
        machine.port,
        None if holding is None else holding.project,
        machine.generation,
        machine.host,
        machine.gone,
        machine.reason,
        machine.evidence,
        _as_text(machine.ports),
        _configuration_as_text(machine.configuration),
        "" if holding is None else holding.metadata,
        _lease_as_text(holding),
    )


def changed_columns(before: Machine, after: Machine) -> tuple[tuple[bool, ...], list[object]]:
    """Which columns of `MACHINE_COLUMNS` a change changed, and their new values.

    It compares identities, which is fast: what a change leaves as it is, it leaves the same object. An equal one is written.
    """
    fields = astuple(after)
    changed = tuple(map(is_not, fields, astuple(before)))
    values = list(compress(fields, changed))
    if changed[_CONFIGURATION]:  # it is the last one
        values[-1] = _configuration_as_text(after.configuration)
    if changed[_PORTS]:
        values[sum(changed[:_PORTS])] = _as_text(after.ports)
    if not changed[_HOLDING]:
        return (*changed, False, False), values
    old, new = before.holding or _FREE, after.holding or _FREE
    values[sum(changed[:_HOLDING])] = None if new is _FREE else new.project
    has_other_metadata = new.metadata != old.metadata
    if has_other_metadata:
        values.append(new.metadata)
    has_other_lease = new.lease is not old.lease
    if has_other_lease:
        values.append(_lease_as_text(new))
    return (*changed, has_other_metadata, has_other_lease), values


Row = tuple[str, str, str, str, int | None, str | None, int, str, int, str, str, str, str, str, str]


def machine_of(row: Row) -> Machine:
    """The machine in a row of `MACHINE_COLUMNS`."""
    (
        machine_id,
        pool,
        template,
        state,
        port,
        project,
        generation,
        host,
        gone,
        reason,
        evidence,
        ports,
        configuration,
        metadata,
        lease,
    ) = row
    return Machine(
        machine_id,
        pool,
        template,
        State(state),
        port,
        None if project is None else Holding(project, metadata, None if lease == _NO_LEASE else _lease_of(lease)),
        generation,
        host,
        bool(gone),
        reason,
        evidence,
        () if ports == _NO_PORTS else _ports_of(ports),
        None if configuration == _NO_CONFIGURATION else _configuration_of(configuration),
    )


def _lease_as_text(holding: Holding | None) -> str:
    """The lease as JSON; empty without one."""
    if holding is None or holding.lease is None:
        return _NO_LEASE
    return msgspec.json.encode(holding.lease).decode()


def _configuration_as_text(configuration: Configuration | None) -> str:
    """What is known of the configuration as JSON; empty without one."""
    return _NO_CONFIGURATION if configuration is None else msgspec.json.encode(configuration).decode()


def _as_text(ports: tuple[tuple[str, int], ...]) -> str:
    """Named host ports as JSON: an array of pairs."""
    return msgspec.json.encode(ports).decode() if ports else _NO_PORTS
