"""The command line around a running service: stopping, coming back, `down`, `recover`, and what is refused at the start."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import Start
from tests.integration.docker_command import LABEL, clean_up, docker, docker_json
from tests.integration.running import Running, environment, orchestrator
from tests.integration.waiting import PortBlock, eventually


def command(service: Running, *words: str) -> subprocess.CompletedProcess[str]:
    """One command on this service's state directory."""
    return orchestrator(*words, *service.command_flags, cwd=service.folder)


# stopping and coming back


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_farewell_lists_what_keeps_running(start: Start, how: signal.Signals) -> None:
    """Exit code 0, and one line for each container with its project."""
    service = start("--min-idle", "1")
    mine = service.assign("my-project")["containerId"]
    (idle,) = service.await_idle(1)
    assert service.end(how) == 0
    assert "Stopped. 2 containers keep running:" in service.log
    assert re.search(rf"^  {mine}  assigned to my-project$", service.log, re.MULTILINE)
    assert re.search(rf"^  {idle}  idle$", service.log, re.MULTILINE)
    assert f"`orchestrator down --state-dir {service.state_dir}` removes idle ones" in service.log
    assert "Traceback" not in service.log
    assert sorted(service.containers()) == sorted([mine, idle])


def test_the_farewell_leaves_out_what_is_gone(start: Start) -> None:
    """A machine that vanished is still its project's, but no container."""
    service = start("--min-idle", "0")
    mine = service.assign("my-project")["containerId"]
    docker("rm", "--force", mine)
    eventually(lambda: service.rows("SELECT gone FROM machine") == [(1,)], "it is known to be gone")
    service.end()
    assert "Stopped. No container keeps running." in service.log


def test_the_demo_says_that_its_machines_ended(start: Start) -> None:
    service = start("--engine", "memory", "--min-idle", "1")
    service.await_idle(1)
    service.end()
    assert "Stopped. The demo's machines ended with it." in service.log


def lines(service: Running) -> list[Any]:
    """Its log, each line of which must be one JSON document."""
    return [json.loads(line) for line in service.log.splitlines()]


def test_with_json_the_start_and_the_end_are_log_lines_too(start: Start) -> None:
    """With the same facts: where it is, how to get a worker, what to be careful about, what keeps running."""
    service = start("--min-idle", "1", "--log-format", "json", "--publish-address", "0.0.0.0")
    mine = service.assign("my-project")["containerId"]
    (idle,) = service.await_idle(1)
    assert service.end() == 0
    said = {line["event"]: line for line in lines(service)}
    url = f"http://localhost:{service.ports.api}"
    commands = [f"orchestrator --url {url} assign my-project", f"curl {url}/my-project"]
    assert (said["serving"]["url"], said["serving"]["assign_with"]) == (url, commands)
    assert "workers are published on 0.0.0.0" in said["open to others"]["why"]
    holders = {each["machine"]: each["is"] for each in said["stopped"]["keep_running"]}
    assert holders == {mine: "assigned to my-project", idle: "idle"}
    assert said["stopped"]["remove_idle_with"] == f"orchestrator down --state-dir {service.state_dir}"


@pytest.mark.parametrize(
    ("flags", "means"),
    [
        ((), "--on-release reuse: The next project gets a released machine as it is, with its files (.env too)"),
        (("--on-release", "recycle"), "--on-release recycle: A released machine is removed with its files"),
    ],
)
def test_the_start_says_in_one_line_what_becomes_of_a_released_machine(
    start: Start, flags: tuple[str, ...], means: str
) -> None:
    """In a JSON log too, where the line is two fields."""
    told = start("--engine", "memory", "--min-idle", "0", *flags)
    in_json = start("--engine", "memory", "--min-idle", "0", "--log-format", "json", *flags)
    for service in (told, in_json):
        service.end()
    (line,) = [line.strip() for line in told.log.splitlines() if "--on-release" in line]
    assert line.startswith(means)
    said = next(each for each in lines(in_json) if each["event"] == "serving")
    assert line == f"--on-release {said['on_release']}: {said['on_release_means']}"


