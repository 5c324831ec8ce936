"""Whether an assign that waited waited for a start: not where a parked machine went on for it."""

from __future__ import annotations

import pytest

from worker_orchestrator.control.telling.traces import Steps
from worker_orchestrator.core.watch import Watch

PARKED = "so a parked one went on for it."


def why(*, unparked_at: float | None, ready_at: float) -> str:
    steps = Steps(begun_at=0.0, asked_at=100.0, line_s=0.1)
    watch = Watch(born=1.0, since=ready_at, state_since=ready_at, ready_at=2.0, unparked_at=unparked_at)
    assert steps.came_from_reserve(watch) is steps.why(watch).endswith(PARKED)
    return steps.why(watch)


def test_a_parked_machine_that_went_on_for_it_is_named() -> None:
    assert why(unparked_at=100.0, ready_at=100.2).endswith(PARKED)


def test_also_one_that_was_woken_for_a_project_before_it() -> None:
    """Twenty that are woken at once answer in any order."""
    assert why(unparked_at=99.9, ready_at=100.2).endswith(PARKED)


@pytest.mark.parametrize(
    ("unparked_at", "ready_at"),
    [
        (None, 100.2),  # it was never parked
        (50.0, 100.2),  # it was parked, and released by a project since
        (50.0, 50.2),  # the same, and it needed no answer
        (100.3, 100.2),  # it is woken again
    ],
)
def test_what_became_free_is_not(unparked_at: float | None, ready_at: float) -> None:
    assert why(unparked_at=unparked_at, ready_at=ready_at).endswith("until one became free.")
