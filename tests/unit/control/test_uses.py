"""What is open of a machine keeps it out of the reserve, whoever has it by then, and nothing of that stays behind."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from msgspec.structs import replace

from worker_orchestrator.control.deciding.uses import Uses
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import Holding, Machine, State

MACHINE = Machine("worker-1700000000000-abcdefghi", "default", "f00d", State.READY, 9093, Holding("p"), 1)


def test_a_machine_is_used_until_the_last_that_is_open_in_it_has_ended() -> None:
    """A command that a project began may go on after that has released its machine."""
    fleet = Fleet("owner")
    uses = Uses(cast("Any", SimpleNamespace(fleet=fleet, state=None)))
    released = replace(MACHINE, holding=None, generation=2)
    with uses.of(released):
        with uses.of(MACHINE), uses.of(MACHINE):
            assert (uses.is_open(MACHINE), uses.is_open(released)) == (True, True)
        assert (uses.is_open(MACHINE), uses.is_open(released)) == (False, True)
        assert dict(fleet.used) == {MACHINE.id: 1}
    assert dict(fleet.used) == {}
    assert not uses.is_open(released)