def test_the_start_says_of_each_pool_what_becomes_of_a_released_machine(start: Start, tmp_path: Path) -> None:
    """What is reused must not be found out by accident, whichever pool it is."""
    file = tmp_path / "orchestrator.toml"
    file.write_text(
        "min_idle = 0\non_release = 'recycle'\n[pools.a]\nmin_idle = 0\non_release = 'reuse'\n[pools.b]\nmin_idle = 0\n"
    )
    told = start("--engine", "memory", "--config", str(file))
    in_json = start("--engine", "memory", "--config", str(file), "--log-format", "json")
    for service in (told, in_json):
        service.end()
    assert "\n  on_release recycle (default, b): A released machine is removed with its files" in told.log
    assert "\n  on_release reuse (a): The next project gets a released machine as it is, with its files" in told.log
    said = next(each for each in lines(in_json) if each["event"] == "serving")
    assert said["on_release_of_pools"] == {"default": "recycle", "a": "reuse", "b": "recycle"}


def test_with_json_the_demo_ends_with_a_log_line_too(start: Start) -> None:
    service = start("--engine", "memory", "--min-idle", "1", "--log-format", "json")
    service.end()
    last = lines(service)[-1]
    assert (last["event"], last["keep_running"]) == ("stopped", [])


def test_with_json_a_service_that_cannot_start_says_so_in_json(tmp_path: Path) -> None:
    """With the exit code that it has for people."""
    block = PortBlock.claim()
    words = ("--state-dir", str(tmp_path), "--port", str(block.api), "--log-format", "json")
    away = orchestrator("serve", *words, "--docker-host", "unix:///nowhere/docker.sock", cwd=tmp_path)
    with socket.create_server(("127.0.0.1", block.api)):
        taken = orchestrator("serve", *words, cwd=tmp_path)
    block.close()
    for done, code, why in ((away, 1, "unix:///nowhere/docker.sock"), (taken, 4, f"--port {block.api}")):
        (said,) = map(json.loads, done.stderr.splitlines())
        assert (done.returncode, said["event"], said["level"]) == (code, "failed", "error")
        assert why in said["why"]


