"""Host ports in the database: each belongs to one machine that is not gone, be it the first one there or a further one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from msgspec.structs import replace

from worker_orchestrator.core.machine import Cause, Change, Holding, Machine, State
from worker_orchestrator.errors import CommitFailed, StoreRefused
from worker_orchestrator.store.database import look_at
from worker_orchestrator.store.migrations import APPLICATION_ID, SCHEMA_VERSION
from worker_orchestrator.store.rows import MACHINE_COLUMNS, update_machine
from worker_orchestrator.store.store import Store

ONE = Machine("w1", "default", "t", State.STARTING, 9093, reason="new")
THREE = replace(ONE, id="w3", port=9100, ports=(("http", 9100), ("hmr", 9101), ("debug", 9102)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "orchestrator.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as opened:
        yield opened


def commit(store: Store, *pairs: tuple[Machine | None, Machine | None]) -> None:
    store.commit([Change(before, after, _cause(before, after)) for before, after in pairs], {}, 5)


def _cause(before: Machine | None, after: Machine | None) -> Cause:
    return Cause.CREATED if before is None else Cause.FORGOTTEN if after is None else Cause.MOVED


def ports(store: Store) -> list[tuple[object, ...]]:
    return store._connection.rows("SELECT machine, host, port, name FROM machine_port ORDER BY host, port")


def test_names_survive_in_their_order(path: Path, store: Store) -> None:
    backwards = replace(THREE, port=9102, ports=THREE.ports[::-1])
    commit(store, (None, ONE), (None, backwards))
    with Store(path) as again:
        assert again.machines() == [ONE, backwards]
        assert again.machines(["w3"]) == [backwards]
    assert ports(store) == [
        ("w1", "", 9093, ""),
        ("w3", "", 9100, "http"),
        ("w3", "", 9101, "hmr"),
        ("w3", "", 9102, "debug"),
    ]


@pytest.mark.parametrize(
    "thief",
    [
        pytest.param(replace(ONE, id="w2", port=9100), id="the first port of another"),
        pytest.param(replace(ONE, id="w2", port=9102), id="a further port of another"),
        pytest.param(
            replace(THREE, id="w2", port=9102, ports=(("http", 9102), ("hmr", 9103))), id="as the first of several"
        ),
        pytest.param(
            replace(THREE, id="w2", port=9104, ports=(("http", 9104), ("hmr", 9093))), id="as a further one, of one"
        ),
        pytest.param(
            replace(THREE, id="w2", port=9104, ports=(("http", 9104), ("hmr", 9101))), id="as a further one, of several"
        ),
        pytest.param(
            replace(THREE, id="w2", port=9104, ports=(("http", 9104), ("hmr", 9104))), id="its own port once more"
        ),
    ],
)
def test_no_port_is_given_twice_at_a_create_or_a_move(store: Store, thief: Machine) -> None:
    free = replace(thief, port=9200, ports=())
    commit(store, (None, ONE), (None, THREE), (None, free))
    before = store.machines(), ports(store)
    with pytest.raises(CommitFailed, match=r"UNIQUE constraint failed: machine_port\.host, machine_port\.port"):
        commit(store, (free, thief))
    with pytest.raises(CommitFailed, match="UNIQUE"):
        commit(store, (None, replace(thief, id="w9")))
    assert (store.machines(), ports(store)) == before, "nothing is half stored"


def test_a_machine_that_is_gone_leaves_all_its_ports_and_gets_them_back_only_if_they_are_free(store: Store) -> None:
    gone = replace(THREE, state=State.FAILED, gone=True)
    back = replace(gone, gone=False)
    other = replace(ONE, port=9101)
    commit(store, (None, THREE), (THREE, gone))
    assert ports(store) == []
    commit(store, (None, other))
    with pytest.raises(CommitFailed, match="UNIQUE"):
        commit(store, (gone, back))
    stopping = replace(other, state=State.STOPPING)
    commit(store, (other, stopping), (stopping, None), (gone, back))
    assert store.machines() == [back]
    assert [row[2] for row in ports(store)] == [9100, 9101, 9102]
    commit(store, (back, gone))
    commit(store, (None, other), (gone, None))
    assert ports(store) == [("w1", "", 9101, "")], "what is gone takes nothing along"


def test_a_move_gives_up_what_it_leaves(store: Store) -> None:
    moved = replace(THREE, ports=(("http", 9100), ("hmr", 9111), ("debug", 9102)))
    commit(store, (None, THREE), (THREE, moved), (None, replace(ONE, port=9101)))
    assert [row[2] for row in ports(store)] == [9100, 9101, 9102, 9111]
    unnamed = replace(moved, ports=())
    commit(store, (moved, unnamed))
    assert ports(store) == [("w3", "", 9100, ""), ("w1", "", 9101, "")]


def test_hosts_are_told_apart_and_no_address_is_none(store: Store) -> None:
    """Where the engine gives the addresses."""
    there = replace(ONE, id="w2", host="10.0.0.7")
    nowhere = replace(ONE, id="w4", port=None)
    commit(store, (None, ONE), (None, there), (None, nowhere), (None, replace(nowhere, id="w5")))
    assert ports(store) == [("w1", "", 9093, ""), ("w2", "10.0.0.7", 9093, "")]
    with pytest.raises(CommitFailed, match="UNIQUE"):
        commit(store, (nowhere, replace(nowhere, host="10.0.0.7", port=9093)))


@pytest.mark.parametrize(
    "change",
    [
        """ports = '[["hmr",9101],["http",9100]]'""",
        "port = 9101",
        "ports = 'http'",
        'ports = \'[["http",9100],["hmr",0]]\'',
        'ports = \'[["http",9100],["hmr","x"]]\'',
    ],
)
def test_the_database_itself_refuses_what_is_no_list_of_ports(path: Path, store: Store, change: str) -> None:
    """The first one is the machine's port, and each is a number."""
    commit(store, (None, THREE))
    with closing(apsw.Connection(str(path))) as db, pytest.raises(apsw.Error):
        db.execute(f"UPDATE machine SET {change}")
    assert store.machines() == [THREE]


