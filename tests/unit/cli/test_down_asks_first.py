"""`down --all` asks before it stops anything: whoever cannot be asked, or says no, loses nothing by that."""

from __future__ import annotations

import asyncio
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.unit.core.build import a_machine

from worker_orchestrator.cli import down, main
from worker_orchestrator.core.machine import Cause, Change, Machine
from worker_orchestrator.store.store import DATABASE, Store

Confirmed = AbstractSet[tuple[str, str | None]]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the command does, in this order: that it stops the service, and what it removes."""
    told: list[Any] = []

    async def remove(_: object, confirmed: Confirmed, *, everything: bool, yes: bool) -> None:
        await asyncio.sleep(0)
        told.append((sorted(confirmed), everything, yes))

    monkeypatch.setattr(down, "stop_service", lambda _: told.append("stopped"))
    monkeypatch.setattr(down, "_down", remove)
    return told


def run(folder: Path, *words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(main, ["down", "--state-dir", str(folder), *words], input=stdin)


def records(folder: Path, *machines: Machine) -> Path:
    with Store(folder / DATABASE) as store:
        store.commit([Change(None, machine, Cause.ADOPTED) for machine in machines], {}, 1)
    return folder


def assigned(folder: Path) -> Path:
    mine, gone = a_machine("w1", project="p", generation=1), a_machine("w2", project="q", generation=2, port=9094)
    return records(folder, mine, gone, a_machine("w3", port=9095))


def test_where_nobody_can_be_asked_nothing_is_stopped(tmp_path: Path, done: list[Any]) -> None:
    result = run(assigned(tmp_path), "--all")
    assert (result.exit_code, done) == (1, [])
    assert "w1  assigned to p" in result.stderr
    assert result.stderr.splitlines()[-1] == (
        "orchestrator: No machine was removed, and no service was stopped. Standard input is not a terminal, so nobody can "
        "be asked. Add --yes to go on without asking."
    )


def test_whoever_says_yes_is_asked_before_the_service_is_stopped(tmp_path: Path, done: list[Any]) -> None:
    result = run(assigned(tmp_path), "--all", stdin="y\n")
    assert result.exit_code == 0
    assert "Remove 2 assigned machines with all files?" in result.stderr
    assert done == ["stopped", ([("w1", "p"), ("w2", "q")], True, False)]


def test_whoever_says_no_keeps_what_projects_have(tmp_path: Path, done: list[Any]) -> None:
    assert run(assigned(tmp_path), "--all", stdin="n\n").exit_code == 0
    assert done == ["stopped", ([], False, False)]


@pytest.mark.parametrize(("words", "everything"), [(("--all", "--yes"), True), ((), False)])
def test_nobody_is_asked_without_a_need(
    tmp_path: Path, done: list[Any], words: tuple[str, ...], *, everything: bool
) -> None:
    assert run(assigned(tmp_path), *words).exit_code == 0
    assert done == ["stopped", ([], everything, "--yes" in words)]


def test_where_no_project_has_a_machine_there_is_nothing_to_ask(tmp_path: Path, done: list[Any]) -> None:
    assert run(records(tmp_path, a_machine("w1")), "--all").exit_code == 0
    assert done == ["stopped", ([], True, False)]


def test_records_that_cannot_be_read_are_told_when_they_are_opened(tmp_path: Path, done: list[Any]) -> None:
    (tmp_path / DATABASE).write_bytes(b"no database" * 100)
    assert run(tmp_path, "--all").exit_code == 0
    assert done == ["stopped", ([], True, False)]