def test_the_commands_at_the_start_can_be_run_as_they_stand(start: Start) -> None:
    """After `make run` no shell finds the program by its name."""
    program = Path(sys.executable).with_name("orchestrator")
    service = start("--engine", "memory", "--min-idle", "1", start=False)
    service.start(command=(str(program),))
    (said,) = re.findall(r"^ +(.*orchestrator .*assign my-project)$", service.log, re.MULTILINE)
    environ = environment({"PATH": os.defpath})
    done = subprocess.run(
        said, shell=True, cwd="/", env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"{service.assign('my-project')['url']}\n"


def test_what_is_published_beyond_loopback_is_said_at_the_start(start: Start) -> None:
    """And whoever listens beyond it with URLs on localhost hears what is missing."""
    flags = ("--engine", "memory", "--min-idle", "0")
    assert "Careful" not in start(*flags).log
    published = start(*flags, "--publish-address", "0.0.0.0")
    eventually(lambda: "Careful: workers are published on 0.0.0.0" in published.log, "it is said")
    open_to_all = start(*flags, "--host", "0.0.0.0", "--insecure-no-auth")
    eventually(lambda: "add --advertise-host NAME --publish-address 0.0.0.0" in open_to_all.log, "it is said")


def test_a_service_that_comes_back_knows_everything(start: Start) -> None:
    """The same machines, the same projects, and not one container more."""
    service = start("--min-idle", "2")
    mine = service.assign("my-project")
    service.await_idle(2)
    before = sorted((m["id"], m["port"], m["assignedProject"]) for m in service.machines())
    service.end()
    service.start()
    assert sorted((m["id"], m["port"], m["assignedProject"]) for m in service.machines()) == before
    assert service.assign("my-project") == mine
    assert sorted(service.containers()) == [machine_id for machine_id, _, _ in before]


def test_what_ended_meanwhile_is_not_handed_out(start: Start) -> None:
    """Idle ones are replaced, and a project's machine is started again with its files."""
    service = start("--min-idle", "2")
    mine = service.assign("my-project")
    docker("exec", mine["containerId"], "sh", "-c", "echo kept >/srv/files/note.txt")
    idle = service.await_idle(2)
    service.end()
    docker("kill", mine["containerId"], *idle)
    service.start()
    assert service.assign("my-project") == mine
    assert docker("exec", mine["containerId"], "cat", "/srv/files/note.txt").out == "kept"
    assert not set(service.await_idle(2)) & set(idle)
    other = service.assign("other")["containerId"]
    assert docker_json("inspect", other)["State"]["Running"]


# down


@pytest.mark.promise("down")
def test_down_removes_idle_machines_and_keeps_assigned_ones(start: Start) -> None:
    """It stops the service first, and says what keeps running; --all removes the rest, and the network."""
    service = start("--min-idle", "1")
    mine = service.assign("my-project")["containerId"]
    service.await_idle(1)
    unasked = command(service, "down", "--all")
    assert (unasked.returncode, service.get("/health").status) == (1, 200), "where nobody can be asked, nothing is done"
    assert f"{mine}  assigned to my-project" in unasked.stderr
    assert "Aborted" not in unasked.stderr
    assert unasked.stderr.splitlines()[-1] == (
        "orchestrator: No machine was removed, and no service was stopped. Standard input is not a terminal, so nobody can "
        "be asked. Add --yes to go on without asking."
    )
    done = command(service, "down")
    assert done.returncode == 0, done.stderr
    assert service.wait() == 0
    assert "Removed 1 container." in done.stdout
    assert f"{mine} keeps running for my-project" in done.stdout
    assert service.containers() == [mine]
    again = command(service, "down")
    assert (again.returncode, again.stdout.splitlines()[0]) == (0, "Removed 0 containers.")
    unasked = command(service, "down", "--all")
    assert service.containers() == [mine], "without an answer nothing assigned is removed"
    assert unasked.returncode == 1
    everything = command(service, "down", "--all", "--yes")
    assert everything.returncode == 0, everything.stderr
    assert service.containers() == []
    assert docker("network", "inspect", f"{LABEL}-{service.owner}", check=False).failed


def test_after_down_a_service_starts_as_ever(start: Start) -> None:
    """With new machines, and a network."""
    service = start("--min-idle", "1")
    before = service.await_idle(1)
    assert command(service, "down", "--all", "--yes").returncode == 0
    service.wait()
    service.start()
    assert service.await_idle(1) != before


def test_commands_without_a_database_make_none(tmp_path: Path) -> None:
    """A folder that was mistyped: one sentence, exit code 1."""
    for words, said in (
        (
            ("down",),
            f"There is no database in {tmp_path}/none, so nothing was removed. Name the right folder with --state-dir.",
        ),
        (
            ("recover", "--accept"),
            f"There is no database in {tmp_path}/none to accept. Name the right folder with --state-dir.",
        ),
        (
            ("backup", "copy"),
            f"There is no database in {tmp_path}/none to copy. Name the right folder with --state-dir.",
        ),
    ):
        done = orchestrator(*words, "--state-dir", str(tmp_path / "none"), cwd=tmp_path)
        assert (done.returncode, done.stderr) == (1, f"orchestrator: {said}\n")
    assert not list(tmp_path.iterdir())


# recover


def test_recover_lists_and_adopts_strays(start: Start) -> None:
    """A database that forgot its machines: they are shown, never touched, until somebody says what they are."""
    service = start("--min-idle", "2")
    first, second = sorted(service.await_idle(2))
    docker("exec", first, "sh", "-c", "echo work >/srv/files/note.txt")
    service.end()
    with closing(sqlite3.connect(service.state_dir / "orchestrator.db")) as db:
        db.execute("DELETE FROM machine")
        db.commit()
    shown = command(service, "recover")
    assert shown.returncode == 0, shown.stderr
    strays = shown.stdout.partition("Strays")[2].partition("Foreign")[0]
    assert first in strays
    assert second in strays
    assert f"orchestrator recover --adopt ID=PROJECT --state-dir {service.state_dir}" in shown.stdout
    both = command(service, "recover", "--adopt", f"{first}=found-again", "--purge", first, "--yes")
    assert (both.returncode, both.stdout) == (1, "")
    assert f"{first} cannot be both adopted and purged" in both.stderr
    native = docker_json("inspect", first)["Id"][:12]
    assert "cannot be both" in command(service, "recover", "--adopt", native, "--purge", first, "--yes").stderr
    adopted = command(service, "recover", "--adopt", f"{first}=found-again")
    assert adopted.returncode == 0, adopted.stderr
    assert f"adopted {first} for found-again" in adopted.stdout
    service.start()
    assert service.assign("found-again")["containerId"] == first
    assert docker("exec", first, "cat", "/srv/files/note.txt").out == "work"
    assert second not in service.await_idle(2)
    assert docker_json("inspect", second)["State"]["Running"], "a stray is never touched"
    service.end()
    purged = command(service, "recover", "--purge", second, "--yes")
    assert purged.returncode == 0, purged.stderr
    assert f"removed {second}" in purged.stdout
    assert second not in service.containers()
    assert "Strays" not in command(service, "recover").stdout
    assert command(service, "recover", "--purge", "strays").stdout == "There are no strays.\n"


def test_what_is_adopted_is_not_purged_with_the_other_strays(start: Start) -> None:
    service = start("--min-idle", "2")
    first, second = service.await_idle(2)
    service.end()
    with closing(sqlite3.connect(service.state_dir / "orchestrator.db")) as db:
        db.execute("DELETE FROM machine")
        db.commit()
    unasked = command(service, "recover", "--purge", "strays")
    assert "Remove 2 containers with all files?" in unasked.stderr
    done = command(service, "recover", "--adopt", f"{first}=carol", "--purge", "strays", "--yes")
    assert done.returncode == 0, done.stderr
    assert service.containers() == [first]
    assert f"removed {second}" in done.stdout


def test_recover_adopts_from_a_database_that_was_lost(start: Start) -> None:
    """What it knew is foreign to the new one, and can be adopted as well: released or destroyed like any other."""
    service = start("--min-idle", "1")
    mine = service.assign("my-project")
    docker("exec", mine["containerId"], "sh", "-c", "echo work >/srv/files/note.txt")
    service.end()
    lost = service.owner
    try:
        for file in service.state_dir.glob("orchestrator.db*"):
            file.unlink()
        shown = command(service, "recover")
        assert mine["containerId"] in shown.stdout.partition("Foreign")[2], shown.stdout + shown.stderr
        assert "leave these alone unless their orchestrator is gone for good" in shown.stdout
        for wish in ("--adopt", f"{mine['containerId']}=my-project"), ("--purge", mine["containerId"]):
            unasked = command(service, "recover", *wish)
            assert unasked.returncode == 1
            assert f"{mine['containerId']} belongs to another orchestrator (owner {lost[:8]}…)" in unasked.stderr
            assert not service.rows("SELECT id FROM machine")
        assert docker_json("inspect", mine["containerId"])["State"]["Running"]
        adopted = command(service, "recover", "--adopt", f"{mine['containerId']}=my-project", "--yes")
        assert adopted.returncode == 0, adopted.stderr
        service.start()
        assert service.assign("my-project") == mine
        url = f"http://localhost:{service.ports.api}"
        read = orchestrator("exec", "--url", url, "my-project", "cat", "/srv/files/note.txt", cwd=service.folder)
        assert read.stdout == "work\n", read.stderr
        assert "listens on" in orchestrator("logs", "--url", url, "my-project", cwd=service.folder).stdout
        docker("kill", mine["containerId"])
        assert service.assign("my-project") == mine
        service.destroy(mine["containerId"])
        assert docker("container", "inspect", mine["containerId"], check=False).failed
    finally:
        clean_up(lost)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--adopt", "worker-1-nobody=project"), "worker-1-nobody is neither a stray nor a foreign machine"),
        (("--purge", "worker-1-nobody", "--yes"), "worker-1-nobody is neither a stray nor a foreign machine"),
    ],
)
def test_recover_refuses_what_it_does_not_find(start: Start, words: tuple[str, ...], said: str) -> None:
    """By name; nothing is changed."""
    service = start("--min-idle", "0")
    service.end()
    done = command(service, "recover", *words)
    assert done.returncode == 1
    assert said in done.stderr


