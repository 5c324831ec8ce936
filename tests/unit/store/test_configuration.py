"""What is known of configurations in the database: it survives, and what must not be is refused there too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from msgspec.structs import replace

from worker_orchestrator.core.configuration import Configuration, Stage
from worker_orchestrator.core.machine import Cause, Change, Holding, Machine, State
from worker_orchestrator.store.store import Store

NEW = Machine("w1", "default", "t", State.READY, 9093, reason="new")
OWN = replace(NEW, holding=Holding("ada"), generation=1)
WRITING = replace(OWN, configuration=Configuration(Stage.WRITING, "d1", is_certain=True))
DONE = replace(
    OWN, configuration=Configuration(Stage.DONE, "d1", is_certain=True, exit_code=0, took_ms=12, was_done=True)
)
DIRTY = replace(DONE, state=State.STARTING, holding=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "orchestrator.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as opened:
        opened.commit([Change(None, NEW, Cause.CREATED), Change(NEW, OWN, Cause.ASSIGNED)], {}, 5)
        yield opened


def test_each_step_survives_as_it_was(path: Path, store: Store) -> None:
    steps = (
        (OWN, WRITING, Cause.CONFIGURING),
        (WRITING, DONE, Cause.CONFIGURED),
        (DONE, DIRTY, Cause.RELEASED),
        (DIRTY, replace(DIRTY, configuration=None), Cause.CLEANED),
    )
    for before, after, cause in steps:
        store.commit([Change(before, after, cause)], {}, 6)
        assert store.machines() == [after]
    store.commit([Change(replace(DIRTY, configuration=None), DIRTY, Cause.RELEASED)], {}, 7)
    store.close()
    with Store(path) as again:
        assert again.machines() == [DIRTY]


@pytest.mark.parametrize(
    ("state", "project", "configuration"),
    [
        ("ready", None, '{"stage":"lost","digest":""}'),  # what is idle is clean
        ("starting", "ada", '{"stage":"done","digest":""}'),  # what does not run has lost it
        ("sleeping", "ada", '{"stage":"writing","digest":""}'),
        ("ready", "ada", "not JSON"),
    ],
)
def test_what_must_not_be_is_refused(store: Store, state: str, project: str | None, configuration: str) -> None:
    with pytest.raises(apsw.ConstraintError, match="CHECK"):
        store._db.execute(
            "UPDATE machine SET state = ?, project = ?, configuration = ?", (state, project, configuration)
        )


@pytest.mark.parametrize("stage", ["failed", "lost"])
def test_what_does_not_run_may_say_that_nothing_is_there(store: Store, stage: str) -> None:
    text = f'{{"stage":"{stage}","digest":"d"}}'
    store._db.execute("UPDATE machine SET state = 'sleeping', configuration = ?", (text,))
    assert store.machines()[0].configuration == Configuration(Stage(stage), "d")
