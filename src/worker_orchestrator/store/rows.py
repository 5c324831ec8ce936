"""How machines and changes become rows of the tables `machine` and `event`, and the statements that write them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import compress
from operator import ne
from typing import Final

import msgspec
from msgspec.structs import astuple

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

_EVENT_COLUMNS: Final = ("event_seq", "event_cause", "event_project")
"""Those of a machine's row that hold its last event until the event table has it. The rest of the event is the row's own."""
MACHINE_COLUMNS: Final = "id, pool, template, state, port, project, generation, host, gone, reason, evidence, metadata"
"""In the order of the fields of `Machine`, whose `holding` is two of them: project and metadata."""
INSERT_MACHINE: Final = (
    f"INSERT INTO machine ({MACHINE_COLUMNS}, changed_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 # constant text
)
DELETE_MACHINE: Final = "DELETE FROM machine WHERE id = ?"
INSERT_EVENT: Final = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"

_HOLDING: Final = Machine.__struct_fields__.index("holding")
_VALUES: Final[Mapping[str, str]] = {word: word.value for word in (*Cause, *State)}  # `.value` of an enum takes 1 µs


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """One row of the event table: one transition of one machine. The fields are in the order of the columns.

    `id` is its number, `at_ms` wall time. `state` is None for a machine that is not on record any more.
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


@cache
def update_machine(changed: tuple[bool, ...], *, with_event: bool) -> str:
    """The statement that writes the columns that changed, `changed_ms` and, if `with_event`, the event of the change.

    A column that stays as it is need not be checked and written again, which saves a third of the time.
    """
    names = [*compress(MACHINE_COLUMNS.split(", "), changed), "changed_ms", *(_EVENT_COLUMNS if with_event else ())]
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
        change.machine.reason,
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
        "" if holding is None else holding.metadata,
    )


def changed_columns(before: Machine, after: Machine) -> tuple[tuple[bool, ...], list[object]]:
    """Which columns of `MACHINE_COLUMNS` a change changed, and their new values. Compares whole structs, which is fast."""
    fields = astuple(after)
    changed = tuple(map(ne, fields, astuple(before)))
    values = list(compress(fields, changed))
    if not changed[_HOLDING]:
        return (*changed, False), values
    old, new = before.holding, after.holding
    values[sum(changed[:_HOLDING])] = None if new is None else new.project
    metadata = "" if new is None else new.metadata
    if metadata == ("" if old is None else old.metadata):
        return (*changed, False), values
    values.append(metadata)
    return (*changed, True), values


def machine_of(row: tuple[str, str, str, str, int | None, str | None, int, str, int, str, str, str]) -> Machine:
    """The machine in a row of `MACHINE_COLUMNS`."""
    machine_id, pool, template, state, port, project, generation, host, gone, reason, evidence, metadata = row
    return Machine(
        machine_id,
        pool,
        template,
        State(state),
        port,
        None if project is None else Holding(project, metadata),
        generation,
        host,
        bool(gone),
        reason,
        evidence,
    )