@pytest.mark.parametrize(
    "words", [("--adopt", "worker-1-a=b"), ("--accept", "--purge", "strays"), ("--accept",)], ids=" ".join
)
def test_recover_changes_nothing_beside_a_running_service(start: Start, words: tuple[str, ...]) -> None:
    """It says that the service must be stopped, not that another state directory would do."""
    service = start("--min-idle", "0")
    done = command(service, "recover", *words)
    assert done.returncode == 1
    assert (
        f"The service (pid {service.pid}) that uses the state directory {service.state_dir} is running" in done.stderr
    )
    assert "Stop the service first" in done.stderr
    assert "--state-dir" not in done.stderr
    assert command(service, "recover").returncode == 0


def test_a_start_with_the_records_of_an_earlier_run_says_so(start: Start) -> None:
    """Its ports go on from there, so that no documented port number is right any more."""
    service = start("--min-idle", "0")
    told = f"This goes on with the records of an earlier run in {service.state_dir}. Ports go on as well"
    first = service.assign("p1")
    service.destroy(first["containerId"])
    assert told not in service.log
    service.end()
    service.start()
    eventually(lambda: told in service.log, "it says so")
    assert service.assign("p1")["port"] != first["port"]


def test_strays_are_purged_beside_a_running_service(start: Start) -> None:
    """Those alone: what is on record is refused, and the service goes on as if nothing had been."""
    service = start("--min-idle", "2", "--refresh-interval", "1")
    stray, other = service.await_idle(2)
    service.end()
    with closing(sqlite3.connect(service.state_dir / "orchestrator.db")) as db:
        db.execute("DELETE FROM machine")
        db.commit()
    service.start()
    idle = service.await_idle(2)
    mine = service.assign("my-project")
    refused = command(service, "recover", "--purge", mine["containerId"], "--yes")
    assert (refused.returncode, "is neither a stray nor a foreign machine" in refused.stderr) == (1, True)
    asked = command(service, "recover", "--purge", stray)
    assert (asked.returncode, "Remove 1 container with all files?" in asked.stderr) == (1, True)
    assert stray in service.containers()
    done = command(service, "recover", "--purge", "strays", "--yes")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == sorted([f"removed {stray}", f"removed {other}"])
    assert not {stray, other} & set(service.containers())
    assert set(idle) <= set(service.containers())
    assert service.assign("my-project") == mine
    eventually(lambda: service.get("/v1/health").json["strays"] == 0, "the service sees none any more")
    assert command(service, "recover", "--purge", "strays").stdout == "There are no strays.\n"


