"""What commands say of pools: each has a line in the table, with how it is in one word."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from worker_orchestrator.cli.pool_commands import _print
from worker_orchestrator.cli.pools import _HEADERS, _WIDE_HEADERS, _row, state_of_pool
from worker_orchestrator.cli.release import _in_words
from worker_orchestrator.wire.v1 import BackOff, Counted, Pool, PoolSizes, Released

POOL = Pool(
    name="node20",
    image="my/node:20",
    template="t",
    min_idle=4,
    max_idle=None,
    limit=100,
    max_machines=8,
    spare=0.25,
    paused=False,
    configured=PoolSizes(min_idle=4, max_idle=None, limit=100),
    machines=Counted(idle=1, assigned=7, starting=2),
    waiting=3,
    wanted_idle=4,
    why="min_idle is 4.",
    problem=None,
    back_off=None,
)
RESERVE_IS_SHORT: dict[str, Any] = {
    "held_back": "All 8 machines are in use.",
    "waiting": 0,
    "parked": 3,
    "machines": Counted(idle=4, parked=2, assigned=2),
}
BACK_OFF = BackOff(retry_in_seconds=3, reason="It exits.", evidence="")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "ok"),
        ({"held_back": "All 8 machines are in use."}, "short"),
        (RESERVE_IS_SHORT, "short reserve"),
        ({**RESERVE_IS_SHORT, "wanted_idle": None}, "short reserve"),
        ({**RESERVE_IS_SHORT, "waiting": 1}, "short"),
        ({**RESERVE_IS_SHORT, "wanted_idle": 5}, "short"),
        ({**RESERVE_IS_SHORT, "wanted_idle": None, "min_idle": 5}, "short"),
        ({**RESERVE_IS_SHORT, "parked": 2}, "short"),
        ({**RESERVE_IS_SHORT, "held_back": None}, "ok"),
        ({"back_off": BACK_OFF, "held_back": "It exits."}, "failing"),
        ({"problem": "The image is not here."}, "failing"),
        ({"paused": True, "back_off": BACK_OFF}, "paused"),
        ({"retired": True, "problem": "The settings have no such pool."}, "retired"),
    ],
)
def test_the_first_thing_to_know_of_a_pool_is_its_state(changes: dict[str, Any], word: str) -> None:
    assert state_of_pool(msgspec.structs.replace(POOL, **changes)) == word


def test_a_row_has_a_cell_for_each_header() -> None:
    shown = dict(zip(_HEADERS + _WIDE_HEADERS, _row(POOL, wide=True), strict=True))
    assert _row(POOL, wide=False) == tuple(shown[header] for header in _HEADERS)
    assert (shown["IDLE"], shown["ASSIGNED"], shown["STARTING"], shown["WAITING"]) == ("1", "7", "2", "3")
    assert (shown["MIN"], shown["MAX"], shown["LIMIT"], shown["STATE"]) == ("4", "-", "8", "ok")
    assert (shown["WANTED"], shown["SPARE"], shown["WHY"], shown["HELD BACK"]) == ("4", "25%", "min_idle is 4.", "-")


def test_where_a_pool_has_a_reserve_each_row_says_how_many_are_parked() -> None:
    parking = msgspec.structs.replace(
        POOL, name="web", parked=5, machines=msgspec.structs.replace(POOL.machines, parked=3)
    )
    assert _row(parking, wide=False, parks=True)[3] == "3/5"
    assert _row(POOL, wide=False, parks=True)[3] == "0"
    assert len(_row(POOL, wide=True, parks=True)) == len(_row(POOL, wide=True)) + 1


@pytest.mark.parametrize(("own", "shown"), [(None, "100"), (8, "8"), (200, "100")])
def test_the_limit_is_the_one_that_is_reached_first(own: int | None, shown: str) -> None:
    row = _row(msgspec.structs.replace(POOL, max_machines=own), wide=False)
    assert row[_HEADERS.index("LIMIT")] == shown


def test_what_a_pool_does_not_tell_is_a_dash() -> None:
    """A retired pool has no image; a service of an earlier version says neither what it wants nor why."""
    bare = msgspec.structs.replace(
        POOL, image="", wanted_idle=None, why="", spare=0.0, template=None, max_machines=None
    )
    shown = dict(zip(_HEADERS + _WIDE_HEADERS, _row(bare, wide=True), strict=True))
    assert {shown[header] for header in ("IMAGE", "WANTED", "WHY", "SPARE", "TEMPLATE", "HELD BACK")} == {"-"}


def test_the_names_of_its_ports_are_told_of_a_pool_that_has_any(capsys: pytest.CaptureFixture[str]) -> None:
    _print(POOL, "text")
    assert "ports" not in capsys.readouterr().out
    _print(msgspec.structs.replace(POOL, port_names=["http", "hmr"]), "text")
    assert "pool node20: image my/node:20, ports http, hmr\n" in capsys.readouterr().out


def test_a_release_promises_no_new_machine_of_a_retired_pool() -> None:
    released = Released(project="p", machine="w", generation=1, removed=True)
    assert _in_words(released).endswith(", and the pool makes a new one if it needs one")
    of_retired = msgspec.structs.replace(released, retired=True)
    assert _in_words(of_retired) == (
        "p released w: it is removed with its files, since the settings no longer name its pool"
    )


def test_what_was_dropped_of_the_sizes_is_told_below_them(capsys: pytest.CaptureFixture[str]) -> None:
    _print(POOL, "text")
    assert "dropped" not in capsys.readouterr().out
    _print(msgspec.structs.replace(POOL, dropped="`orchestrator scale` had set min_idle 7."), "text")
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("  dropped   `orchestrator scale` had set min_idle 7.")
    assert lines[at + 1].startswith("  machines")


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, None),
        ({"parked": 3, "changed": {"parked": 3}}, "3  (the settings say 0)"),
        ({"parked": 21, "sizing": "adaptive"}, "21  (demand asks for it; otherwise 0)"),
        ({"changed": {"parked": 0}}, None),
        ({"sizing": "adaptive", "changed": {"parked": 0}}, "0  (none ever, also where demand would ask for it)"),
    ],
)
def test_of_a_reserve_it_is_said_who_wants_it(
    changes: dict[str, Any], shown: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    _print(msgspec.structs.replace(POOL, **changes), "text")
    lines = [line.split(None, 1) for line in capsys.readouterr().out.splitlines()]
    assert [line[1] for line in lines if line[0] == "parked"] == ([] if shown is None else [shown])
