"""The scripts that bring what the tests need, and run them side by side."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from tests.integration.waiting import eventually, holds_for

SCRIPTS: Final = Path(__file__).parents[2] / "scripts"
on_debian = pytest.mark.skipif(shutil.which("apt-get") is None, reason="only Debian and Ubuntu have apt-get")


@pytest.fixture
def own_apt(tmp_path: Path) -> dict[str, str]:
    """The environment of an apt-get with no sources, whose lists and locks are its own."""
    (tmp_path / "lists" / "partial").mkdir(parents=True)
    (tmp_path / "no.list").touch()
    places = {"State::Lists": "lists", "Etc::SourceList": "no.list", "Etc::SourceParts": "none"}
    config = tmp_path / "apt.conf"
    config.write_text("".join(f'Dir::{name} "{tmp_path / place}";\n' for name, place in places.items()))
    return {**os.environ, "APT_CONFIG": str(config)}


@pytest.fixture
def lock_of_lists(tmp_path: Path, own_apt: dict[str, str]) -> Iterator[Any]:
    """What another apt-get holds while it fetches lists."""
    with (tmp_path / "lists" / "lock").open("w") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        yield held


def update(environment: dict[str, str], wait_s: int) -> subprocess.Popen[str]:
    given = {**environment, "APT_LOCK_WAIT_S": str(wait_s)}
    return subprocess.Popen(
        [SCRIPTS / "apt-get", "update"], env=given, text=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )


@on_debian
def test_an_update_waits_while_another_one_holds_the_lists(own_apt: dict[str, str], lock_of_lists: Any) -> None:
    with update(own_apt, wait_s=60) as waiting:
        holds_for(lambda: waiting.poll() is None, "it waits", for_s=2)
        fcntl.lockf(lock_of_lists, fcntl.LOCK_UN)
        eventually(lambda: waiting.poll() is not None, "it ends", within_s=30)
        assert (waiting.returncode, *waiting.communicate()) == (0, "", "")


@on_debian
def test_an_update_that_waited_long_enough_says_who_holds_the_lock(own_apt: dict[str, str], lock_of_lists: Any) -> None:
    with update(own_apt, wait_s=1) as waiting:
        said = waiting.communicate(timeout=30)[1]
    assert waiting.returncode == 1
    assert f"It is held by process {os.getpid()}" in said
    assert "apt-get update failed" in said


@on_debian
def test_what_fails_for_another_reason_fails_at_once(own_apt: dict[str, str]) -> None:
    begun = time.monotonic()
    with subprocess.Popen(
        [SCRIPTS / "apt-get", "no-such-command"], env=own_apt, text=True, stderr=subprocess.PIPE
    ) as failing:
        said = failing.communicate(timeout=60)[1]
    assert failing.returncode == 1
    assert "Invalid operation no-such-command" in said
    assert time.monotonic() - begun < 30, "it waited for nothing"


def side_by_side(folder: Path, *commands: str) -> tuple[int, list[str]]:
    """How it ended, and the lines that it printed."""
    words = [str(SCRIPTS / "side-by-side"), str(folder / "logs"), *commands]
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, timeout=60, check=False)
    return done.returncode, done.stdout.splitlines()


def test_commands_side_by_side_run_at_once_and_each_is_shown_whole(tmp_path: Path) -> None:
    """The last one as it comes, then the others in their order."""
    for name in "abc":
        os.mkfifo(tmp_path / name)
    first, second, last = (
        "echo 1 >a; read <b; echo first",
        "echo 1 >b; read <c; echo second",
        "read <a; echo 1 >c; echo last",
    )
    assert side_by_side(tmp_path, first, second, last) == (0, ["last", "first", "second"])
    assert (tmp_path / "logs" / "2.log").read_text() == "second\n"


@pytest.mark.parametrize("broken", range(3))
def test_commands_side_by_side_fail_where_one_of_them_does(tmp_path: Path, broken: int) -> None:
    commands = [f"echo {number}; exit {3 * (number == broken)}" for number in range(3)]
    assert side_by_side(tmp_path, *commands) == (1, ["2", "0", "1"])


@pytest.mark.parametrize("chosen", ["", "/tmp/of-mine"])
def test_make_runs_a_pool_of_the_clones_own_and_takes_the_same_one_down(tmp_path: Path, chosen: str) -> None:
    """Whoever names a folder in the environment gets that one."""
    program = tmp_path / "orchestrator"
    program.write_text('#!/bin/sh\necho "$1 in $ORCHESTRATOR_STATE_DIR"\n')
    program.chmod(0o755)
    clone = SCRIPTS.parent
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORCHESTRATOR_", "MAKE"))}
    environment |= {"ORCHESTRATOR_STATE_DIR": chosen} if chosen else {}
    words = [
        "make",
        "-s",
        "-C",
        str(clone),
        "-o",
        ".venv/.service",
        "-o",
        "example-worker",
        f"BIN={tmp_path}",
        "DOCKER=env",
    ]
    for target, command in (("run", "serve"), ("down", "down")):
        done = subprocess.run([*words, target], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == f"{command} in {chosen or clone / '.state'}\n"
