"""What `orchestrator plan` shows and sets."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.cli.test_pools_table import POOL

from worker_orchestrator.cli import plan as command
from worker_orchestrator.cli.exit_codes import CommandFailed
from worker_orchestrator.wire.v1 import PlannedSizes, Pool, PoolPlan, PoolSizes, ReplayedSizes

SIZES: dict[str, Any] = {"min_idle": 4, "max_idle": None, "limit": 100}
NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


def size(idle: int, ratio: float, hours: float, *, parked: int = 0, adaptive: bool = False) -> ReplayedSizes:
    return ReplayedSizes(
        idle=idle,
        parked=parked,
        adaptive=adaptive,
        hit_ratio=ratio,
        p50_wait_seconds=0.0,
        p99_wait_seconds=3.1,
        idle_hours=hours,
        parked_hours=12.0 * parked,
    )


PLAN = PoolPlan(
    pool="node20",
    sizing="fixed",
    target=0.99,
    since=NOW,
    until=NOW,
    arrivals=1470,
    warm_up_seconds=3.1,
    sizes=[size(0, 0.0, 0), size(4, 0.9785, 95), size(17, 0.9912, 407), size(23, 0.993, 70, adaptive=True)],
    now=PlannedSizes(idle=4, parked=0),
    proposed=PlannedSizes(idle=17, parked=0),
    sentence="1470 assigns in 24.0 hours, replayed with 3.1 s until a new machine answers.",
)


class Service:
    """What the command asks of a client."""

    def __init__(self, pool: Pool = POOL) -> None:
        self._pool = pool
        self.scaled: list[tuple[str, dict[str, Any]]] = []

    def pool(self, _name: str) -> Pool:
        return self._pool

    def scale(self, name: str, **changes: Any) -> Pool:
        self.scaled.append((name, changes))
        return self._pool


def test_each_size_has_a_row_with_what_it_would_have_been_worth(capsys: pytest.CaptureFixture[str]) -> None:
    command._print(PLAN)
    shown = capsys.readouterr().out
    lines = {" ".join(line.split()) for line in shown.splitlines()}
    assert (
        "pool node20, target 0.99: 1470 assigns in 24.0 hours, replayed with 3.1 s until a new machine answers."
        in lines
    )
    assert "4 0.9785 0 s 3.1 s 95.0 now" in lines
    assert "17 0.9912 0 s 3.1 s 407.0 proposed" in lines
    assert "max 23 0.9930 0 s 3.1 s 70.0 follows demand" in lines
    assert "The fixed size of least cost that reaches 0.99 is 17 idle." in lines
    parked = replace(PLAN, proposed=PlannedSizes(idle=2, parked=15), sizes=[*PLAN.sizes, size(2, 0.99, 48, parked=15)])
    command._print(parked)
    lines = {" ".join(line.split()) for line in capsys.readouterr().out.splitlines()}
    assert "IDLE PARKED HITS P50 P99 IDLE H PARKED H" in lines
    assert "2 15 0.9900 0 s 3.1 s 48.0 180.0 proposed" in lines
    assert "17 0 0.9912 0 s 3.1 s 407.0 0.0" in lines
    assert command._advice(parked).endswith("is 2 idle and 15 parked.")


def test_the_widest_table_fits_a_terminal_of_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """For five weeks, a thousand machines and waits of more than a quarter of an hour."""
    most = replace(size(9999, 0.9999, 840 * 9999), parked=9999, parked_hours=840.0 * 9999, p50_wait_seconds=1234.5678)
    wide = replace(most, p99_wait_seconds=99_999.5)
    command._print(
        replace(PLAN, sizes=[wide, replace(wide, adaptive=True)], proposed=PlannedSizes(idle=9999, parked=9999))
    )
    shown = capsys.readouterr().out.splitlines()
    assert any("max 9999" in line for line in shown)
    assert "1235 s" in shown[3]
    assert max(map(len, shown[1:])) <= 80


def test_of_a_pool_that_follows_demand_no_fixed_size_is_the_one_of_now() -> None:
    """Although one of them may be the same as what demand asks for now."""
    adaptive = replace(PLAN, sizing="adaptive")
    assert [command._note(adaptive, one) for one in adaptive.sizes] == ["", "", "proposed", "follows demand"]
    assert command._advice(adaptive) == (
        "The fixed size of least cost that reaches 0.99 is 17 idle. The pool follows demand, and keeps 4 idle now."
    )


def test_of_too_little_no_size_is_proposed(capsys: pytest.CaptureFixture[str]) -> None:
    command._print(replace(PLAN, enough=False, proposed=None))
    shown = capsys.readouterr().out
    assert "now" in shown, "the table is shown all the same"
    assert shown.endswith("\nToo little is on record to propose a size.\n")


def test_the_plot_has_a_mark_for_each_size_and_the_target(capsys: pytest.CaptureFixture[str]) -> None:
    lines = command.plot(PLAN)
    assert [sum(line.count(mark) for line in lines[1:-2]) for mark in "o*A"] == [2, 1, 1]
    assert any(line.startswith("  0.99 |--") for line in lines)
    assert max(map(len, lines)) <= 80
    assert all(char.isascii() for line in lines for char in line)
    assert lines[-1].endswith("407.0")
    flat = command.plot(replace(PLAN, sizes=[size(1, 1.0, 0)], proposed=None, target=0.9999))
    assert any("o" in line for line in flat[1:])


def test_of_a_pool_that_nobody_came_to_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    command._print(replace(PLAN, arrivals=0, sizes=[], sentence="No assign is on record."))
    assert capsys.readouterr().out == "pool node20, target 0.99: No assign is on record.\n"


def test_if_no_size_reaches_the_target_it_says_what_would_help() -> None:
    assert "--max-machines" in command._advice(replace(PLAN, proposed=None))


def test_what_is_proposed_is_set_as_scale_does(capsys: pytest.CaptureFixture[str]) -> None:
    service: Any = Service()
    command._apply(service, PLAN, asks=False)
    assert service.scaled == [("node20", {"min_idle": 17})]
    assert capsys.readouterr().err == "~ pool node20: min_idle 4 -> 17\nApplied.\n"
    for capped in (
        replace(POOL, changed={"max_idle": 5}),
        replace(POOL, configured=PoolSizes(**{**SIZES, "max_idle": 5})),
    ):
        service = Service(replace(capped, max_idle=40))  # a window is open, and that is not what changes
        command._apply(service, PLAN, asks=False)
        assert service.scaled == [("node20", {"min_idle": 17, "max_idle": 17})]
    parking: Any = Service()
    command._apply(parking, replace(PLAN, proposed=PlannedSizes(idle=4, parked=15)), asks=False)
    assert parking.scaled == [("node20", {"parked": 15})]


@pytest.mark.parametrize(("configured", "set_to"), [(None, None), (0, None), (3, 0)])
def test_a_reserve_that_is_not_needed_goes_back_to_the_settings(configured: int | None, set_to: int | None) -> None:
    """For a 0 would say that none is ever parked."""
    service: Any = Service(replace(POOL, configured=PoolSizes(**{**SIZES, "parked": configured})))
    command._apply(service, replace(PLAN, now=PlannedSizes(idle=17, parked=9)), asks=False)
    assert service.scaled == [("node20", {"parked": set_to})]


@pytest.mark.parametrize(
    ("plan", "pool", "said"),
    [
        (replace(PLAN, sizing="adaptive"), POOL, "follows demand by itself"),
        (replace(PLAN, proposed=None), POOL, "No size is proposed"),
        (replace(PLAN, now=PlannedSizes(idle=17, parked=0)), POOL, "has this size already"),
    ],
)
def test_what_needs_no_change_is_not_changed(
    plan: PoolPlan, pool: Pool, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    service: Any = Service(pool)
    command._apply(service, plan, asks=False)
    assert service.scaled == []
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("answer", [True, False])
def test_on_a_terminal_it_asks_first(answer: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    monkeypatch.setattr("click.confirm", lambda *_args, **_options: answer)
    service: Any = Service()
    command._apply(service, PLAN, asks=True)
    assert bool(service.scaled) is answer


def test_where_nobody_can_be_asked_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    service: Any = Service()
    with pytest.raises(CommandFailed, match=r"^Nothing was set\. Standard input is not a terminal"):
        command._apply(service, PLAN, asks=True)
    assert service.scaled == []
