"""`config`: each setting with its value and where that came from, and never a secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from worker_orchestrator.cli import main
from worker_orchestrator.cli.config import setting_values
from worker_orchestrator.settings.settings import Settings, settings

SECRET = "a-secret-of-16-characters-or-more"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The settings by name, as `config -o json` prints them in an empty folder. No service runs at that URL."""
    monkeypatch.chdir(tmp_path)
    for name in ("ORCHESTRATOR_URL", "ORCHESTRATOR_TOKEN", "ORCHESTRATOR_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)

    def command(*words: str, env: dict[str, str] | None = None) -> dict[str, dict[str, Any]]:
        done = CliRunner().invoke(main, ["config", "-o", "json", "--url", "http://127.0.0.1:1", *words], env=env)
        assert done.exit_code == 0, done.stderr
        return {each["name"]: each for each in json.loads(done.stdout)}

    return command


def test_each_value_comes_with_its_source(run: Any, tmp_path: Path) -> None:
    (tmp_path / "orchestrator.toml").write_text('min-idle = 3\nport = 4000\nimage = "a"\n')
    found = run("--port", "6000", env={"ORCHESTRATOR_MIN_IDLE": "4"})
    assert found["port"] == {"name": "port", "value": 6000, "source": "--port"}
    assert found["min_idle"] == {"name": "min_idle", "value": 4, "source": "ORCHESTRATOR_MIN_IDLE"}
    assert found["image"] == {"name": "image", "value": "a", "source": "image in orchestrator.toml"}
    assert found["max_idle"] == {"name": "max_idle", "value": None, "source": "default"}
    assert list(found) == [setting.name for setting in settings()]


def test_only_what_was_given_is_shown_where_that_is_asked_for(run: Any) -> None:
    assert list(run("--changed", "--min-idle", "3", "--read-only")) == ["min_idle", "read_only"]
    assert run("--changed") == {}


def test_secrets_are_never_shown(run: Any) -> None:
    """Neither the token nor what workers get in their environment; their names are."""
    found = run("--env", f"KEY={SECRET}", env={"ORCHESTRATOR_TOKEN": SECRET})
    assert found["token"] == {"name": "token", "value": "(hidden)", "source": "ORCHESTRATOR_TOKEN"}
    assert found["env"]["value"] == {"DATABASE_URL": "(hidden)", "KEY": "(hidden)"}
    assert SECRET not in json.dumps(found)
    plain = CliRunner().invoke(main, ["config", "--url", "http://127.0.0.1:1", "--env", f"KEY={SECRET}"])
    assert "KEY=(hidden)" in plain.stdout
    assert SECRET not in plain.stdout


def test_what_a_running_service_was_given_since_is_told_as_such() -> None:
    found = {each.name: each for each in setting_values(Settings(), {"min_idle": "--min-idle"}, {"min_idle": 7})}
    assert (found["min_idle"].value, found["min_idle"].source) == (7, "changed at run time")
    assert found["max_idle"].source == "default"


def test_the_settings_of_each_pool_are_shown_with_where_they_come_from(run: Any, tmp_path: Path) -> None:
    (tmp_path / "orchestrator.toml").write_text(
        f"""
        user = "1000"
        [pools.default]
        max_machines = 20
        [[pools.default.windows]]
        cron = "0 8 * * 1-5"
        for = "90m"
        min_idle = 8
        [pools.web]
        image = "my/web"
        env = {{ KEY = "{SECRET}" }}
        """
    )
    found = run("--changed", "--memory", "1g")
    assert {name: (each["value"], each["source"]) for name, each in found.items()} == {
        "memory": ("1g", "--memory"),
        "user": ("1000", "user in orchestrator.toml"),
        "windows": (
            [{"cron": "0 8 * * 1-5", "for": "1h30m", "min_idle": 8, "max_idle": None, "timezone": "UTC"}],
            "windows in [pools.default] of orchestrator.toml",
        ),
        "pools.default.max_machines": (20, "max_machines in [pools.default] of orchestrator.toml"),
        "pools.web.image": ("my/web", "image in [pools.web] of orchestrator.toml"),
        "pools.web.env": (
            {"DATABASE_URL": "(hidden)", "KEY": "(hidden)"},
            "env in [pools.web] of orchestrator.toml",
        ),
        "pools.web.memory": ("1g", "inherited: --memory"),
        "pools.web.user": ("1000", "inherited: user in orchestrator.toml"),
    }
    every = run()
    assert every["pools.web.min_idle"] == {"name": "pools.web.min_idle", "value": 2, "source": "default"}
    plain = CliRunner().invoke(main, ["config", "--url", "http://127.0.0.1:1"])
    assert "min_idle 8 for 1h30m from `0 8 * * 1-5` (UTC)" in plain.stdout
    assert SECRET not in plain.stdout


def test_a_bad_setting_is_refused(run: Any) -> None:
    done = CliRunner().invoke(main, ["config", "--min-idle", "few"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--min-idle is 'few', but must be" in done.stderr
