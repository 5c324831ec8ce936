"""The store: what survives, what it refuses, and that nothing is half stored."""

from __future__ import annotations

import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import apsw
import pytest
from msgspec.structs import replace

from worker_orchestrator.core.lease import EndsBy, Lease, Terms
from worker_orchestrator.core.machine import Cause, Change, Holding, Machine, State
from worker_orchestrator.core.reasons import PARKED, STILL_ANSWERS, UNPARKED, UNPARKED_FOR_CHECK
from worker_orchestrator.errors import CommitFailed, StoreError, StoreRefused
from worker_orchestrator.store.database import (
    BUSY_TIMEOUT_MS,
    PAGE_BYTES,
    WAL_LIMIT_BYTES,
    connect,
    look_at,
    open_database,
)
from worker_orchestrator.store.event_log import EXPIRIES, LAST_OF_ASSIGNMENT, MOST_IN_ROWS, OF_ASSIGNMENT
from worker_orchestrator.store.event_numbers import SKIPPED, count_to_skip
from worker_orchestrator.store.migrations import APPLICATION_ID, SCHEMA_VERSION, STEPS
from worker_orchestrator.store.store import Store

NEW = Machine("worker-1-aaaaaaaaa", "default", "t", State.STARTING, 9093, reason="new")
READY = replace(NEW, state=State.READY)
TAKEN = replace(READY, holding=Holding("p"), generation=1)
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
    dead = Machine(
        "w",
        "pool",
        "t",
        State.FAILED,
        None,
        Holding("p", "{}"),
        7,
        "10.0.0.1",
        gone=True,
        reason="why",
        evidence="a\nb",
    )
    ready = replace(dead, state=State.READY, gone=False)
    store.commit([Change(None, ready, Cause.ADOPTED), Change(ready, dead, Cause.FAILED)], {}, 5)
    assert store.machines() == [dead]


def test_a_batch_is_stored_whole_or_not_at_all(store: Store) -> None:
    store.commit(ASSIGNING, {}, 5)
    other = replace(NEW, id="worker-2-bbbbbbbbb", port=9094)
    thief = replace(other, state=State.READY, holding=Holding("p"), generation=2)
    with pytest.raises(CommitFailed, match="UNIQUE constraint failed"):
        store.commit([Change(None, other, Cause.CREATED), Change(None, thief, Cause.ADOPTED)], {"generation": 2}, 6)
    assert store.machines() == [TAKEN]
    assert store.meta()["generation"] == "1"
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
    stopping = replace(TAKEN, holding=None, state=State.STOPPING)
    adopted = replace(TAKEN, id="w2", port=9094, generation=2)
    store.commit([Change(TAKEN, stopping, Cause.RELEASED), Change(None, adopted, Cause.ADOPTED)], {}, 6)
    assert {machine.id: machine.project for machine in store.machines()} == {"w2": "p", TAKEN.id: None}


def test_what_is_removed_leaves_a_tombstone(store: Store) -> None:
    """Whether its record goes with it, or stays for a while as evidence."""
    stopping, failed = replace(READY, state=State.STOPPING), replace(READY, id="w2", port=9094, state=State.FAILED)
    forgotten = Change(stopping, None, Cause.FORGOTTEN, buries=True)
    store.commit([*ASSIGNING[:2], Change(READY, stopping, Cause.RETIRED), forgotten], {}, 5)
    assert store.machines() == []
    assert store.tombstones() == [NEW.id]
    ready = replace(failed, state=State.READY)
    gone = replace(failed, gone=True)
    removed = Change(failed, gone, Cause.REMOVED, buries=True)
    store.commit([Change(None, ready, Cause.ADOPTED), Change(ready, failed, Cause.FAILED), removed], {}, 6)
    assert store.machines() == [gone]
    assert store.tombstones() == [NEW.id, "w2"]


def test_what_is_merely_forgotten_leaves_no_tombstone(store: Store) -> None:
    """It vanished by itself, and should it turn up, its files are somebody's work."""
    gone = replace(TAKEN, state=State.FAILED, gone=True)
    store.commit([*ASSIGNING, Change(TAKEN, gone, Cause.FAILED), Change(gone, None, Cause.FORGOTTEN)], {}, 5)
    assert store.machines() == []
    assert store.tombstones() == []


def bury(store: Store, machine_id: str, at_ms: int) -> None:
    stopping = replace(NEW, id=machine_id, state=State.STOPPING)
    starting = replace(stopping, state=State.STARTING)
    store.commit(
        [
            Change(None, starting, Cause.CREATED),
            Change(starting, stopping, Cause.RETIRED),
            Change(stopping, None, Cause.FORGOTTEN, buries=True),
        ],
        {},
        at_ms,
    )


