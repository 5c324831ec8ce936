"""When a machine changed last, as people understand that."""

from __future__ import annotations

from msgspec.structs import replace

from worker_orchestrator.control.telling.last_changes import LastChanges
from worker_orchestrator.core.machine import Cause, Change, Holding, Machine, State
from worker_orchestrator.core.reasons import PARKED, STILL_ANSWERS, UNPARKED_FOR_CHECK

RESERVE = Machine("w", "default", "t", State.PARKED, 9093, reason=PARKED)
CHECKED = replace(RESERVE, state=State.STARTING, reason=UNPARKED_FOR_CHECK)
ANSWERED = replace(RESERVE, state=State.READY, reason=STILL_ANSWERS)


def test_a_parked_machine_that_still_answers_has_not_changed_but_each_reply_is_made_anew() -> None:
    changes = LastChanges({"w": 5})
    for number, change in enumerate(
        (
            Change(RESERVE, CHECKED, Cause.UNPARKED),
            Change(CHECKED, ANSWERED, Cause.ANSWERED),
            Change(ANSWERED, RESERVE, Cause.PARKED),
        ),
        start=1,
    ):
        changes.committed([change], 10 * number)
        assert (changes.at_ms, changes.version) == ({"w": 5}, number)


def test_that_it_is_handed_out_after_that_is_a_change() -> None:
    changes = LastChanges({"w": 5})
    taken = replace(ANSWERED, holding=Holding("p"), generation=1)
    changes.committed([Change(ANSWERED, taken, Cause.ASSIGNED)], 40)
    assert changes.at_ms == {"w": 40}
    changes.committed([Change(taken, taken, Cause.KEPT)], 50)
    assert (changes.at_ms, changes.version) == ({"w": 40}, 1)
    failed = replace(taken, state=State.FAILED, holding=None)
    changes.committed([Change(failed, None, Cause.FORGOTTEN)], 60)
    assert (changes.at_ms, changes.version) == ({}, 2)
