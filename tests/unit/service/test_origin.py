"""Whether a database belongs here, fact by fact."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from worker_orchestrator.core import reasons
from worker_orchestrator.core.configuration import UNKNOWN, Configuration, Stage
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.core.machine import Cause, Holding, Machine, State
from worker_orchestrator.engines.base import Identity
from worker_orchestrator.service.origin import home_of, keep_busy, reason_for_doubt

HERE = {"engine": "e1", "home": "computer", "file": "7", "backup": ""}
DOUBTS = [
    ({}, False, ""),
    (HERE, False, ""),
    ({**HERE, "engine": "e2"}, False, r"used with another engine \(e2, not e1\)"),
    ({**HERE, "engine": "e2"}, True, ""),  # it carries our mark: its id changes at each call
    ({**HERE, "home": "other"}, True, "copied from another computer"),
    ({**HERE, "home": ""}, False, ""),
    ({**HERE, "file": "8"}, True, "was copied or moved"),
    ({**HERE, "backup": "1795458288091"}, True, r"is a backup of 2026-11-23 \d\d:\d\d:\d\d UTC"),
]


@pytest.mark.parametrize(("meta", "marked", "said"), DOUBTS)
def test_a_doubt_is_named(meta: dict[str, str], *, marked: bool, said: str) -> None:
    found = reason_for_doubt(meta, HERE, marked=marked)
    assert re.search(said, found)
    assert bool(said) == bool(found)


def test_a_copy_of_a_file_is_another_file(tmp_path: Path) -> None:
    """Also under the same name, and a move is none."""
    identity, file, copy = Identity("e1", marked=False), tmp_path / "a.db", tmp_path / "b.db"
    file.write_bytes(b"content")
    before = home_of(file, identity)
    copy.write_bytes(file.read_bytes())
    assert home_of(copy, identity)["file"] != before["file"]
    assert home_of(file.rename(tmp_path / "c.db"), identity) == before
    assert home_of(None, identity)["file"] == ""


def test_what_is_free_and_runs_is_kept_busy_under_its_own_name() -> None:
    """Whatever the database says of it; what is assigned, on its way out or gone stays as it is."""
    machines = [
        Machine("idle", "default", "t", State.READY, 1),
        Machine("starting", "default", "t", State.STARTING, 2),
        Machine("missing", "default", "t", State.READY, 3),
        Machine("assigned", "default", "t", State.READY, 4, Holding("p"), 5),
        Machine("stopping", "default", "t", State.STOPPING, 6),
        Machine("failed", "default", "t", State.FAILED, 7),
    ]
    fleet = Fleet("owner", generation=5)
    fleet.load(machines, [], 0.0)
    running = {m.id: Instance(m.id, "owner", "default", "t", Status.RUNNING) for m in machines if m.id != "missing"}
    kept = keep_busy(fleet, running, 0.0)
    assert [(m.id, m.project, m.generation) for m in kept] == [("idle", "idle", 6), ("starting", "starting", 7)]
    assert {m.id: m.project for m in fleet.machines.values() if m not in kept} == {
        "missing": None,
        "assigned": "p",
        "stopping": None,
        "failed": None,
    }
    assert len(fleet.pending) == 2


def test_what_may_have_been_configured_since_is_never_handed_on() -> None:
    """The copy does not know of it: so it is not configured, and something may be there."""
    machines = [Machine("plain", "default", "t", State.READY, 1), Machine("late", "default", "t", State.READY, 2)]
    fleet = Fleet("owner")
    fleet.load(machines, [], 0.0)
    running = {m.id: Instance(m.id, "owner", "default", "t", Status.RUNNING) for m in machines}
    running["late"] = replace(running["late"], is_configurable=True)
    kept = keep_busy(fleet, running, 0.0)
    assert [(m.id, m.configuration) for m in kept] == [("plain", None), ("late", UNKNOWN)]


@pytest.mark.parametrize("status", [Status.PAUSED, Status.RUNNING])
@pytest.mark.parametrize("state", [State.PARKED, State.STARTING])
def test_what_is_in_the_reserve_is_kept_as_well(state: State, status: Status) -> None:
    """It may have been given to a project since, and paused by somebody who copies it."""
    fleet = Fleet("owner")
    fleet.load([Machine("reserve", "default", "t", state, 1, reason=reasons.UNPARKED)], [], 0.0)
    (kept,) = keep_busy(fleet, {"reserve": Instance("reserve", "owner", "default", "t", status)}, 0.0)
    assert (kept.project, kept.state, kept.is_unparking) == ("reserve", State.STARTING, False)


def test_what_was_being_cleaned_is_no_more_configured_than_before() -> None:
    fleet = Fleet("owner")
    was = Configuration(Stage.DONE, "d", is_certain=True)
    fleet.load([Machine("dirty", "default", "t", State.STARTING, 1, generation=1, configuration=was)], [], 0.0)
    running = {"dirty": Instance("dirty", "owner", "default", "t", Status.RUNNING)}
    (kept,) = keep_busy(fleet, running, 0.0)
    assert (kept.project, kept.configuration) == ("dirty", was.lost())
    assert fleet.machines["dirty"] == kept


@pytest.mark.parametrize("known", [None, Configuration(Stage.DONE, "d", is_certain=True, was_done=True)])
def test_what_a_project_has_may_be_configured_otherwise_by_now(known: Configuration | None) -> None:
    """The copy says what was there when it was made. What cannot be configured stays as it is."""
    own = Machine("late", "default", "t", State.READY, 1, Holding("p"), 5, configuration=known)
    fleet = Fleet("owner", generation=7)
    fleet.load([own, Machine("plain", "default", "t", State.READY, 2, Holding("q"), 6)], [], 0.0)
    running = {name: Instance(name, "owner", "default", "t", Status.RUNNING) for name in ("late", "plain")}
    running["late"] = replace(running["late"], is_configurable=True)
    assert keep_busy(fleet, running, 0.0) == []
    (change,) = fleet.pending
    assert (change.cause, change.reason) == (Cause.UNCONFIGURED, reasons.MAY_BE_CONFIGURED)
    assert fleet.machines["late"] == replace(own, configuration=UNKNOWN, reason=reasons.MAY_BE_CONFIGURED)


@pytest.mark.parametrize("state", [State.STARTING, State.SLEEPING, State.FAILED])
def test_what_does_not_serve_keeps_its_reason(state: State) -> None:
    """That says whether a restart is due, and whether it is asleep."""
    reason = reasons.RESTART_REQUESTED if state is State.STARTING else f"It was idle. {reasons.ASLEEP}"
    own = Machine("late", "default", "t", state, 1, Holding("p"), 5, reason=reason)
    fleet = Fleet("owner", generation=7)
    fleet.load([own], [], 0.0)
    keep_busy(fleet, {"late": Instance("late", "owner", "default", "t", Status.EXITED, is_configurable=True)}, 0.0)
    assert fleet.machines["late"] == replace(own, configuration=UNKNOWN)