def test_tombstones_are_kept_in_the_order_in_which_they_came_whatever_the_clock_said(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a clock that was years ahead, those that come later would be pruned first, and their orphans become strays."""
    monkeypatch.setattr("worker_orchestrator.store.event_log.TOMBSTONES_KEPT", 3)
    monkeypatch.setattr("worker_orchestrator.store.event_log.PRUNE_EVERY", 1)
    with Store(path) as store:
        for number, at_ms in enumerate([9_000, 9_001, 5, 4, 3], start=1):
            bury(store, f"w{number}", at_ms)
        assert store.tombstones() == ["w3", "w4", "w5"]
    with Store(path) as store:
        bury(store, "w6", 2)
        assert store.tombstones() == ["w4", "w5", "w6"]


def test_a_parked_machine_that_still_answers_counts_as_unchanged(path: Path) -> None:
    """Its row tells how it is, and when that was news."""
    parked = replace(READY, state=State.PARKED, reason=PARKED)
    checked = replace(parked, state=State.STARTING, reason=UNPARKED_FOR_CHECK)
    answers = replace(READY, reason=STILL_ANSWERS)
    with Store(path) as store:
        store.commit([*ASSIGNING[:2], Change(READY, parked, Cause.PARKED)], {}, 5)
        check = (
            Change(parked, checked, Cause.UNPARKED),
            Change(checked, answers, Cause.ANSWERED),
            Change(answers, parked, Cause.PARKED),
        )
        for number, change in enumerate(check, start=6):
            store.commit([change], {}, number)
            assert (store.machines(), store.changed_ms()) == ([change.after], {NEW.id: 5})
        taken = replace(parked, state=State.STARTING, reason=UNPARKED)
        store.commit([Change(parked, taken, Cause.UNPARKED)], {}, 9)
        assert store.changed_ms() == {NEW.id: 9}


def test_what_is_adopted_has_no_tombstone_any_more(store: Store) -> None:
    """Whoever adopts it wants it kept."""
    bury(store, "w1", 5)
    store.commit([Change(None, replace(READY, id="w1"), Cause.ADOPTED)], {}, 6)
    assert store.tombstones() == []


def test_each_change_is_told_once_with_the_project_that_it_concerned(store: Store) -> None:
    released = replace(TAKEN, holding=None, state=State.STARTING, reason="released")
    store.commit([*ASSIGNING, Change(TAKEN, released, Cause.RELEASED)], {}, 5)
    told = [(event.project, event.cause, event.state) for event in store.events()]
    assert told == [
        (None, "created", "starting"),
        (None, "answered", "ready"),
        ("p", "assigned", "ready"),
        ("p", "released", "starting"),
    ]
    assert [event.id for event in store.events(after=2)] == [3, 4]


# events that rows carry


AGAIN = replace(TAKEN, holding=Holding("q"), generation=2)
FREE = replace(TAKEN, holding=None, reason="released")
ALONE = [
    Change(TAKEN, FREE, Cause.RELEASED),
    Change(FREE, AGAIN, Cause.ASSIGNED),
    Change(AGAIN, replace(AGAIN, holding=None, state=State.STARTING, reason="released"), Cause.RELEASED),
]


def in_table(path: Path) -> list[tuple[object, ...]]:
    """As another program sees the event table."""
    with closing(connect(path, "mode=ro")) as db:
        return db.execute("SELECT * FROM event ORDER BY seq").fetchall()


def test_a_change_that_comes_alone_waits_in_its_row_for_its_place_in_the_event_table(path: Path, store: Store) -> None:
    store.commit(ASSIGNING, {}, 5)
    store.commit(ALONE[:1], {}, 6)
    assert store.machines() == [FREE]
    assert (len(in_table(path)), store.has_unpersisted_events) == (3, True)
    assert store.persist_events()
    assert (len(in_table(path)), store.has_unpersisted_events) == (4, False)
    assert store.persist_events()
    assert in_table(path)[3:] == [(4, 6, NEW.id, "default", "p", 1, "released", "ready", "released", None)]


@pytest.mark.parametrize("read", ["events", "of", "range", "copy", "close"])
def test_whoever_reads_finds_every_event_in_the_table(path: Path, read: str) -> None:
    with Store(path) as store:
        store.commit(ASSIGNING, {}, 5)
        store.commit(ALONE[:1], {}, 6)
        if read == "events":
            assert [event.id for event in store.events()] == [1, 2, 3, 4]
        elif read == "of":
            assert [event.cause for event in store.events_of(NEW.id, 1)] == ["assigned", "released"]
        elif read == "range":
            assert store.event_range() == (1, 4)
        elif read == "copy":
            store.copy_to(path.with_name("copy.db"))
            with Store(path.with_name("copy.db")) as copy:
                assert copy.event_range() == (1, 4)
    assert [row[0] for row in in_table(path)] == [1, 2, 3, 4]


def test_alone_or_together_changes_are_told_alike(tmp_path: Path) -> None:
    told = []
    for name, step in (("alone", 1), ("together", len(ALONE))):
        with Store(tmp_path / name) as store:
            store.commit(ASSIGNING, {}, 5)
            for first in range(0, len(ALONE), step):
                store.commit(ALONE[first : first + step], {}, 6)
            told.append((store.machines(), store.events(), store.meta()["generation"]))
    assert told[0] == told[1]
    assert [event.id for event in told[0][1]] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("count", range(1, len(ALONE) + 1))
def test_what_rows_carry_when_the_process_is_killed_is_in_the_table_after_the_next_start(
    path: Path, count: int
) -> None:
    """With the numbers that it had; and the next event gets the next one."""
    writer = (
        "import os, pathlib, sys; from tests.unit.store.test_store import ALONE, ASSIGNING, Store; "
        "store = Store(pathlib.Path(sys.argv[1])); store.commit(ASSIGNING, {}, 5); "
        "[store.commit([change], {}, 6) for change in ALONE[:int(sys.argv[2])]]; os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", writer, str(path), str(count)], check=True)
    assert len(in_table(path)) == 3 + count - count % 2  # every other change finds its machine's row taken
    for _ in range(2):  # a second start moves nothing twice
        with Store(path) as store:
            assert [event.id for event in store.events()] == list(range(1, 4 + count))
            last = store.events()[-1]
            assert (last.project, last.cause) == [("p", "released"), ("q", "assigned"), ("q", "released")][count - 1]
            assert store.meta()["generation"] == ("1" if count == 1 else "2")
    with Store(path) as store:
        machine = store.machines()[0]
        store.commit([Change(machine, replace(machine, reason="x"), Cause.MOVED)], {}, 7)
        assert store.event_range() == (1, 4 + count)


def test_where_events_cannot_be_put_into_their_table_the_rows_go_on_carrying_them(path: Path, store: Store) -> None:
    store.commit(ASSIGNING, {}, 5)
    store.commit(ALONE[:1], {}, 6)
    store._db.execute("PRAGMA query_only = 1")
    assert not store.persist_events()
    with pytest.raises(CommitFailed):
        store.commit(ALONE[1:2], {}, 7)
    store._db.execute("PRAGMA query_only = 0")
    assert store.has_unpersisted_events
    store.commit(ALONE[1:2], {}, 8)
    assert [event.cause for event in store.events(after=3)] == ["released", "assigned"]


def problem_of(store: Store) -> str:
    return store.problem


@pytest.mark.parametrize("changes", [ASSIGNING, []], ids=["machine", "fact"])
def test_what_failed_last_is_told_until_something_can_be_stored_again(store: Store, changes: list[Change]) -> None:
    assert problem_of(store) == ""
    store._db.execute("PRAGMA query_only = 1")
    with pytest.raises(CommitFailed):
        store.commit(changes, {"key": "value"}, 5)
    assert problem_of(store) == (
        "Nothing can be stored (attempt to write a readonly database), so no machine can be assigned or released. "
        "Make sure that the file and its folder are writable."
    )
    store.retry_writing()
    assert problem_of(store), "it is as it was"
    store._db.execute("PRAGMA query_only = 0")
    assert problem_of(store), "to ask changes nothing"
    store.commit(changes, {"key": "value"}, 5)
    assert problem_of(store) == ""


def test_an_attempt_that_succeeds_leaves_nothing_behind(store: Store) -> None:
    store._db.execute("PRAGMA query_only = 1")
    with pytest.raises(CommitFailed):
        store.commit(ASSIGNING, {}, 5)
    store._db.execute("PRAGMA query_only = 0")
    before = store.meta()
    store.retry_writing()
    assert (store.problem, store.meta()) == ("", before)


def test_an_attempt_waits_for_no_other_program_and_a_commit_still_does(path: Path, store: Store) -> None:
    def seconds_of(store_it: Callable[[], None]) -> float:
        begun_s = time.monotonic()
        with suppress(CommitFailed):
            store_it()
        assert "Another program is writing to it" in problem_of(store)
        return time.monotonic() - begun_s

    def commit() -> None:
        store.commit([], {"key": "value"}, 5)

    waits_s = BUSY_TIMEOUT_MS / 1000 * 0.9
    with closing(connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert seconds_of(commit) >= waits_s
        assert seconds_of(store.retry_writing) < waits_s
        assert seconds_of(commit) >= waits_s
    store.retry_writing()
    assert problem_of(store) == ""


def test_no_more_events_are_carried_than_a_moment_brings(path: Path, store: Store) -> None:
    """If they cannot be put into their table, somebody hears of it."""
    count = MOST_IN_ROWS + 1
    ready = [replace(READY, id=f"w{number}", port=9100 + number) for number in range(count)]
    store.commit([Change(None, machine, Cause.ADOPTED) for machine in ready], {}, 5)
    for number, machine in enumerate(ready):
        taken = replace(machine, holding=Holding(f"p{number}"), generation=number + 1)
        store.commit([Change(machine, taken, Cause.ASSIGNED)], {}, 6)
        assert store.has_unpersisted_events == (number < MOST_IN_ROWS)


def test_where_each_commit_is_an_fsync_no_event_is_carried(path: Path) -> None:
    with Store(path, durability="power") as store:
        store.commit(ASSIGNING, {}, 5)
        store.commit(ALONE[:1], {}, 6)
        assert not store.has_unpersisted_events
        assert len(in_table(path)) == 4


def test_a_change_that_comes_alone_to_a_machine_not_on_record_is_refused(store: Store) -> None:
    with pytest.raises(CommitFailed, match="is not on record"):
        store.commit(ALONE[:1], {}, 6)
    assert not store.has_unpersisted_events
    assert store.event_range() == (1, 0)


def test_the_event_table_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_orchestrator.store.event_log.EVENTS_KEPT", 10)
    monkeypatch.setattr("worker_orchestrator.store.event_log.PRUNE_EVERY", 5)
    for number in range(20):
        store.commit([Change(None, replace(NEW, id=f"w{number}", port=9100 + number), Cause.CREATED)], {}, number)
    assert len(store.events()) == 10


def test_the_event_table_is_bounded_where_most_events_wait_in_rows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits count, however few transactions write into the table."""
    monkeypatch.setattr("worker_orchestrator.store.event_log.EVENTS_KEPT", 10)
    monkeypatch.setattr("worker_orchestrator.store.event_log.PRUNE_EVERY", 60)
    free = [replace(NEW, id=f"w{number}", port=9100 + number, state=State.READY) for number in range(30)]
    with Store(path) as store:
        store.commit([Change(None, machine, Cause.ADOPTED) for machine in free], {}, 1)
        generation = 0
        for _ in range(6):
            held = []
            for machine in free:
                generation += 1
                held.append(replace(machine, holding=Holding(f"p-{machine.id}"), generation=generation))
                store.commit([Change(machine, held[-1], Cause.ASSIGNED)], {}, 2)
            assert store.persist_events()
            free = [replace(machine, holding=None) for machine in held]
            for before, after in zip(held, free, strict=True):
                store.commit([Change(before, after, Cause.RELEASED)], {}, 3)
            assert store.persist_events()
        assert len(store.events()) <= 10 + 60


# files that are refused


def files(folder: Path) -> dict[str, bytes]:
    """The database with all that lies beside it, except the index of its `-wal`, which has no content of its own."""
    return {
        file.name: file.read_bytes() for file in folder.iterdir() if file.is_file() and not file.name.endswith("-shm")
    }


def killed(path: Path) -> None:
    """Leave the database as a service that was killed does: the last changes are in the `-wal` only."""
    writer = (
        "import os, sys, pathlib; from worker_orchestrator.store.store import Store; "
        "store = Store(pathlib.Path(sys.argv[1])); "
        "[store.commit([], {f'fact {n}': n}, n) for n in range(10)]; os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", writer, str(path)], check=True)
    assert path.with_name(path.name + "-wal").stat().st_size > 0