def test_recover_says_at_once_that_a_project_cannot_be(tmp_path: Path) -> None:
    done = orchestrator("recover", "--state-dir", str(tmp_path / "none"), "--adopt", "worker-1-a=bad id", cwd=tmp_path)
    assert done.returncode == 2
    assert "'bad id' is not a project id" in done.stderr
    assert not list(tmp_path.iterdir())


def test_health_names_the_command_that_leads_to_this_services_strays(start: Start) -> None:
    service = start("--min-idle", "1")
    (idle,) = service.await_idle(1)
    service.end()
    with closing(sqlite3.connect(service.state_dir / "orchestrator.db")) as db:
        db.execute("DELETE FROM machine")
        db.commit()
    service.start()
    recover = f"orchestrator recover --state-dir {service.state_dir}"
    found = f"1 container of this service is not on record. Run `{recover}` to see what can be done."
    eventually(lambda: found in service.get("/v1/health").json["problems"], "it is told")
    assert idle in command(service, "recover").stdout.partition("Strays")[2]


def test_recover_does_not_purge_what_is_on_record(start: Start) -> None:
    """That is what `down` and the API are for."""
    service = start("--min-idle", "1")
    (idle,) = service.await_idle(1)
    service.end()
    done = command(service, "recover", "--purge", idle, "--yes")
    assert done.returncode == 1
    assert service.containers() == [idle]


# what is refused at the start


