"""`init`: questions on a terminal, a file that `serve` takes, and nothing written over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from worker_orchestrator.cli import init as init_module
from worker_orchestrator.cli import main
from worker_orchestrator.settings.loading import load
from worker_orchestrator.settings.settings import PoolSettings, Settings


def run(*words: str, answers: str = "") -> Result:
    return CliRunner().invoke(main, ["init", *words], input=answers)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init_module, "_is_terminal", lambda: True)


@pytest.mark.usefixtures("terminal")
def test_the_answers_are_in_the_file(folder: Path) -> None:
    done = run(answers="my/worker:latest\n4\n20\n512m\nreuse\n\n")
    assert done.exit_code == 0, done.output
    wanted = Settings(image="my/worker:latest", min_idle=4, max_machines=20, memory="512m", on_release="reuse")
    assert load({}, {}, folder / "orchestrator.toml") == wanted
    assert done.stdout.startswith("Wrote orchestrator.toml. `orchestrator doctor` checks")


@pytest.mark.usefixtures("terminal")
def test_a_wrong_answer_is_told_and_asked_for_again(folder: Path) -> None:
    done = run(answers="\n-1\n3\n\n\nboth\n\n\n")
    assert done.exit_code == 0, done.output
    assert "'-1' must be a whole number" in done.stderr
    assert load({}, {}, folder / "orchestrator.toml") == Settings(min_idle=3, on_release="recycle")


@pytest.mark.usefixtures("terminal")
def test_answers_that_contradict_each_other_write_nothing(folder: Path) -> None:
    done = run(answers="\n5\n3\n\n\n\n")
    assert done.exit_code == 2
    assert "min_idle is 5, but must be at most max_machines, which is 3. Nothing was written." in done.stderr
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("terminal")
def test_each_further_pool_has_a_table(folder: Path) -> None:
    """With the rights and limits of the answers before, since a pool inherits those."""
    done = run(answers="a\n\n\n512m\n\nnode20\nmy/node:20\n3\npython\nmy/python:3\n\n\n")
    assert done.exit_code == 0, done.output
    assert done.stderr.count("Another pool? Its name (empty: none): ") == 3
    assert "How many idle machines of node20 shall stand ready [2]: " in done.stderr
    found = load({}, {}, folder / "orchestrator.toml")
    limited = replace(PoolSettings(), memory="512m", on_release="recycle")
    assert found.other_pools == {
        "node20": replace(limited, image="my/node:20", min_idle=3),
        "python": replace(limited, image="my/python:3", min_idle=2),
    }


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Node", "'Node' must be 1 to 40 lower-case letters, digits and hyphens, with a letter or digit at both ends."),
        ("default", "There is a pool default already."),
        ("node20", "There is a pool node20 already."),
    ],
)
def test_a_name_that_a_pool_cannot_have_is_told_and_asked_for_again(folder: Path, name: str, why: str) -> None:
    done = run(answers=f"\n\n\n\n\nnode20\nb\n\n{name}\npython\n\nc\n\n\n")
    assert done.exit_code == 0, done.output
    assert why in done.stderr
    assert [*load({}, {}, folder / "orchestrator.toml").pools] == ["default", "node20", "python"]


@pytest.mark.usefixtures("terminal")
def test_pools_that_do_not_fit_into_the_limit_write_nothing(folder: Path) -> None:
    done = run(answers="\n2\n4\n\n\nnode20\nb\n3\n\n")
    assert done.exit_code == 2
    assert "The min_idle of all pools together is 5, but must be at most max_machines, which is 4" in done.stderr
    assert list(folder.iterdir()) == []


def test_without_questions_the_offered_answers_are_written(folder: Path) -> None:
    assert run("--yes", "my.toml").stdout.count("--config my.toml") == 2
    assert load({}, {}, folder / "my.toml") == Settings(on_release="recycle")


def test_nobody_is_asked_without_a_terminal(folder: Path) -> None:
    done = run()
    assert (done.exit_code, list(folder.iterdir())) == (2, [])
    assert "Add --yes" in done.stderr


def test_a_file_is_never_replaced(folder: Path) -> None:
    (folder / "orchestrator.toml").write_text("# mine")
    done = run("--yes")
    assert done.exit_code != 0
    assert "orchestrator.toml exists already, and is not replaced." in done.stderr
    assert (folder / "orchestrator.toml").read_text() == "# mine"


def test_a_folder_that_is_not_there_is_told(folder: Path) -> None:
    assert "there/o.toml cannot be written: No such file or directory." in run("--yes", "there/o.toml").stderr
    assert list(folder.iterdir()) == []


def test_units_name_this_file_and_replace_no_other(folder: Path) -> None:
    (folder / "worker-orchestrator.socket").write_text("# mine")
    done = run("--yes", "--systemd")
    assert "worker-orchestrator.socket exists already" in done.stderr
    assert [file.name for file in folder.iterdir()] == ["worker-orchestrator.socket"]
    (folder / "worker-orchestrator.socket").unlink()
    assert "worker-orchestrator.service and worker-orchestrator.socket" in run("--yes", "--systemd").stdout
    assert f"--config {folder}/orchestrator.toml" in (folder / "worker-orchestrator.service").read_text()


def test_a_path_that_no_unit_can_name_is_refused(folder: Path) -> None:
    assert "Choose a path without spaces" in run("--yes", "--systemd", "my own.toml").stderr
    assert list(folder.iterdir()) == []