def set_version(path: Path, version: int) -> None:
    with closing(apsw.Connection(str(path))) as db:
        db.execute(f"PRAGMA user_version = {version}")


def of_another_program(path: Path) -> None:
    path.unlink()
    with closing(apsw.Connection(str(path))) as db:
        db.execute("CREATE TABLE note (text); PRAGMA user_version = 1;")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    pages = slice(-2 * PAGE_BYTES, -PAGE_BYTES)  # the last one, and those before it, hold the schema
    content[pages] = bytes(byte ^ 0xFF for byte in content[pages])
    path.write_bytes(content)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "newer": (lambda path: set_version(path, SCHEMA_VERSION + 1), "upgrade worker-orchestrator"),
    "garbage": (
        lambda path: path.write_bytes(b"no database at all" * 100),
        "is not an SQLite database.*orchestrator recover",
    ),
    "short": (lambda path: path.write_bytes(path.read_bytes()[:50]), "is not an SQLite database.*orchestrator recover"),
    "empty": (lambda path: path.write_bytes(b""), "is empty.*orchestrator recover"),
    "truncated": (
        lambda path: path.write_bytes(path.read_bytes()[: PAGE_BYTES * 4]),
        "malformed.*orchestrator recover",
    ),
    "flipped": (flip, "is damaged.*orchestrator recover"),
    "of another program": (of_another_program, "another program.*--state-dir"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_is_no_sound_database_of_ours_is_refused_and_left_as_it_is(path: Path, damage: str) -> None:
    spoil, said = DAMAGE[damage]
    Store(path).close()
    spoil(path)
    before = files(path.parent)
    with pytest.raises(StoreRefused, match=said):
        Store(path)
    assert files(path.parent) == before


@pytest.mark.parametrize("damage", ["garbage", "flipped", "empty"])
def test_a_spoiled_file_is_left_alone_with_the_changes_that_wait_beside_it(path: Path, damage: str) -> None:
    """Which SQLite would write into it, and then remove."""
    killed(path)
    with closing(connect(path, "mode=ro")) as db:
        assert db.execute("SELECT count(*) FROM meta").get > 10
    DAMAGE[damage][0](path)
    before = files(path.parent)
    with pytest.raises(StoreRefused, match="orchestrator recover"):
        Store(path)
    assert files(path.parent) == before


def test_a_newer_version_that_was_killed_is_left_as_it_is(path: Path) -> None:
    killed(path)
    crash = "import apsw, os, sys; d = apsw.Connection(sys.argv[1]); d.execute('PRAGMA user_version = 99'); os._exit(0)"
    subprocess.run([sys.executable, "-c", crash, str(path)], check=True)
    before = files(path.parent)
    with pytest.raises(StoreRefused, match="version 99"):
        Store(path)
    assert files(path.parent) == before


def test_a_folder_in_its_place_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreRefused, match="is a folder"):
        Store(path)