def test_a_second_service_on_the_same_state_is_refused(start: Start) -> None:
    """The message names the pid of the first, and what to do; the first goes on."""
    service = start("--min-idle", "0")
    block = PortBlock.claim()
    done = command(service, "serve", "--port", str(block.api), "--first-port", str(block.first))
    block.close()
    assert done.returncode == 1
    assert f"pid {service.pid}" in done.stderr
    assert "--state-dir" in done.stderr
    assert service.get("/health").status == 200


def test_a_service_that_was_killed_leaves_no_lock(start: Start) -> None:
    """A stale pid file is nobody's claim."""
    service = start("--min-idle", "0")
    service.end(signal.SIGKILL)
    service.start()
    assert service.get("/health").status == 200
    done = command(service, "serve", "--port", str(service.ports.last))
    assert f"pid {service.pid}" in done.stderr


def test_a_port_in_use_is_named(start: Start, tmp_path: Path) -> None:
    """With the setting that would help; no traceback, and no container was made."""
    block = PortBlock.claim()
    with socket.create_server(("127.0.0.1", block.api)):
        done = orchestrator("serve", "--port", str(block.api), "--state-dir", str(tmp_path / "state"), cwd=tmp_path)
    block.close()
    assert done.returncode == 4, "not 2, which keeps systemd from trying again"
    assert f"--port {block.api} of 127.0.0.1" in done.stderr
    assert "--port or --host" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("has_token", "log_format"), [(False, "console"), (True, "json")])
def test_an_orchestrator_that_has_the_port_already_is_named(
    start: Start, tmp_path: Path, *, has_token: bool, log_format: str
) -> None:
    """With its address, and with its state directory where that can be known; also if it requires a token."""
    file = tmp_path / "token"
    file.write_text("a-secret-of-at-least-16-characters")
    service = start("--min-idle", "0", *(["--token-file", str(file)] if has_token else []), start=False)
    service.start(await_answer=False)
    url = f"http://localhost:{service.ports.api}"
    eventually(lambda: f"The pool is at {url}" in service.log, "the service answers")
    again = ("serve", "--port", str(service.ports.api), "--log-format", log_format)
    same = orchestrator(*again, "--state-dir", str(service.state_dir), cwd=tmp_path)
    assert (
        f"Another orchestrator already runs at {url}, and the state directory {service.state_dir} is in" in same.stderr
    )
    assert f"pid {service.pid}" in same.stderr
    other = orchestrator(*again, "--state-dir", str(tmp_path / "other"), cwd=tmp_path)
    assert f"runs at {url}. It does not use the state directory {tmp_path / 'other'}." in other.stderr
    demo = orchestrator(*again, "--engine", "memory", cwd=tmp_path)
    assert f"Another orchestrator already runs at {url}. Use it, stop it, or" in demo.stderr
    assert [done.returncode for done in (same, other, demo)] == [4, 4, 4]
    assert not (tmp_path / "other").exists(), "nothing was made for a service that did not start"


BAD = [
    (("--min-idle", "-1"), "--min-idle is '-1', but must be a whole number from 0 to 10000"),
    (("--min-idle", "two"), "--min-idle is 'two', but must be a whole number from 0 to 10000"),
    (("--port", "70000"), "--port is '70000', but must be a whole number from 1 to 65535"),
    (("--engine", "podman"), "--engine is 'podman', but must be one of docker, kubernetes, memory"),
    (("--assign-timeout", "soon"), "--assign-timeout is 'soon', but must be a number of seconds from 0.1 to 3600"),
    (("--on-release", "burn"), "--on-release is 'burn', but must be one of reuse, recycle"),
    (("--env", "=b"), "--env has an entry that is not allowed, but must be NAME=value"),
    (("--min-idle", "9", "--max-machines", "8"), "min_idle is 9, but must be at most max_machines, which is 8"),
    (("--min-idle", "2", "--max-idle", "1"), "max_idle is 1, but must be at least min_idle, which is 2"),
    (("--first-port", "9000", "--last-port", "8000"), "last_port is 8000, but must be at least first_port"),
    (
        ("--publish-address", "nowhere"),
        "--publish-address is 'nowhere', but must be localhost, gateway or an IP address",
    ),
    (("--advertise-host", "http://my-host"), "--advertise-host is 'http://my-host', but must be a host name or an IP"),
    (("--allow-origin", "app.example.com"), "--allow-origin is 'app.example.com', but must be a web origin"),
    (("--docker-host", "nonsense"), "'nonsense', which is not an address of a Docker engine"),
]


