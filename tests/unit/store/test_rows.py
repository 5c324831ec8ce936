"""The columns that a change writes: with them, the row of the machine before it becomes the row after it."""

from __future__ import annotations

from itertools import product

import pytest
from msgspec.structs import replace

from worker_orchestrator.core.configuration import Configuration, Stage
from worker_orchestrator.core.lease import Lease, Terms
from worker_orchestrator.core.machine import Holding, Machine, State
from worker_orchestrator.store.rows import MACHINE_COLUMNS, changed_columns, machine_of, row_of

FREE = Machine("w1", "default", "t1", State.READY, 9093, reason="answered")
HELD = replace(FREE, holding=Holding("p"), generation=1, reason="assigned")
MACHINES = (
    FREE,
    HELD,
    replace(HELD, holding=Holding("p", '{"a":1}')),
    replace(HELD, holding=Holding("p", '{"a":2}')),
    replace(HELD, holding=Holding("q", '{"a":1}'), generation=2),
    replace(HELD, holding=Holding("p", '{"a":1}', Lease(Terms(ttl=60), 1.5, 2.25))),
    replace(HELD, holding=Holding("p", "", Lease(Terms(60, 1, 2, 3), 1.1, 2.2, is_used=True))),
    replace(HELD, configuration=Configuration(Stage.WRITING, "d1", is_certain=True), reason="is configured"),
    replace(HELD, configuration=Configuration(Stage.DONE, "d1", is_certain=True, exit_code=0, took_ms=41)),
    replace(FREE, state=State.STARTING, configuration=Configuration(Stage.DONE, "d1")),
    replace(FREE, ports=(("http", 9093), ("hmr", 9094))),
    replace(HELD, ports=(("http", 9093), ("hmr", 9094)), configuration=Configuration(Stage.FAILED, "d2", exit_code=1)),
    replace(FREE, state=State.STARTING, port=9094, template="t2", host="10.0.0.7"),
    replace(FREE, state=State.FAILED, gone=True, reason="vanished", evidence="its last words"),
)


@pytest.mark.parametrize(("before", "after"), list(product(MACHINES, MACHINES)))
def test_what_a_change_writes_makes_one_row_of_the_other(before: Machine, after: Machine) -> None:
    changed, values = changed_columns(before, after)
    assert len(changed) == len(MACHINE_COLUMNS.split(", "))
    assert sum(changed) == len(values)
    written = iter(values)
    row = tuple(next(written) if is_new else old for old, is_new in zip(row_of(before), changed, strict=True))
    assert row == row_of(after)


@pytest.mark.parametrize("machine", MACHINES)
def test_a_row_gives_the_machine_back_and_an_equal_one_writes_nothing(machine: Machine) -> None:
    assert machine_of(row_of(machine)) == machine  # type: ignore[arg-type] # SQLite gives the same types
    assert changed_columns(machine, replace(machine)) == ((False,) * 15, [])


def test_what_a_project_says_again_leaves_its_metadata_alone() -> None:
    changed, values = changed_columns(HELD, replace(HELD, holding=Holding("q")))
    assert [name for name, is_new in zip(MACHINE_COLUMNS.split(", "), changed, strict=True) if is_new] == ["project"]
    assert values == ["q"]
