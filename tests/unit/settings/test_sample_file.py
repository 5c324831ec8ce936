"""The file that `orchestrator init` writes: it can be read as it is, and with every default made a value."""

from __future__ import annotations

import re
from pathlib import Path

from worker_orchestrator.settings.loading import load
from worker_orchestrator.settings.sample_file import sample_file
from worker_orchestrator.settings.settings import PoolSettings, Settings, settings

UNSET = re.compile(r'^# \w+ = (N|"[A-Z:]+")$', re.MULTILINE)
COMMENTED = re.compile(r"^# (\w+ = )", re.MULTILINE)


def test_what_was_chosen_is_in_force_and_all_else_as_without_the_file(tmp_path: Path) -> None:
    file = tmp_path / "orchestrator.toml"
    file.write_text(sample_file({"image": 'a"b\\c', "min_idle": 5, "memory": "", "on_release": "recycle"}))
    assert load({}, {}, file) == Settings(image='a"b\\c', min_idle=5, on_release="recycle")


def test_every_default_in_it_is_what_the_setting_takes(tmp_path: Path) -> None:
    file = tmp_path / "orchestrator.toml"
    text = COMMENTED.sub(r"\1", UNSET.sub("", sample_file({})))
    file.write_text(text)
    assert load({}, {}, file) == Settings()
    assert text.count(" = ") > 20


def test_every_setting_is_in_it_once_with_its_meaning() -> None:
    text = sample_file({"image": "a"})
    flat = " ".join(text.replace("\n# ", " ").split())
    for setting in settings():
        assert len(re.findall(rf"^(?:# )?{setting.name} = ", text, re.MULTILINE)) == 1, setting.name
        assert " ".join(setting.help.split()) in flat, setting.name
    assert max(map(len, text.splitlines())) <= 160


def test_pools_are_tables_below_all_else(tmp_path: Path) -> None:
    file = tmp_path / "orchestrator.toml"
    file.write_text(sample_file({"memory": "1g"}, {"a": {"image": "b", "min_idle": 0}}))
    assert load({}, {}, file) == Settings(
        memory="1g", other_pools={"a": PoolSettings(image="b", min_idle=0, memory="1g")}
    )


def test_the_example_of_a_pool_holds_once_it_is_no_comment_any_more(tmp_path: Path) -> None:
    file = tmp_path / "orchestrator.toml"
    file.write_text(sample_file({}).replace("\n#   ", "\n"))
    pool = load({}, {}, file).pools["python"]
    assert (pool.image, pool.min_idle, [window.min_idle for window in pool.windows]) == ("my/python:latest", 2, [8])