@pytest.mark.parametrize(("flags", "said"), BAD, ids=[" ".join(flags) for flags, _ in BAD])
def test_a_bad_setting_is_named(tmp_path: Path, flags: tuple[str, ...], said: str) -> None:
    """With its value and what is allowed, in one line; exit code 2."""
    block = PortBlock.claim()
    known = () if "--port" in flags else ("--port", str(block.api))
    done = orchestrator("serve", "--state-dir", str(tmp_path / "state"), *known, *flags, cwd=tmp_path)
    block.close()
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_bad_variable_and_a_bad_file_are_named(tmp_path: Path) -> None:
    """By the name that the operator wrote, with the nearest one that exists."""
    state = ("--state-dir", str(tmp_path / "state"))
    variable = orchestrator("serve", *state, cwd=tmp_path, env={"ORCHESTRATOR_MIN_IDEL": "3"})
    assert variable.returncode == 2
    assert "ORCHESTRATOR_MIN_IDEL is not a setting. Did you mean ORCHESTRATOR_MIN_IDLE?" in variable.stderr
    (tmp_path / "orchestrator.toml").write_text('min-idle = "many"\n')
    file = orchestrator("serve", *state, cwd=tmp_path)
    assert file.returncode == 2
    assert "min-idle in orchestrator.toml (line 1) is 'many', but must be a whole number" in file.stderr


def test_an_engine_that_does_not_answer_is_named(tmp_path: Path) -> None:
    """Where it was looked for, and what to do; exit code 1."""
    block = PortBlock.claim()
    words = ("--port", str(block.api), "--state-dir", str(tmp_path / "state"))
    done = orchestrator("serve", *words, "--docker-host", "unix:///nowhere/docker.sock", cwd=tmp_path)
    block.close()
    assert done.returncode == 1
    assert "unix:///nowhere/docker.sock" in done.stderr
    assert "no such socket" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("damage", ["garbage", "newer"])
def test_a_database_that_cannot_be_used_is_left_as_it_is(start: Start, damage: str) -> None:
    """The message says what is wrong with it and what to do."""
    service = start("--min-idle", "0")
    service.end()
    file = service.state_dir / "orchestrator.db"
    owner = service.owner
    try:
        if damage == "garbage":
            for journal in service.state_dir.glob("orchestrator.db-*"):
                journal.unlink()
            file.write_bytes(b"this is no database" * 1000)
        else:
            with closing(sqlite3.connect(file)) as db:
                db.execute("PRAGMA user_version = 99")
        before = file.read_bytes()
        done = command(service, "serve", "--port", str(service.ports.api))
        assert done.returncode == 1
        assert str(file) in done.stderr
        assert {"garbage": "move this file away", "newer": "version 99"}[damage] in done.stderr
        assert file.read_bytes() == before
    finally:
        clean_up(owner)


def test_a_copied_database_is_refused(start: Start) -> None:
    """From another computer, with machines on record: `recover --accept` is the operator's own word."""
    service = start("--min-idle", "1")
    service.await_idle(1)
    service.end()
    with closing(sqlite3.connect(service.state_dir / "orchestrator.db")) as db:
        db.execute("INSERT OR REPLACE INTO meta VALUES ('home', 'another-computer')")
        db.commit()
    done = command(service, "serve", "--port", str(service.ports.api))
    assert done.returncode == 1
    assert "was copied from another computer" in done.stderr
    assert "recover" in done.stderr
    assert command(service, "recover", "--accept").returncode == 0
    service.start()
    service.await_idle(1)


def test_the_pid_of_a_running_service_is_on_record(start: Start) -> None:
    """For whoever wonders what holds the lock; it goes with the service."""
    service = start("--min-idle", "0")
    card = service.state_dir / "orchestrator.pid"
    assert json.loads(card.read_text())["pid"] == service.pid
    service.end()
    eventually(lambda: not card.exists(), "the card is gone")
