"""The model of chaos, asked about paused containers: which of them nobody may have."""

from __future__ import annotations

import pytest
from tests.chaos.harm import Harm, Kind
from tests.chaos.model import Model, Row

PAUSED = {"w1": "paused"}


def row(generation: int = 1, state: str = "ready", project: str | None = "p") -> Row:
    return Row("w1", state, project, 9093, gone=False, reason="", generation=generation)


@pytest.mark.parametrize(
    ("looks", "holds"),
    [
        ([(PAUSED, row()), (PAUSED, row())], False),
        (
            [(PAUSED, row())],
            True,
        ),  # it was parked when the containers were listed, and was given to a project after that
        ([(PAUSED, row(1)), (PAUSED, row(2))], True),  # it was parked in between
        ([(PAUSED, row()), ({"w1": "running"}, row()), (PAUSED, row())], True),
        ([(PAUSED, row(0, "parked", None)), (PAUSED, row(0, "parked", None))], True),
    ],
    ids=["of a project", "once", "of two projects", "not all the time", "parked"],
)
def test_a_project_has_no_paused_machine(looks: list[tuple[dict[str, str], Row]], *, holds: bool) -> None:
    model = Model(Harm(), 5)
    for containers, seen in looks:
        model.check_containers(containers, [seen])
    assert (not model.violations) is holds, model.violations


def test_what_chaos_itself_paused_is_excused() -> None:
    model = Model(Harm(), 5)
    with model.harm.during(Kind.PAUSED, "w1"):
        pass
    for _ in range(2):
        model.check_containers(PAUSED, [row()])
    assert not model.violations
