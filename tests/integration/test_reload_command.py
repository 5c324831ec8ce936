"""`orchestrator reload` and SIGHUP: a running service takes over what its file says, or says why not."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from tests.integration.calling import call
from tests.integration.running import Running, a_service
from tests.integration.terminals import Screen, on_a_terminal
from tests.integration.test_command_line import MODULE, document, out, reaching, run
from tests.integration.waiting import eventually

AS_STARTED: Final = """
max_machines = 12

[pools.node20]
image = "my/node:20"
min_idle = 1
"""
OTHER: Final = """
max_machines = 13
rate_limit = 7

[pools.python]
image = "my/python:3"
min_idle = 0
env = { LOG = "debug" }
"""
DIFFERENCE: Final = """\
+ pool python: image my/python:3, min_idle 0
- pool node20
~ max_machines: 12 -> 13
"""
IN_DAEMON: Final = ("env", "--default-signal=HUP", "setsid", *MODULE)
"""Without a terminal, as systemd starts it."""


@contextmanager
def serving(folder: Path, command: tuple[str, ...] = IN_DAEMON) -> Iterator[Running]:
    """A service that was started with the file `AS_STARTED`."""
    folder.mkdir(exist_ok=True)
    (folder / "orchestrator.toml").write_text(AS_STARTED)
    with a_service(folder, "--engine", "memory", start=False) as service:
        service.start(command=command).await_idle(3)
        yield service
        assert "Traceback" not in service.log


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("reload")) as service:
        yield service


@pytest.fixture
def service(daemon: Running) -> Iterator[Running]:
    """It has the settings of `AS_STARTED` before and after each test."""
    yield daemon
    write(daemon, AS_STARTED)
    out(daemon, "reload")


def write(service: Running, text: str) -> None:
    (service.folder / "orchestrator.toml").write_text(text)


def pools_of(service: Running) -> list[Any]:
    return list(call(service.ports.api, "GET", "/v1/pools").json["pools"])


def names(service: Running) -> list[str]:
    return [pool["name"] for pool in pools_of(service) if not pool["retired"]]


def at_a_terminal(service: Running, *words: str, keys: str, code: int = 0) -> Screen:
    with on_a_terminal([*MODULE, "reload", *words], cwd=service.folder, env=reaching(service)) as screen:
        if keys:
            screen.await_text("Apply? [Y/n]: ")
            screen.type(keys)
        assert screen.wait() == code, screen.seen
        return screen


def test_at_a_terminal_it_shows_what_would_change_and_asks(service: Running) -> None:
    write(service, OTHER)
    shown = DIFFERENCE.replace("\n", "\r\n")
    refused = at_a_terminal(service, keys="n\n")
    assert shown in refused.seen
    assert "Applied." not in refused.seen
    assert names(service) == ["default", "node20"]
    accepted = at_a_terminal(service, keys="\n")
    assert shown in accepted.seen
    assert "Applied." in accepted.seen
    assert names(service) == ["default", "python"]


def test_what_was_shown_is_what_is_applied_and_a_file_that_changed_is_shown_again(service: Running) -> None:
    write(service, OTHER)
    with on_a_terminal([*MODULE, "reload"], cwd=service.folder, env=reaching(service)) as screen:
        screen.await_text("Apply? [Y/n]: ")
        write(service, OTHER.replace("max_machines = 13", "max_machines = 14"))
        screen.forget()
        screen.type("y\n")
        screen.await_text("Apply? [Y/n]: ")
        assert "The settings have changed meanwhile." in screen.seen
        assert "~ max_machines: 12 -> 14" in screen.seen
        assert names(service) == ["default", "node20"]
        screen.type("\n")
        assert screen.wait() == 0, screen.seen
        assert "Applied." in screen.seen
    assert names(service) == ["default", "python"]


def test_a_digest_applies_what_was_shown_with_it_and_nothing_else(service: Running) -> None:
    write(service, OTHER)
    shown = call(service.ports.api, "POST", "/v1/reload?dry_run=true").json
    again = call(service.ports.api, "POST", "/v1/reload?dry_run=true").json
    assert shown["digest"] == again["digest"]
    write(service, OTHER.replace("0", "1"))
    refused = call(service.ports.api, "POST", f"/v1/reload?digest={shown['digest']}")
    assert (refused.status, json.loads(refused.body)["code"]) == (409, "settings_changed")
    assert names(service) == ["default", "node20"]
    write(service, OTHER)
    applied = call(service.ports.api, "POST", f"/v1/reload?digest={shown['digest']}")
    assert (applied.status, applied.json["applied"], applied.json["digest"]) == (200, True, None)
    assert call(service.ports.api, "POST", f"/v1/reload?digest={shown['digest']}").status == 409
    assert names(service) == ["default", "python"]


def test_it_does_not_ask_where_all_that_is_left_needs_a_restart(service: Running) -> None:
    write(service, OTHER)
    out(service, "reload")
    seen = at_a_terminal(service, keys="").seen
    assert seen.startswith("~ rate_limit: - -> 7 (needs a restart)\r\nWhat needs a restart ")
    assert "Appl" not in seen


def test_it_does_not_ask_with_yes_nor_without_a_terminal(service: Running) -> None:
    write(service, OTHER)
    seen = at_a_terminal(service, "--yes", keys="").seen
    assert "Apply?" not in seen
    assert "Applied." in seen
    assert names(service) == ["default", "python"]
    write(service, AS_STARTED)
    done = run(service, "reload")
    lines = done.stdout.decode().splitlines()
    assert lines[:2] == ["+ pool node20: image my/node:20, min_idle 1", "- pool python"]
    assert lines[-1] == "Applied."
    assert names(service) == ["default", "node20"]
    assert out(service, "reload") == "Nothing has changed.\n"


def test_a_dry_run_only_shows_and_says_what_needs_a_restart(service: Running) -> None:
    write(service, OTHER)
    done = run(service, "reload", "--dry-run")
    assert done.stdout.decode() == DIFFERENCE + "~ rate_limit: - -> 7 (needs a restart)\n"
    assert done.stderr.decode() == "What needs a restart of the service stays as it is until then.\n"
    shown = document(service, "reload", "--dry-run")
    assert shown.pop("digest")
    assert shown == {
        "applied": False,
        "changes": [
            {"pool": "python", "setting": None, "before": None, "after": "image my/python:3, min_idle 0"}
            | {"needs_restart": False, "holds": None},
            {"pool": "node20", "setting": None, "before": None, "after": None, "needs_restart": False, "holds": None},
            {
                "pool": None,
                "setting": "max_machines",
                "before": "12",
                "after": "13",
                "needs_restart": False,
                "holds": None,
            },
            {"pool": None, "setting": "rate_limit", "before": "-", "after": "7", "needs_restart": True, "holds": None},
        ],
    }
    assert names(service) == ["default", "node20"]
    assert document(service, "reload")["applied"] is True
    assert names(service) == ["default", "python"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("max_machines = \n", "(at line 1, column 16)"),
        (AS_STARTED + "[pools.python]\nimages = 'x'\n", "images in [pools.python] of orchestrator.toml (line 8)"),
        (AS_STARTED + "[pools.python]\nmin_idle = -1\n", "min_idle in [pools.python] of orchestrator.toml (line 8)"),
        (AS_STARTED.replace("12", "2"), "The min_idle of all pools together"),
    ],
)
def test_a_file_with_an_error_is_refused_in_one_sentence_and_changes_nothing(
    service: Running, text: str, why: str
) -> None:
    before = pools_of(service)
    write(service, text)
    for words in (["reload"], ["reload", "--dry-run"], ["reload", "-o", "json"]):
        refused = run(service, *words, code=2)
        assert refused.stdout == b""
        assert refused.stderr.decode().startswith("orchestrator: ")
        assert why in refused.stderr.decode()
        assert len(refused.stderr.splitlines()) == 1
    service.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
    said = [line for line in eventually(lambda: refusals(service, why), "it is in the log") if why in line]
    assert "settings not reloaded, and nothing was changed" in said[0]
    configured = [(pool["name"], pool["configured"]) for pool in pools_of(service)]
    assert configured == [(pool["name"], pool["configured"]) for pool in before]


def refusals(service: Running, why: str) -> list[str]:
    return [line for line in service.log.splitlines() if "settings not reloaded" in line and why in line]


def test_sighup_reloads_a_service_without_a_terminal(service: Running) -> None:
    write(service, OTHER)
    service.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
    eventually(lambda: names(service) == ["default", "python"], "the file is in force")
    assert "settings reloaded" in service.log


def test_sighup_ends_a_service_at_a_terminal_and_not_one_under_nohup(tmp_path: Path) -> None:
    at_terminal = [*MODULE, "serve", "--engine", "memory", "--state-dir", str(tmp_path / "state"), "--port"]
    with serving(tmp_path / "nohup", ("env", "--ignore-signal=HUP", "setsid", *MODULE)) as service:
        port = service.ports.last
        with on_a_terminal(
            ["setsid", "--ctty", *at_terminal, str(port)], cwd=tmp_path, env=reaching(service)
        ) as screen:
            screen.await_text(f"The pool is at http://localhost:{port}")
            screen.process.send_signal(signal.SIGHUP)
            assert screen.wait() == -signal.SIGHUP
        write(service, OTHER)
        service.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
        assert names(service) == ["default", "node20"]
        out(service, "reload")
        assert names(service) == ["default", "python"]


def test_a_window_of_the_new_file_opens_at_once_and_is_no_change_by_hand(service: Running) -> None:
    write(service, AS_STARTED + "[[pools.node20.windows]]\ncron = '* * * * *'\nfor = '1h'\nmin_idle = 3\n")
    lines = out(service, "reload").splitlines()
    assert lines == ["~ pool node20, windows: - -> min_idle 3 for 1h from `* * * * *` (UTC)", "Applied."]
    shown = out(service, "scale", "--pool", "node20", "--max-idle", "5")
    assert "min idle  3  (a window is open; otherwise 1)" in shown
    assert "max idle  5  (the settings say none)" in shown
    eventually(lambda: "5 idle" in out(service, "health"), "the pool has what its window asks for")
    values = {each["name"]: each for each in document(service, "config")}
    assert (values["pools.node20.min_idle"]["value"], values["pools.node20.max_idle"]["value"]) == (1, 5)
    assert values["pools.node20.min_idle"]["source"] == "min_idle in [pools.node20] of orchestrator.toml"
    out(service, "scale", "--pool", "node20", "--max-idle", "default")