def test_what_was_killed_is_opened_with_its_last_changes(path: Path) -> None:
    killed(path)
    with Store(path) as store:
        assert store.meta()["fact 9"] == "9"


def test_a_database_that_is_gone_while_its_changes_are_there_is_refused(path: Path) -> None:
    """A fresh one in its place would take over what the lost one had not written yet."""
    killed(path)
    path.unlink()
    before = files(path.parent)
    with pytest.raises(StoreRefused, match=r"is missing, but its orchestrator\.db-wal is there"):
        Store(path)
    assert files(path.parent) == before


def test_a_copy_that_was_put_beside_the_changes_of_another_one_is_refused(path: Path, tmp_path: Path) -> None:
    """It would take them over, page by page."""
    killed(path)
    with Store(path, look_only=True) as store:
        store.copy_to(tmp_path / "copy")
    killed(path)
    path.write_bytes((tmp_path / "copy").read_bytes())
    before = files(path.parent)
    with pytest.raises(StoreRefused, match=r"move orchestrator\.db-wal away"):
        Store(path)
    assert files(path.parent) == before
    path.with_name("orchestrator.db-wal").unlink()
    with Store(path) as store:
        assert store.meta()["fact 9"] == "9"


def test_a_beginning_that_was_cut_off_is_begun_again(path: Path) -> None:
    path.with_name("orchestrator.db.part").write_bytes(b"half")
    with Store(path) as store:
        assert store.meta()["owner"]
    assert sorted(files(path.parent)) == ["orchestrator.db"]


