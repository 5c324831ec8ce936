"""Keys survive the process, only their digests are there, and the database refuses what makes no sense."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import pytest

from worker_orchestrator.control.keys import Keys
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.key import Right
from worker_orchestrator.errors import CommitFailed
from worker_orchestrator.key_errors import KeyExists, KeyNotFound
from worker_orchestrator.store.store import Store


def test_a_key_survives_the_process_and_only_its_digest_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "orchestrator.db"
    with Store(path) as store:
        keys = Keys(store.keys, Fleet("o"), lambda: 5)
        key, value = keys.create("ci", ["b", "a"], 3, [Right.ASSIGN, Right.READ])
        assert keys.find(value.encode()) == key
        keys.note_used("ci")
    with Store(path) as store:
        fleet = Fleet("o")
        keys = Keys(store.keys, fleet, lambda: 99_999_999)
        found = keys.find(value.encode())
        assert found is not None
        assert (found.pools, found.max_machines) == (("b", "a"), 3)
        assert found.may == {Right.ASSIGN, Right.READ}
        assert (found.created_ms, fleet.keys) == (5, {"ci": 3})
        keys.note_used("ci")
        assert store.keys.all()[0].used_ms == 99_999_999
        keys.revoke("ci")
        assert (keys.find(value.encode()), fleet.keys, store.keys.all()) == (None, {}, [])
    assert value.encode() not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


def test_a_value_is_right_as_a_whole_or_not_at_all() -> None:
    with Store(None) as store:
        keys = Keys(store.keys, Fleet("o"), lambda: 5)
        _, value = keys.create("ci", [], None, [Right.READ])
        for wrong in (value[:-1], f"{value}0", value.replace("ci", "cd"), "orc_ci_", "orc_", "", "\xff"):
            assert keys.find(wrong.encode("latin-1")) is None


def test_a_name_is_given_once_and_an_unknown_one_cannot_be_revoked() -> None:
    with Store(None) as store:
        keys = Keys(store.keys, Fleet("o"), lambda: 5)
        keys.create("ci", [], None, [Right.READ])
        with pytest.raises(KeyExists, match="Revoke it first"):
            keys.create("ci", [], None, [Right.READ])
        with pytest.raises(KeyNotFound, match="orchestrator key list"):
            keys.revoke("other")


def test_what_cannot_be_stored_is_not_in_force() -> None:
    with Store(None) as store:
        fleet = Fleet("o")
        keys = Keys(store.keys, fleet, lambda: 5)
        _, value = keys.create("ci", [], None, [Right.READ])
        store._db.execute("PRAGMA query_only = 1")
        with pytest.raises(CommitFailed):
            keys.create("web", [], None, [Right.READ])
        with pytest.raises(CommitFailed):
            keys.revoke("ci")
        store._db.execute("PRAGMA query_only = 0")
        assert keys.find(value.encode())
        assert fleet.keys == {"ci": None}


@pytest.mark.parametrize(
    "row",
    [
        "('', zeroblob(32), '[]', 1, '[\"read\"]', 0, 0)",
        "('A', zeroblob(32), '[]', 1, '[\"read\"]', 0, 0)",
        "('-a', zeroblob(32), '[]', 1, '[\"read\"]', 0, 0)",
        "('a:b', zeroblob(32), '[]', 1, '[\"read\"]', 0, 0)",
        "('a', zeroblob(31), '[]', 1, '[\"read\"]', 0, 0)",
        "('a', zeroblob(32), 'x', 1, '[\"read\"]', 0, 0)",
        "('a', zeroblob(32), '[]', 0, '[\"read\"]', 0, 0)",
        "('a', zeroblob(32), '[]', 1, '[]', 0, 0)",
    ],
)
def test_the_database_refuses_a_key_that_makes_no_sense(tmp_path: Path, row: str) -> None:
    Store(tmp_path / "db").close()
    with closing(apsw.Connection(str(tmp_path / "db"))) as db, pytest.raises((apsw.ConstraintError, apsw.SQLError)):
        db.execute(f"INSERT INTO key VALUES {row}")
