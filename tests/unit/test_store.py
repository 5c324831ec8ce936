"""The store: what survives, what it refuses, and that nothing is half stored."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from worker_orchestrator.errors import CommitFailed, StoreLocked, StoreRefused
from worker_orchestrator.machine import Cause, Change, Machine, State
from worker_orchestrator.store import SCHEMA_VERSION, Lock, Store

NEW = Machine("worker-1-aaaaaaaaa", "default", "t", State.STARTING, 9093, reason="new")
READY = replace(NEW, state=State.READY)
TAKEN = replace(READY, project="p", generation=1)
ASSIGNING = [
    Change(None, NEW, Cause.CREATED),
    Change(NEW, READY, Cause.ANSWERED),
    Change(READY, TAKEN, Cause.ASSIGNED),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "orchestrator.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as opened:
        yield opened


def test_what_was_committed_is_there_when_the_file_is_opened_again(path: Path, store: Store) -> None:
    store.commit(ASSIGNING, {"generation": 1, "last_port": 9093}, 5)
    with Store(path) as again:
        assert again.machines() == [TAKEN]
        assert again.meta().items() >= {"generation": "1", "last_port": "9093"}.items()
        assert again.meta()["owner"] == store.meta()["owner"]


def test_two_stores_have_two_owners(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db") as one, Store(tmp_path / "b.db") as other:
        assert one.meta()["owner"] != other.meta()["owner"]


def test_every_field_of_a_machine_survives(store: Store) -> None:
    dead = Machine("w", "pool", "t", State.FAILED, None, "p", 7, "10.0.0.1", gone=True, reason="why", evidence="a\nb")
    ready = replace(dead, state=State.READY, gone=False)
    store.commit([Change(None, ready, Cause.ADOPTED), Change(ready, dead, Cause.FAILED)], {}, 5)
    assert store.machines() == [dead]


def test_a_batch_is_stored_whole_or_not_at_all(store: Store) -> None:
    store.commit(ASSIGNING, {}, 5)
    other = replace(NEW, id="worker-2-bbbbbbbbb", port=9094)
    thief = replace(other, state=State.READY, project="p", generation=2)
    with pytest.raises(CommitFailed, match="UNIQUE constraint failed"):
        store.commit([Change(None, other, Cause.CREATED), Change(None, thief, Cause.ADOPTED)], {"generation": 2}, 6)
    assert store.machines() == [TAKEN]
    assert "generation" not in store.meta()
    assert len(store.events()) == 3


def test_the_database_itself_refuses_two_machines_on_one_port(store: Store) -> None:
    store.commit(ASSIGNING, {}, 5)
    with pytest.raises(CommitFailed, match="UNIQUE"):
        store.commit([Change(None, replace(NEW, id="w2"), Cause.CREATED)], {}, 6)


def test_a_gone_machine_leaves_its_port_to_others(store: Store) -> None:
    gone = replace(NEW, state=State.FAILED, gone=True)
    store.commit(
        [ASSIGNING[0], Change(NEW, gone, Cause.FAILED), Change(None, replace(NEW, id="w2"), Cause.CREATED)], {}, 6
    )
    assert len(store.machines()) == 2


def test_one_batch_may_hand_a_project_from_one_machine_to_the_next(store: Store) -> None:
    store.commit(ASSIGNING, {}, 5)
    stopping = replace(TAKEN, project=None, state=State.STOPPING)
    adopted = replace(TAKEN, id="w2", port=9094, generation=2)
    store.commit([Change(TAKEN, stopping, Cause.RELEASED), Change(None, adopted, Cause.ADOPTED)], {}, 6)
    assert {machine.id: machine.project for machine in store.machines()} == {"w2": "p", TAKEN.id: None}


def test_what_is_forgotten_leaves_a_tombstone(store: Store) -> None:
    stopping = replace(READY, state=State.STOPPING)
    store.commit(
        [*ASSIGNING[:2], Change(READY, stopping, Cause.RETIRED), Change(stopping, None, Cause.FORGOTTEN)], {}, 5
    )
    assert store.machines() == []
    assert store.tombstones() == [NEW.id]


def test_each_change_is_told_once_with_the_project_that_it_concerned(store: Store) -> None:
    released = replace(TAKEN, project=None, state=State.STARTING, reason="released")
    store.commit([*ASSIGNING, Change(TAKEN, released, Cause.RELEASED)], {}, 5)
    told = [(row[4], row[6], row[7]) for row in store.events()]
    assert told == [
        (None, "created", "starting"),
        (None, "answered", "ready"),
        ("p", "assigned", "ready"),
        ("p", "released", "starting"),
    ]
    assert [row[0] for row in store.events(after=2)] == [3, 4]


def test_the_event_table_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_orchestrator.store.EVENTS_KEPT", 10)
    monkeypatch.setattr("worker_orchestrator.store._PRUNE_EVERY", 5)
    for number in range(20):
        store.commit([Change(None, replace(NEW, id=f"w{number}", port=9100 + number), Cause.CREATED)], {}, number)
    assert len(store.events()) == 10


def test_a_newer_database_is_refused_and_left_as_it_is(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StoreRefused, match="upgrade worker-orchestrator"):
        Store(path)
    assert path.read_bytes() == before


def test_a_damaged_database_is_refused_and_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreRefused, match="orchestrator recover"):
        Store(path)
    assert path.read_bytes() == b"no database at all" * 100


def test_a_second_process_is_refused_and_told_who_holds_the_directory(tmp_path: Path) -> None:
    first = Lock(tmp_path)
    holder = Lock.holder(tmp_path)
    with pytest.raises(StoreLocked, match=rf"\(pid {holder}\) uses the state directory"):
        Lock(tmp_path)
    first.release()
    assert Lock.holder(tmp_path) is None
    Lock(tmp_path).release()


def test_a_state_directory_that_cannot_be_made_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreRefused, match="--state-dir"):
        Lock(tmp_path / "file" / "state")