# faults while it is open


def test_another_program_that_writes_is_named_and_does_not_stop_the_service_for_long(path: Path, store: Store) -> None:
    with closing(connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        begun = time.monotonic()
        with pytest.raises(CommitFailed, match="Another program is writing to it"):
            store.commit(ASSIGNING, {}, 5)
        assert time.monotonic() - begun < 3
    store.commit(ASSIGNING, {}, 5)
    assert store.machines() == [TAKEN]


def test_what_cannot_be_read_is_an_error_of_the_store(store: Store) -> None:
    store._db.execute("DROP TABLE machine")
    with pytest.raises(StoreError, match="cannot be read"):
        store.machines()


def test_a_byte_that_is_no_text_any_more_is_an_error_of_the_store(path: Path, store: Store) -> None:
    store.commit([Change(None, replace(NEW, reason="on the day"), Cause.CREATED)], {}, 5)
    store._db.execute("UPDATE machine SET reason = CAST(x'ff' AS TEXT)")
    with pytest.raises(StoreError, match="cannot be read"):
        store.machines()


def test_a_value_that_cannot_be_stored_leaves_no_transaction_open(store: Store) -> None:
    """It would be a defect; what comes after it must not suffer for it."""
    with pytest.raises(TypeError):
        store.commit([Change(None, replace(NEW, reason=object()), Cause.CREATED)], {}, 5)
    store.commit(ASSIGNING, {}, 6)
    assert store.machines() == [TAKEN]


def test_a_checkpoint_from_another_thread_moves_what_was_committed_into_the_file(path: Path, store: Store) -> None:
    for number in range(50):
        store.commit([], {"fact": number}, number)
    before = path.stat().st_size
    for number in range(50):
        store.commit([], {f"fact{number}": "x" * 500}, number)
    thread = threading.Thread(target=store.checkpoint)
    thread.start()
    thread.join()
    assert path.stat().st_size > before
    store.commit([], {"fact": "after"}, 100)
    assert store.meta()["fact"] == "after"


def test_a_checkpoint_that_cannot_be_harms_nothing(store: Store, path: Path) -> None:
    with closing(connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        store.checkpoint()
    store.commit([], {"fact": 1}, 1)
    with Store(None) as in_memory:
        in_memory.checkpoint()


def test_a_reader_that_stays_makes_the_wal_grow_and_no_longer_than_it_stays(path: Path, store: Store) -> None:
    wal = path.with_name("orchestrator.db-wal")
    with closing(connect(path, "mode=ro")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM meta").fetchone()
        for number in range(3000):
            store.commit([], {"fact": f"{number}" * 7000}, number)
        assert wal.stat().st_size > 2 * WAL_LIMIT_BYTES
    for number in range(10):
        store.commit([], {"fact": number}, number)
    assert wal.stat().st_size <= WAL_LIMIT_BYTES


# migrations


NEXT = SCHEMA_VERSION + 1


def migrate(path: Path, *steps: str) -> None:
    """As an orchestrator would whose newest version is so many steps ahead of ours."""
    open_database(path, steps=(*STEPS, *steps)).close()


def make_old(path: Path, version: int) -> None:
    schema = Path(__file__).with_name(f"schema_v{version}.sql").read_text()
    with closing(apsw.Connection(str(path))) as db:
        db.execute(f"{schema} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version};")
        db.execute(
            "INSERT INTO machine (id, pool, template, state, port, project, generation, host, gone, reason, evidence) "
            "VALUES (?, 'default', 'old', 'ready', 9093, 'ada', 7, '', 0, 'assigned', '')",
            (NEW.id,),
        )


def columns(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(apsw.Connection(str(path))) as db:
        tables = [
            row[0]
            for row in db.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name"
            )
        ]
        return {
            name: db.execute(f"SELECT name, type, \"notnull\", pk FROM pragma_table_info('{name}')").fetchall()
            for name in tables
        }


def test_old_tombstones_keep_their_order_but_for_what_had_vanished(path: Path) -> None:
    """Of a machine that a project had, and that was forgotten when it asked for another, nobody wanted the end."""
    make_old(path, 5)
    with closing(apsw.Connection(str(path))) as db:
        db.execute("INSERT INTO tombstone VALUES ('w1', 30), ('w2', 10), ('w3', 20), ('w4', 40)")
        for seq, name, project, cause in (
            (1, "w2", None, "forgotten"),
            (2, "w3", "p", "forgotten"),
            (3, "w4", "p", "released"),
            (4, "w4", None, "forgotten"),
        ):
            db.execute("INSERT INTO event VALUES (?, 5, ?, 'default', ?, 1, ?, NULL, '')", (seq, name, project, cause))
    with Store(path) as store:
        assert store.tombstones() == ["w2", "w1", "w4"]


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_an_old_database_becomes_one_of_today_with_all_it_held(path: Path, version: int) -> None:
    make_old(path, version)
    with Store(path) as store:
        assert store.machines() == [
            Machine(NEW.id, "default", "old", State.READY, 9093, Holding("ada"), 7, reason="assigned")
        ]
        assert store.changed_ms() == {NEW.id: 0}
    assert look_at(path) == SCHEMA_VERSION
    fresh = path.with_name("fresh.db")
    Store(fresh).close()
    assert columns(path) == columns(fresh)


def test_how_assignments_came_about_is_kept_and_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_orchestrator.store.store.TRACES_KEPT", 2)
    with Store(path) as store:
        assert store.keep_traces({1: "one", 2: "two"})
        assert store.keep_traces({3: "three", 2: "two again"})
        assert store.traces() == ["two again", "three"]
        store._db.execute("PRAGMA query_only = 1")
        assert not store.keep_traces({4: "four"})
        store._db.execute("PRAGMA query_only = 0")
        assert store.keep_traces({4: "four"})


def test_samples_are_kept_by_their_step_within_the_span_that_is_asked_for(path: Path) -> None:
    with Store(path) as store:
        assert store.keep_history([(10, 2, "b"), (10, 1, "a"), (120, 1, "coarse")], {})
        assert store.history(10) == ["a", "b"]
        assert store.keep_history([(10, 3, "c"), (10, 2, "b again")], {10: (2, 3)})
        assert (store.history(10), store.history(120)) == (["b again", "c"], ["coarse"])
        store._db.execute("PRAGMA query_only = 1")
        assert not store.keep_history([(10, 4, "d")], {10: (4, 4)})
        store._db.execute("PRAGMA query_only = 0")
        assert store.history(10) == ["b again", "c"]


def test_what_the_events_of_long_ago_told_outlives_them(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of events are never used twice, nor are generations, though only an event tells of each."""
    monkeypatch.setattr("worker_orchestrator.store.event_log.PRUNE_EVERY", 2)
    monkeypatch.setattr("worker_orchestrator.store.event_log.EVENTS_KEPT", 1)
    with Store(path) as store:
        assert store.event_range() == (1, 0)
        store.commit(ASSIGNING, {}, 5)
        last = len(ASSIGNING)
        assert store.event_range() == (1, last)
        assert [event.id for event in store.events_of(NEW.id, 1)] == [last]
        assert store.events_of("worker-1-nobody", 1) == []
        assert store.changed_ms() == {NEW.id: 5}
        assert store.meta()["generation"] == "1"
        free = replace(READY, generation=1)
        store.commit([Change(TAKEN, free, Cause.RELEASED), Change(free, replace(free, reason="x"), Cause.MOVED)], {}, 6)
        assert store.event_range() == (last + 2, last + 2)
    with Store(path) as again:
        again._db.execute("UPDATE event SET generation = 0")  # as if nobody had been assigned since
        assert again.meta()["generation"] == "1"


def test_of_an_assignment_with_many_events_its_beginning_and_the_last_ones_are_read_by_an_index(store: Store) -> None:
    store.commit(ASSIGNING, {}, 5)
    notes = [replace(TAKEN, holding=Holding("p", str(number))) for number in range(LAST_OF_ASSIGNMENT + 5)]
    store.commit([Change(TAKEN, note, Cause.ANNOTATED) for note in notes], {}, 6)
    newest = store.event_range()[1]
    found = [event.id for event in store.events_of(NEW.id, 1)]
    assert found == [3, *range(newest - LAST_OF_ASSIGNMENT + 1, newest + 1)]
    for order in ("ASC", "DESC"):
        plan = store._db.execute(f"EXPLAIN QUERY PLAN {OF_ASSIGNMENT.format(order)}", (1, NEW.id, 1)).fetchall()
        assert [row[3] for row in plan] == ["SEARCH event USING INDEX event_assignment (generation=?)"]


def test_a_keepalive_makes_no_event_and_leaves_the_time_of_the_last_change(store: Store) -> None:
    store.commit(ASSIGNING, {}, 5)
    lease = Lease(Terms(ttl=60), assigned_at=1.0, renewed_at=2.0)
    leased = replace(TAKEN, holding=Holding("p", "", lease))
    again = replace(leased, holding=Holding("p", "", replace(lease, renewed_at=3.0)))
    store.commit([Change(TAKEN, leased, Cause.KEPT), Change(leased, again, Cause.KEPT)], {}, 6)
    assert store.changed_ms() == {NEW.id: 5}
    store.commit([Change(again, again, Cause.KEPT)], {}, 6)  # at the same instant
    assert store.machines() == [again]
    assert store.event_range() == (1, 3)
    assert store.changed_ms() == {NEW.id: 6}, "but where nothing else was to be written"
    store.commit([Change(again, replace(leased, holding=Holding("p", "{}", lease)), Cause.ANNOTATED)], {}, 7)
    assert store.changed_ms() == {NEW.id: 7}


def test_the_last_expiries_of_a_pool_are_read_by_an_index_of_them_alone(store: Store) -> None:
    store.commit(ASSIGNING, {}, 5)
    ended = replace(TAKEN, state=State.STOPPING, holding=None, reason="expired")
    other = replace(NEW, id="worker-2-aaaaaaaaa", pool="other", port=9094)
    store.commit(
        [Change(TAKEN, ended, Cause.EXPIRED, deadline=EndsBy.MAX_AGE), Change(None, other, Cause.CREATED)], {}, 6
    )
    told = [(one.machine, one.project, one.at_ms, one.deadline) for one in store.expiries("default", 10)]
    assert told == [(NEW.id, "p", 6, "max_age")], "by which deadline is data, whatever the words of the reason"
    assert store.expiries("other", 10) == []
    assert store.expiries("default", 0) == []
    plan = store._db.execute(f"EXPLAIN QUERY PLAN {EXPIRIES}", ("default", 10)).fetchall()
    assert [row[3] for row in plan] == ["SEARCH event USING INDEX event_expired (pool=?)"]


def test_no_event_tells_of_an_expiry_without_its_deadline(store: Store) -> None:
    with pytest.raises(apsw.ConstraintError, match="CHECK"):
        store._db.execute("INSERT INTO event VALUES (9, 5, 'w', 'default', 'p', 1, 'expired', NULL, '', NULL)")
    store._db.execute("INSERT INTO event VALUES (9, 5, 'w', 'default', 'p', 1, 'released', NULL, '', NULL)")


# numbers of events after a copy was put in place


def test_numbers_that_a_newer_copy_may_have_used_are_skipped_also_after_the_next_start(path: Path) -> None:
    """Even where nothing was committed in between but the fact itself."""
    with Store(path) as store:
        store.commit(ASSIGNING, {}, 5)
        store.commit([], store.skip_event_numbers(), 6)
        assert store.event_range() == (1, 3 + SKIPPED)
    with Store(path) as store:
        assert store.event_range() == (1, 3 + SKIPPED)
        store.commit(ALONE[:1], {}, 7)
        assert [event.id for event in store.events()] == [1, 2, 3, SKIPPED + 4]


def test_a_copy_that_is_put_in_place_twice_gives_no_number_twice(path: Path) -> None:
    """A minute later it is well behind what was used in that minute."""
    with Store(path) as store:
        store.commit(ASSIGNING, {}, 5)
        store.copy_to(path.with_name("copy.db"))
    first, used = 1_796_000_000_000, []
    for at_ms in (0, first, first + 60_000, 10 * first):
        again = path.with_name(f"{at_ms}.db")
        shutil.copy(path.with_name("copy.db"), again)
        with Store(again) as store:
            store.commit(ALONE[:1], store.skip_event_numbers(count_to_skip(at_ms)), 6)
            used.append(store.events()[-1].id)
    assert used[0] == 3 + SKIPPED + 1
    assert used[2] - used[1] == 600_000
    assert used == sorted(used)
    assert used[3] < 2**53


def test_events_of_before_a_copy_was_made_are_kept_as_long_as_others(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers that were skipped do not count among the events that are kept."""
    monkeypatch.setattr("worker_orchestrator.store.event_log.PRUNE_EVERY", 1)
    monkeypatch.setattr("worker_orchestrator.store.event_log.EVENTS_KEPT", 4)
    with Store(path) as store:
        store.commit(ASSIGNING, store.skip_event_numbers(), 5)
        first = SKIPPED + 1
        assert [event.id for event in store.events()] == [first, first + 1, first + 2]
        store.commit([], store.skip_event_numbers(), 6)
        second = 2 * SKIPPED + 4
        store.commit(ALONE[:2], {}, 7)
        assert [event.id for event in store.events()] == [first + 1, first + 2, second, second + 1]
        store.commit(ALONE[2:], {}, 7)
        assert [event.id for event in store.events()] == [first + 2, second, second + 1, second + 2]


def test_steps_lead_to_the_newest_version_and_leave_a_copy_of_the_old_one(path: Path) -> None:
    with Store(path) as store:
        store.commit(ASSIGNING, {}, 5)
    migrate(path, "ALTER TABLE machine ADD COLUMN colour TEXT", "UPDATE machine SET colour = 'red'")
    assert look_at(path, newest=NEXT + 1) == NEXT + 1
    with closing(apsw.Connection(str(path))) as db:
        assert db.execute("SELECT id, colour FROM machine").fetchall() == [(NEW.id, "red")]
    copy = path.with_name(f"orchestrator.db.v{SCHEMA_VERSION}.backup")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with Store(copy) as old:
        assert old.machines() == [TAKEN]
        assert old.meta()["backup"]


def test_only_the_steps_that_are_missing_are_made(path: Path) -> None:
    Store(path).close()
    first = "CREATE TABLE one (a TEXT) STRICT"
    migrate(path, first)
    migrate(path, first, "CREATE TABLE two (b TEXT) STRICT")
    assert look_at(path, newest=NEXT + 1) == NEXT + 1
    assert path.with_name(f"orchestrator.db.v{NEXT}.backup").exists()


@pytest.mark.parametrize(
    "answer", ["SELECT 1", "INSERT OR REPLACE INTO meta VALUES ('a', 'b') RETURNING key", "PRAGMA foreign_key_check"]
)
def test_a_step_that_answers_does_not_end_the_migration(path: Path, answer: str) -> None:
    Store(path).close()
    migrate(path, answer, "ALTER TABLE machine ADD COLUMN colour TEXT")
    assert look_at(path, newest=NEXT + 1) == NEXT + 1
    with pytest.raises(StoreRefused, match="no such table"):
        open_database(path, steps=(*STEPS, "", "", answer, "DELETE FROM nothing_of_that_name"))
    assert look_at(path, newest=NEXT + 1) == NEXT + 1


def test_a_step_that_fails_leaves_the_old_version(path: Path) -> None:
    with Store(path) as store:
        store.commit(ASSIGNING, {}, 5)
    with pytest.raises(
        StoreRefused, match=r"could not be upgraded from version \d+ to \d+ .*no such table.* Go back to the"
    ):
        migrate(path, "DELETE FROM machine", "DELETE FROM nothing_of_that_name")
    with Store(path) as store:
        assert store.machines() == [TAKEN]


def test_a_migration_that_is_killed_leaves_the_old_version(path: Path) -> None:
    """In its middle: after the first step, before the commit."""
    with Store(path) as store:
        store.commit(ASSIGNING, {}, 5)
    killer = (
        "import os, sys, pathlib; from worker_orchestrator.store import database as d\n"
        "connect = d.connect\n"
        "def armed(*words):\n"
        "    db = connect(*words); db.create_scalar_function('die', lambda: os.kill(os.getpid(), 9)); return db\n"
        "d.connect = armed\n"
        "d.open_database(pathlib.Path(sys.argv[1]), steps=(*d.STEPS, 'DELETE FROM machine', 'SELECT die()'))"
    )
    done = subprocess.run([sys.executable, "-c", killer, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    with Store(path) as store:
        assert store.machines() == [TAKEN]
    migrate(path, "ALTER TABLE machine ADD COLUMN colour TEXT")
    assert look_at(path, newest=NEXT) == NEXT


def test_a_look_from_beside_migrates_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older service may be at work there."""
    Store(path).close()
    monkeypatch.setattr("worker_orchestrator.store.database.SCHEMA_VERSION", NEXT)
    with pytest.raises(StoreRefused, match="Start the service with this orchestrator once"):
        Store(path, look_only=True)


# copies


def test_a_copy_is_sound_for_its_owner_only_and_says_that_it_is_one(path: Path, store: Store, tmp_path: Path) -> None:
    store.commit(ASSIGNING, {"generation": 1}, 5)
    copy = tmp_path / "copy"
    store.copy_to(copy)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert not list(tmp_path.glob("copy?*"))
    with Store(copy, look_only=True) as read:
        assert read.machines() == [TAKEN]
        assert "backup" in read.meta()
        assert read.meta()["owner"] == store.meta()["owner"]
    assert "backup" not in store.meta()
