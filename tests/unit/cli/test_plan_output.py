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
from worker_orchestrator.wire.v1 import PlannedSizes, Pool, PoolPlan, ReplayedSizes

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
    assert "4 0 0.9785 0 s 3.1 s 95.0 0.0 now" in lines
    assert "17 0 0.9912 0 s 3.1 s 407.0 0.0 proposed" in lines
    assert "up to 23 up to 0 0.9930 0 s 3.1 s 70.0 0.0 follows demand" in lines
    assert "The smallest fixed size that reaches 0.99 is 17 idle." in lines
    parked = replace(PLAN, proposed=PlannedSizes(idle=2, parked=15))
    assert command._advice(parked).endswith("is 2 idle and 15 parked.")


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
    capped: Any = Service(replace(POOL, max_idle=5))
    command._apply(capped, PLAN, asks=False)
    assert capped.scaled == [("node20", {"min_idle": 17, "max_idle": 17})]
    parking: Any = Service()
    command._apply(parking, replace(PLAN, proposed=PlannedSizes(idle=2, parked=15)), asks=False)
    assert parking.scaled == [("node20", {"min_idle": 2, "parked": 15})]


@pytest.mark.parametrize(
    ("plan", "pool", "said"),
    [
        (replace(PLAN, sizing="adaptive"), POOL, "follows demand by itself"),
        (replace(PLAN, proposed=None), POOL, "No size is proposed"),
        (PLAN, replace(POOL, min_idle=17), "has this size already"),
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