def test_what_leaves_a_machine_where_it_is_runs_no_trigger(store: Store) -> None:
    """An assign and a release are one statement that knows nothing of ports."""

    def runs_trigger(statement: str) -> bool:
        return any(
            row[1] == "Program" for row in store._connection.rows(f"EXPLAIN {statement}", *([None] * n(statement)))
        )

    def n(statement: str) -> int:
        return statement.count("?")

    names = MACHINE_COLUMNS.split(", ")
    of_assign = tuple(name in {"project", "generation", "reason", "metadata"} for name in names)
    assert not runs_trigger(update_machine(of_assign, with_event=True))
    for name in ("port", "ports", "host", "gone"):
        assert runs_trigger(update_machine(tuple(name == one for one in names), with_event=False))


# the upgrade


def make_version_6(path: Path, count: int) -> None:
    """A database as the last version before named ports left it, in which so many machines have a project."""
    schema = Path(__file__).with_name("schema_v6.sql").read_text()
    with closing(apsw.Connection(str(path))) as db:
        db.execute(f"{schema} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 6;")
        db.executemany(
            "INSERT INTO machine (id, pool, template, state, port, project, generation, host, gone, reason, evidence) "
            "VALUES (?, 'default', 'old', ?, ?, ?, ?, '', ?, 'assigned', '')",
            [(f"w{n:02}", "ready", 9092 + n, f"p{n}", n, 0) for n in range(1, count + 1)]
            + [("x", "failed", 9093, "of-x", 99, 1)],
        )


def test_twenty_machines_keep_their_projects_and_ports_and_the_older_version_can_go_back(path: Path) -> None:
    make_version_6(path, 20)
    with Store(path) as store:
        machines = store.machines()
        assert [(one.id, one.project, one.port, one.ports) for one in machines[:20]] == [
            (f"w{n:02}", f"p{n}", 9092 + n, ()) for n in range(1, 21)
        ]
        assert ports(store) == [(f"w{n:02}", "", 9092 + n, "") for n in range(1, 21)]
        one = machines[0]
        released = replace(one, holding=None)
        store.commit([Change(one, released, Cause.RELEASED)], {}, 6)
        held = replace(released, holding=Holding("new"), generation=100)
        store.commit([Change(released, held, Cause.ASSIGNED)], {}, 7)
        assert store.machines(["w01"]) == [held]
    assert look_at(path) == SCHEMA_VERSION
    with pytest.raises(StoreRefused, match=r"made by a newer orchestrator; this one knows versions up to 6\."):
        look_at(path, newest=6)
    copy = path.with_name("orchestrator.db.v6.backup")
    assert look_at(copy, newest=6) == 6
    with closing(apsw.Connection(str(copy))) as db:
        assert db.execute("SELECT count(*) FROM machine WHERE project IS NOT NULL").get == 21
        assert db.execute("SELECT name FROM sqlite_schema WHERE name = 'machine_address'").get == "machine_address"


def test_an_upgraded_database_has_the_triggers_and_indexes_of_a_fresh_one(path: Path) -> None:
    make_version_6(path, 1)
    fresh = path.with_name("fresh.db")
    Store(path).close()
    Store(fresh).close()
    assert rules(path) == rules(fresh)


def rules(path: Path) -> dict[str, str]:
    with closing(apsw.Connection(str(path))) as db:
        query = "SELECT name, sql FROM sqlite_schema WHERE type IN ('trigger', 'index') AND sql IS NOT NULL"
        return {name: " ".join(sql.split()) for name, sql in db.execute(query)}
