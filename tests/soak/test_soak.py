"""What of a soak takes no time: its plan, and that its verdict fails where something does not hold."""

from __future__ import annotations

import pytest
from tests.soak.clock import STEPS
from tests.soak.plan import NAMES, PLAN, chosen
from tests.soak.verdict import Bounds, Verdict


def test_all_acts_play_unless_some_are_chosen() -> None:
    assert chosen([]) == [list(group) for group in PLAN]
    assert [[kind.name() for kind in group] for group in chosen(["clock set", "sleepers"])] == [
        ["sleepers"],
        ["clock set"],
    ]
    assert len(set(NAMES)) == len(NAMES)
    with pytest.raises(ValueError, match="There is no act sleeper, but: "):
        chosen(["sleeper"])


def test_the_clock_is_set_right_again_at_the_end() -> None:
    assert STEPS[-1][1] == 0
    assert [at_s for at_s, _ in STEPS] == sorted(at_s for at_s, _ in STEPS)


def test_what_does_not_hold_is_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    verdict = Verdict()
    verdict.measured("act", "as long as it took")
    assert verdict.check(1, "act", "wrong")
    assert verdict.report(["act"]) == 0
    assert not verdict.check([], "act", "it was not so")
    assert verdict.report(["act"]) == 1
    assert "act: it was not so" in capsys.readouterr().out


def test_an_act_that_measured_nothing_does_not_pass() -> None:
    assert Verdict().report(["act"]) == 1


def test_bounds_say_what_was_measured() -> None:
    assert str(Bounds.of([3.0, 1.0, 2.0])) == "1.00 to 3.00 s, middle 2.00 s"
