"""What changed between two readings of the settings, before a running service takes it over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from worker_orchestrator.settings.difference import TAKEN_OVER, Difference, difference
from worker_orchestrator.settings.loading import load
from worker_orchestrator.settings.settings import Settings, settings

SECRET = "hunter2-hunter2-hunter2"
Read = Callable[[str], Settings]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read_text(text: str) -> Settings:
        config = tmp_path / "o.toml"
        config.write_text(text)
        return load({}, {}, config)

    return read_text


def test_equal_settings_have_no_difference(read: Read) -> None:
    text = '[pools.web]\nmin_idle = 1\n[[pools.web.windows]]\ncron = "0 8 * * *"\nfor = "1h"\nmin_idle = 3\n'
    found = difference(read(text), read(text))
    assert (found, bool(found), found.lines()) == (Difference(), False, [])


def test_pools_that_are_new_gone_or_changed_are_told_apart(read: Read) -> None:
    old = read('memory = "1g"\n[pools.old]\n[pools.web]\nmin_idle = 1\n')
    new = read(
        'memory = "2g"\n[pools.web]\nmin_idle = 0\nuser = "1000"\n[[pools.web.windows]]\ncron = "0 8 * * 1-5"\nfor = "10h"\n'
        'min_idle = 8\nmax_idle = 9\ntimezone = "Europe/Berlin"\n[pools.new]\nimage = "my/new"\nread_only = true\n'
    )
    found = difference(old, new)
    assert found.lines() == [
        "+ pool new: image my/new, min_idle 2",
        "- pool old",
        "~ pool default, memory: 1g -> 2g",
        "~ pool web, min_idle: 1 -> 0",
        "~ pool web, memory: 1g -> 2g",
        "~ pool web, user: - -> 1000",
        "~ pool web, windows: - -> min_idle 8, max_idle 9 for 10h from `0 8 * * 1-5` (Europe/Berlin)",
    ]
    assert (found.needs_restart, bool(found)) == ((), True)


def test_settings_of_the_service_say_whether_they_need_a_restart() -> None:
    new = replace(Settings(), port=9192, max_machines=40, assign_timeout=5.5, refresh_interval=1.0, token=SECRET)
    found = difference(Settings(), new)
    assert found.lines() == [
        "~ port: 9092 -> 9192 (needs a restart of the service)",
        "~ max_machines: 100 -> 40",
        "~ refresh_interval: 10 -> 1 (needs a restart of the service)",
        "~ assign_timeout: 30 -> 5.5",
        "~ token: - -> (hidden) (needs a restart of the service)",
    ]
    assert [change.name for change in found.needs_restart] == ["port", "refresh_interval", "token"]


def test_what_is_taken_over_are_settings_of_the_service() -> None:
    of_service = {setting.name for setting in settings() if setting.inherited is None} | {"max_machines"}
    assert of_service > TAKEN_OVER


def test_the_limit_of_default_itself_is_told_apart_from_that_of_all(read: Read) -> None:
    old, new = (
        read("[pools.default]\nmax_machines = 20\n"),
        read("max_machines = 50\n[pools.default]\nmax_machines = 30\n"),
    )
    assert difference(old, new).lines() == ["~ pool default, max_machines: 20 -> 30", "~ max_machines: 100 -> 50"]


def test_neither_a_secret_nor_what_workers_get_is_shown(read: Read) -> None:
    old = read(f'token = "{SECRET}1"\nenv = {{ A = "{SECRET}", B = "{SECRET}" }}\n')
    new = replace(
        read(f'token = "{SECRET}2"\nenv = {{ B = "{SECRET}2", C = "{SECRET}" }}\n'),
        docker_host=f"tcp://me:{SECRET}@there:1",
        allow_sudo=True,
        cap_drop=("CHOWN", "KILL"),
    )
    assert difference(old, new).lines() == [
        "~ pool default, env A: (hidden) -> -",
        "~ pool default, env B: (hidden) -> (hidden, changed)",
        "~ pool default, env C: - -> (hidden)",
        "~ pool default, cap_drop: - -> CHOWN KILL",
        "~ pool default, allow_sudo: no -> yes",
        "~ docker_host: - -> tcp://***@there:1 (needs a restart of the service)",
        "~ token: (hidden) -> (hidden) (needs a restart of the service)",
    ]
