"""The commands that ask a running service, as processes, on Docker: what they print, what they do, and how they end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import Start
from tests.integration.docker_command import docker, docker_json
from tests.integration.running import Running, environment
from tests.integration.terminals import Screen, on_a_terminal
from tests.integration.waiting import eventually

MODULE = [sys.executable, "-m", "worker_orchestrator"]


def reaching(service: Running) -> dict[str, str]:
    return environment({"ORCHESTRATOR_URL": f"http://localhost:{service.ports.api}"})


def run(
    service: Running, *words: str, given: bytes = b"", code: int = 0, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """One command that ends with this exit code."""
    done = subprocess.run(
        [*MODULE, *words],
        input=given,
        capture_output=True,
        cwd=service.folder,
        env={**reaching(service), **(env or {})},
        timeout=60,
        check=False,
    )
    assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
    assert b"Traceback" not in done.stderr
    return done


def out(service: Running, *words: str, given: bytes = b"", code: int = 0) -> str:
    return run(service, *words, given=given, code=code).stdout.decode()


def document(service: Running, *words: str) -> Any:
    return json.loads(out(service, *words, "-o", "json"))


@contextmanager
def going_on(service: Running, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on, with a pipe to read from."""
    command = [*MODULE, *words]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=service.folder, env=reaching(service)
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def project(shared: Running, request: pytest.FixtureRequest) -> Iterator[str]:
    """A project of this test's own, whose machine is destroyed in the end."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name)[:100]
    yield name
    machine = shared.machine_of(name)
    if machine is not None:
        shared.destroy(machine["id"])


# assign, release, destroy


def test_assign_prints_the_url_and_nothing_else(shared: Running, project: str) -> None:
    """So that a shell can go on with it; the second time it is the same one."""
    done = run(shared, "assign", project)
    assert re.fullmatch(rb"http://localhost:\d+\n", done.stdout)
    assert done.stderr == b""
    assert out(shared, "assign", project) == done.stdout.decode()
    assert out(shared, "assign", project, "-o", "name").strip() == shared.machine_of(project)["id"]  # type: ignore[index]


def test_assign_keeps_notes_with_the_machine(shared: Running, project: str) -> None:
    found = document(shared, "assign", project, "--metadata", "branch=main", "--metadata", "by=a=b")
    assert found["metadata"] == {"branch": "main", "by": "a=b"}
    assert found["project"] == project
    assert "branch=main by=a=b" in out(shared, "show", project)


def test_assign_without_anything_idle_says_so_at_once_where_nobody_wants_to_wait(start: Start) -> None:
    service = start("--min-idle", "0", "--max-machines", "1")
    service.assign("first")
    done = run(service, "assign", "second", "--wait", "0", code=4)
    assert done.stdout == b""
    assert done.stderr.startswith(b"orchestrator: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("by", ["project", "id"])
def test_release_takes_a_project_or_the_id_of_its_machine(shared: Running, project: str, by: str) -> None:
    machine = shared.assign(project)["containerId"]
    said = out(shared, "release", project if by == "project" else machine)
    assert said == f"{project} released {machine}: it goes back to the pool as it is, with its files and processes\n"
    assert shared.machine_of(project) is None
    again = run(shared, "release", project, code=3)
    assert b"is neither a project with a machine nor the id of a machine" in again.stderr
    shared.destroy(machine)


def test_release_says_that_a_machine_is_removed_where_it_is(start: Start) -> None:
    """In the reply of the API as well."""
    service = start("--engine", "memory", "--min-idle", "1", "--on-release", "recycle")
    machine = service.assign("a")["containerId"]
    said = out(service, "release", "a")
    assert said.startswith(
        f"a released {machine}: it is removed with its files, and the pool makes a new one if it needs"
    )
    service.assign("b")
    assert document(service, "release", "b")["removed"] is True


def test_destroy_asks_before_a_project_loses_its_files(shared: Running, project: str) -> None:
    """Where nobody can be asked nothing is removed; --yes is an answer."""
    machine = shared.assign(project)["containerId"]
    refused = run(shared, "destroy", project, code=1)
    assert f"{machine}  assigned to {project}: the project loses its files".encode() in refused.stderr
    assert b"--yes" in refused.stderr
    assert docker_json("inspect", machine)["State"]["Running"]
    assert out(shared, "destroy", project, "--yes") == f"destroyed {machine}\n"
    assert docker("container", "inspect", machine, check=False).failed


def test_a_person_is_asked_before_a_machine_is_destroyed(shared: Running, project: str) -> None:
    machine = shared.assign(project)["containerId"]
    for answer, code in (("n", 1), ("y", 0)):
        with on_a_terminal([*MODULE, "destroy", project], cwd=shared.folder, env=reaching(shared)) as screen:
            screen.await_text("Remove 1 assigned machine with all files? [y/N]")
            assert docker_json("inspect", machine)["State"]["Running"]
            screen.type(f"{answer}\r")
            assert screen.wait() == code
    assert docker("container", "inspect", machine, check=False).failed


# list, show, why, events, health


def test_list_shows_what_there_is_in_every_format(shared: Running, project: str) -> None:
    machine = shared.assign(project)["containerId"]
    shared.await_idle(2)
    header, *rows = out(shared, "list").splitlines()
    assert header.split() == ["MACHINE", "PROJECT", "STATE", "URL", "MADE", "CHANGED"]
    (mine,) = [row for row in rows if project in row.split()]
    assert mine.split()[:3] == [machine, project, "assigned"]
    assert out(shared, "ls", "-o", "wide").splitlines()[0].split()[-2:] == ["TEMPLATE", "REASON"]
    assert {found["id"] for found in document(shared, "list")} == set(out(shared, "ps", "-o", "name").split())
    assert out(shared, "list", "--project", project, "-o", "name").split() == [machine]
    assert sorted(out(shared, "list", "--state", "idle", "-o", "name").split()) == sorted(shared.idle())
    nothing = run(shared, "list", "--state", "failed")
    assert (nothing.stdout, nothing.stderr) == (b"", b"No machines.\n")


def test_list_watch_tells_a_pipe_what_changed(shared: Running, project: str) -> None:
    """Without waiting for a clock: an event is told at once."""
    with going_on(shared, "list", "--watch") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("MACHINE")
        machine = shared.assign(project)["containerId"]
        for line in process.stdout:
            if project in line:
                assert line.split()[:3] == [machine, project, "assigned"]
                break
        shared.destroy(machine)
        assert any(line.split()[0] == machine and line.split()[2] == "gone" for line in process.stdout)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert (process.returncode, said) == (130, "")


def test_list_watch_draws_anew_for_a_person(shared: Running, project: str) -> None:
    words = [*MODULE, "list", "--watch"]
    with on_a_terminal(words, cwd=shared.folder, env=reaching(shared), columns=160) as screen:
        screen.await_text("MACHINE")
        machine = shared.assign(project)["containerId"]
        screen.await_text(machine)
        screen.await_text("assigned")
        screen.process.send_signal(signal.SIGINT)
        assert screen.wait() == 130
        assert "Traceback" not in screen.seen


def test_show_finds_a_machine_by_any_of_its_names(shared: Running, project: str) -> None:
    machine = shared.assign(project)["containerId"]
    native = docker_json("inspect", machine)["Id"]
    for name in (project, machine, native, native[:12]):
        assert document(shared, "show", name)["id"] == machine
    used = document(shared, "show", project, "--usage")
    assert used["usage"]["memory_bytes"] > 0
    assert "Memory:" in out(shared, "show", project, "--usage")


def test_why_tells_how_a_project_came_to_its_machine(shared: Running, project: str) -> None:
    shared.await_idle(2)
    machine = shared.assign(project)["containerId"]
    said = out(shared, "why", project)
    assert said.startswith(f"{project} has {machine} (generation ")
    assert ": warm." in said.splitlines()[0]
    assert re.search(r"^  total +\d", said, re.MULTILINE)
    assert out(shared, "why", machine) == said
    assert document(shared, "why", project)["machine"] == machine


def test_why_of_a_project_without_a_machine_says_what_an_assign_would_meet(start: Start) -> None:
    service = start("--engine", "memory", "--min-idle", "1", "--max-machines", "1")
    service.await_idle(1)
    said = run(service, "why", "second", code=3).stderr.decode()
    assert said == "orchestrator: The project second has no machine. Run `orchestrator assign second` to get one.\n"
    service.assign("first")
    said = run(service, "why", "second", code=3).stderr.decode()
    assert (
        "The project second has no machine. It cannot get one now. All 1 machines (max_machines) are held by projects."
        in said
    )
    with on_a_terminal([*MODULE, "assign", "second"], cwd=service.folder, env=reaching(service)) as screen:
        screen.await_text("Waiting: The project second has no machine. It waits in line. All 1 machines (max_machines)")
    run(service, "pause")
    said = run(service, "why", "second", code=3).stderr.decode()
    assert "It cannot get one now. The pool default is paused" in said
    nobody = "worker-1764108000123-abc123def"
    assert (
        f"{nobody} is neither a project with a machine nor the id"
        in run(service, "why", nobody, code=3).stderr.decode()
    )


def test_events_follow_without_a_gap_between_what_was_and_what_comes(shared: Running, project: str) -> None:
    shared.assign(project)
    with going_on(shared, "events", "-f", "-n", "3", "--project", project, "-o", "json") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["cause"] == "assigned"
        shared.release(project)
        assert json.loads(process.stdout.readline())["cause"] == "released"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert (process.returncode, said) == (130, "")
    numbers = [int(line.split("#")[1].split()[0]) for line in out(shared, "events").splitlines()]
    assert numbers == sorted(set(numbers))
    after = out(shared, "events", "--after", str(numbers[-3])).splitlines()
    told = [int(line.split("#")[1].split()[0]) for line in after]
    assert told[:2] == numbers[-2:]  # more may have happened by now


def test_health_is_told_and_is_the_exit_code(start: Start) -> None:
    service = start("--engine", "memory", "--min-idle", "1")
    service.await_idle(1)
    assert out(service, "health").splitlines()[0].startswith("Service:   ok, version ")
    assert document(service, "health")["machines"]["idle"] == 1
    run(service, "pause")
    assert out(service, "health").splitlines()[0].startswith("Service:   degraded, version ")
    service.assign("last")
    assert out(service, "health", code=1).splitlines()[0].startswith("Service:   down, version ")
    assert "! The pool default is paused" in out(service, "health", code=1)


def test_logs_end_with_what_is_there_or_go_on(shared: Running, project: str) -> None:
    machine = shared.assign(project)["containerId"]
    whole = docker("logs", machine)
    assert out(shared, "logs", project).splitlines() == (whole.out + whole.err).splitlines()
    assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z ", out(shared, "logs", "-t", "--tail", "1", machine))
    with going_on(shared, "logs", "-f", project) as process:
        assert process.stdout is not None
        assert "listens on" in process.stdout.readline()
        docker("exec", machine, "sh", "-c", "echo later >/proc/1/fd/1")
        assert any(line == "later\n" for line in process.stdout)


# the pool


def test_scale_changes_the_pool_and_default_takes_it_back(start: Start) -> None:
    """`config` tells what was changed at run time."""
    service = start("--engine", "memory", "--min-idle", "1")
    assert "min idle  3  (the settings say 1)" in out(service, "scale", "--min-idle", "3")
    service.await_idle(3)
    config = {each["name"]: each for each in document(service, "config", "--min-idle", "1")}
    assert config["min_idle"] == {"name": "min_idle", "value": 3, "source": "changed at run time"}
    assert document(service, "scale", "--min-idle", "default")["min_idle"] == 1
    assert document(service, "pause")["paused"] is True
    assert ", paused" in out(service, "scale").splitlines()[0]
    assert document(service, "resume")["paused"] is False
    missing = run(service, "scale", "--pool", "none", code=3)
    assert b"none" in missing.stderr


def test_sizes_that_do_not_go_with_newer_settings_are_dropped_for_good_and_told_once(start: Start) -> None:
    """A reload after that is not refused for them."""
    service = start("--min-idle", "1", "--max-machines", "4")
    out(service, "scale", "--min-idle", "3")
    service.end()
    service.flags = ("--min-idle", "1", "--max-machines", "2")
    service.start()
    told = document(service, "scale")
    assert (told["min_idle"], told["changed"]) == (1, {})
    assert told["dropped"].startswith("`orchestrator scale` had set min_idle 3. That was dropped at the start")
    assert "  dropped   `orchestrator scale` had set min_idle 3." in out(service, "scale")
    assert service.log.count("sizes changed at run time are dropped") == 1
    out(service, "reload", "--yes")
    service.end()
    service.flags = ("--min-idle", "1", "--max-machines", "4")
    service.start()
    told = document(service, "scale")
    assert (told["min_idle"], told["changed"], told["dropped"]) == (1, {}, None)
    assert service.log.count("sizes changed at run time are dropped") == 1


# exec


def test_exec_ends_as_the_command_ended(shared: Running, project: str) -> None:
    """Its outputs are kept apart, its options are its own, and what is piped in arrives."""
    shared.assign(project)
    done = run(shared, "exec", project, "--", "sh", "-c", "echo out; echo err >&2; exit 7", code=7)
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")
    assert out(shared, "exec", project, "ls", "-a", "/srv/files").split()[:2] == [".", ".."]
    assert out(shared, "exec", "-i", project, "wc", "-c", given="ä\n".encode()).strip() == "3"
    assert out(shared, "exec", "-e", "A=b c", "-w", "/tmp", project, "sh", "-c", 'echo "$A" "$PWD"') == "b c /tmp\n"
    assert out(shared, "exec", "-i", project, "sort", given=b"b\na\n") == "a\nb\n"
    late = run(shared, "exec", "--timeout", "0.5", project, "sleep", "60", code=124)
    assert b"did not end within 0.5 s and was killed" in late.stderr
    binary = run(shared, "exec", "-i", project, "cat", given=b"\xff", code=2)
    assert b"orchestrator cp" in binary.stderr


def test_exec_says_at_once_how_long_a_command_may_take_at_most(shared: Running) -> None:
    """It needs no service for that, so none is asked."""
    done = run(shared, "exec", "--timeout", "3601", "nobody", "true", code=2)
    assert b"3600" in done.stderr
    assert b"At most 3600" in run(shared, "exec", "--help").stdout


def test_exec_of_endless_output_ends_in_time_with_what_came_until_then(shared: Running, project: str) -> None:
    """Whichever of both it goes to."""
    shared.assign(project)
    for script in ("yes", "yes & yes >&2"):
        begun = time.monotonic()
        late = run(shared, "exec", "--timeout", "1", project, "--", "sh", "-c", script, code=124)
        assert time.monotonic() - begun < 6, "a second, what it takes to end it, and what a command takes to begin"
        assert len(late.stdout) > 2**20, "more than a whole reply keeps"
        assert late.stdout.strip(b"y\n") == b""
        assert b"did not end within 1 s and was killed" in late.stderr


@pytest.mark.parametrize("given", [b"x" * (2**20 + 1), b'"' * 2**20], ids=["of itself", "with what quotes take"])
def test_more_on_standard_input_than_a_call_takes_is_told_with_the_limit(
    shared: Running, project: str, given: bytes
) -> None:
    shared.assign(project)
    done = run(shared, "exec", "-i", project, "wc", "-c", given=given, code=2)
    assert b"1 MiB" in done.stderr
    assert b"orchestrator cp" in done.stderr


@contextmanager
def a_terminal(service: Running, *words: str) -> Iterator[Screen]:
    with on_a_terminal([*MODULE, "exec", "-it", *words], cwd=service.folder, env=reaching(service)) as screen:
        before = screen.settings()
        yield screen
        screen.wait()
        assert screen.settings() == before, "the terminal is as it was"


def test_a_terminal_runs_a_shell_with_the_size_of_the_window(shared: Running, project: str) -> None:
    """Keys go there, Ctrl-C too; a change of the size follows; the shell's exit code is that of the command."""
    machine = shared.assign(project)["containerId"]
    with a_terminal(shared, project) as screen:
        screen.type("stty size; echo r''eady\r")
        screen.await_text("24 80")
        screen.await_text("ready")
        screen.resize(101, 33)
        screen.forget()
        screen.type("sleep 1000\r")
        eventually(lambda: "sleep 1000" in docker("exec", machine, "ps").out, "it runs, so that Ctrl-C is for it")
        screen.type("\x03")
        screen.await_text("^C")
        screen.type("stty size; echo s''ize\r")
        screen.await_text("33 101")
        screen.await_text("size")
        screen.type("exit 5\r")
        assert screen.wait() == 5


def test_a_terminal_runs_a_full_screen_editor(shared: Running, project: str) -> None:
    """vi draws on all lines there are, follows the window, and writes its file."""
    machine = shared.assign(project)["containerId"]
    with a_terminal(shared, project, "vi", "/srv/files/note.txt") as screen:
        screen.await_text("~")
        screen.type("ihello\x1b")
        screen.await_text("hello")
        screen.forget()
        screen.resize(60, 40)
        screen.await_text("\x1b[40;1H")
        screen.type(":wq\r")
        assert screen.wait() == 0
    assert docker("exec", machine, "cat", "/srv/files/note.txt").out == "hello"


@pytest.mark.parametrize("how", ["service", "command", "machine"])
def test_a_terminal_is_restored_however_it_ends(start: Start, how: str) -> None:
    """The service is killed, the command is told to end, the machine goes; and no process stays behind in the worker."""
    service = start("--min-idle", "0")
    machine = service.assign("my-project")["containerId"]
    with a_terminal(service, "my-project", "sh", "-c", "echo r''eady; exec sleep 1000") as screen:
        screen.await_text("ready")
        if how == "command":
            screen.process.send_signal(signal.SIGTERM)
            assert screen.wait() == 128 + signal.SIGTERM
            gone = "no process is left"
            eventually(lambda: "sleep 1000" not in docker("exec", machine, "ps").out, gone)
        elif how == "service":
            service.end(signal.SIGKILL)
            assert screen.wait() == 1
            assert "The connection to the service ended before the command did." in screen.seen
        else:
            docker("rm", "--force", machine)
            assert screen.wait() != 0
        assert "Traceback" not in screen.seen


def test_a_terminal_that_cannot_be_opened_says_why(shared: Running, project: str) -> None:
    shared.assign(project)
    with a_terminal(shared, "-w", "/none", project, "sh") as screen:
        assert screen.wait() != 0
        assert "orchestrator: " in screen.seen or "/none" in screen.seen


# cp


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "app" / "sub").mkdir(parents=True)
    (tmp_path / "app" / "a.txt").write_text("a")
    (tmp_path / "app" / "sub" / "b.bin").write_bytes(os.urandom(300_000))
    return tmp_path / "app"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_goes_into_a_worker_and_comes_back_as_it_was(shared: Running, project: str, tree: Path) -> None:
    """Into a folder that is there, and under a name that is not."""
    machine = shared.assign(project)["containerId"]
    run(shared, "cp", str(tree), f"{project}:/srv/files")
    run(shared, "cp", str(tree), f"{machine}:/srv/files/other")
    run(shared, "cp", f"{tree}/.", f"{project}:/srv/files/other/sub")
    assert docker("exec", machine, "cat", "/srv/files/app/a.txt").out == "a"
    run(shared, "cp", f"{project}:/srv/files/app", str(tree.parent / "back"))
    assert files(tree.parent / "back") == files(tree)
    run(shared, "cp", f"{project}:/srv/files/other/.", str(tree.parent / "back"))
    assert files(tree.parent / "back" / "sub")["sub/b.bin"] == files(tree)["sub/b.bin"]


def test_a_file_goes_into_a_worker_and_comes_back_as_it_was(shared: Running, project: str, tree: Path) -> None:
    machine = shared.assign(project)["containerId"]
    run(shared, "cp", str(tree / "sub" / "b.bin"), f"{project}:/srv/files/c.bin")
    run(shared, "cp", str(tree / "a.txt"), f"{project}:/srv/files/")
    assert docker("exec", machine, "cat", "/srv/files/a.txt").out == "a"
    run(shared, "cp", f"{project}:/srv/files/c.bin", str(tree))
    assert (tree / "c.bin").read_bytes() == (tree / "sub" / "b.bin").read_bytes()
    assert b"There is no /none" in run(shared, "cp", f"{project}:/none", str(tree), code=3).stderr
    run(shared, "cp", str(tree / "a.txt"), f"{project}:/none/a", code=3)
    said = run(shared, "cp", str(tree / "a.txt"), f"{project}:/none/", code=3).stderr
    assert b"There is no folder /none/ in the worker. Make it first" in said


def test_what_cannot_be_copied_is_told_with_its_path(shared: Running, project: str, tree: Path) -> None:
    """With exit code 2: whoever calls has to name something else."""
    shared.assign(project)
    note = str(tree / "a.txt")
    for source, target, said, given in (
        (note, "/srv/index.html/x", b"/srv/index.html is not a folder in the container", b""),
        ("-", "/srv/files", b"What was sent for /srv/files is not a whole tar archive", b"x" * 1000),
        (note, "/dev/shm/x", b"/dev/shm/x of worker-", b""),
    ):
        done = run(shared, "cp", source, f"{project}:{target}", given=given, code=2)
        assert done.stderr.startswith(b"orchestrator: " + said)
        assert b"/var/lib" not in done.stderr
    assert b"-- cat /proc/version`" in run(shared, "cp", f"{project}:/proc/version", str(tree), code=2).stderr


def test_files_of_a_read_only_worker_are_copied_as_the_refusal_says(start: Start, tree: Path) -> None:
    """Into its /tmp, and out of it, by a command."""
    service = start("--read-only", "--min-idle", "0", "--assign-timeout", "20")
    service.assign("mine")
    for target in ("/tmp/note", "/tmp", "/srv/files"):
        told = run(service, "cp", str(tree / "a.txt"), f"mine:{target}", code=2).stderr.decode()
        assert f"Nothing can be copied to {target}: the file system of" in told
        assert "is read-only (--read-only)" in told
        advice = re.search(r"`orchestrator (exec -i \S+ -- sh -c) '(.*)' <FILE`", told)
        assert advice, told
        run(service, *advice[1].split(), advice[2], given=b"a note")
    told = run(service, "cp", "mine:/tmp/FILE", str(tree), code=2).stderr.decode()
    advice = re.search(r"`orchestrator (exec .*)`", told)
    assert advice, told
    assert run(service, *advice[1].split()).stdout == b"a note"


def test_archives_come_from_pipes_and_go_into_pipes(shared: Running, project: str, tree: Path) -> None:
    shared.assign(project)
    made = BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.add(tree, "piped")
    run(shared, "cp", "-", f"{project}:/srv/files", given=made.getvalue())
    got = run(shared, "cp", f"{project}:/srv/files/piped", "-").stdout
    with tarfile.open(fileobj=BytesIO(got)) as archive:
        assert sorted(archive.getnames()) == ["piped", "piped/a.txt", "piped/sub", "piped/sub/b.bin"]


def test_a_link_in_a_worker_is_followed_to_the_folder_behind_it(shared: Running, project: str, tree: Path) -> None:
    machine = shared.assign(project)["containerId"]
    docker("exec", machine, "sh", "-c", "mkdir /srv/files/real; ln -s real /srv/files/link")
    run(shared, "cp", str(tree / "a.txt"), f"{project}:/srv/files/link")
    assert docker("exec", machine, "cat", "/srv/files/real/a.txt").out == "a"


def test_what_leads_out_of_a_copy_is_left_out_and_named(shared: Running, project: str, tmp_path: Path) -> None:
    machine = shared.assign(project)["containerId"]
    docker("exec", machine, "sh", "-c", "mkdir /srv/files/d; ln -s /etc/passwd /srv/files/d/l; echo x >/srv/files/d/x")
    done = run(shared, "cp", f"{project}:/srv/files/d", str(tmp_path), code=1)
    assert b"left out d/l: it is a link that leads out of what is copied" in done.stderr
    assert files(tmp_path) == {"d/x": b"x\n"}


# habits


def test_a_person_sees_colours_unless_they_are_switched_off(shared: Running, project: str) -> None:
    shared.assign(project)
    for words, coloured in ((["list"], True), (["--no-color", "list"], False)):
        with on_a_terminal([*MODULE, *words], cwd=shared.folder, env=reaching(shared), columns=200) as screen:
            assert screen.wait() == 0
            assert ("\x1b[36massigned" in screen.seen) is coloured
    assert b"\x1b" not in run(shared, "list").stdout


def test_a_closed_pipe_ends_a_command_without_a_word(shared: Running) -> None:
    with going_on(shared, "events") as process:
        assert process.stdout is not None
        process.stdout.close()
        process.wait(20)
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_token_comes_from_its_file_or_the_environment(start: Start, tmp_path: Path) -> None:
    """And whoever has none, or a wrong one, hears what to do."""
    token = "a-token-of-sixteen-or-more"
    file = tmp_path / "token"
    file.write_text(f"{token}\n")
    file.chmod(0o600)
    service = start("--engine", "memory", "--min-idle", "1", "--token-file", str(file), start=False)
    service.start(await_answer=False)
    eventually(lambda: "The pool is at" in service.log, "it serves", within_s=30)
    assert f"--token-file {file} assign my-project" in service.log
    assert b"--token-file" in run(service, "list", code=1).stderr
    run(service, "list", "--token-file", str(file))
    run(service, "--token-file", str(file), "list")
    run(service, "list", env={"ORCHESTRATOR_TOKEN": token})
    assert b"--token-file" in run(service, "list", env={"ORCHESTRATOR_TOKEN": token + "x"}, code=1).stderr
    found = json.loads(run(service, "doctor", "-o", "json", "--engine", "memory", "--token-file", str(file)).stdout)
    assert "all is well" in next(each["says"] for each in found if each["check"] == "service")


def test_who_asks_too_often_hears_why_and_that_a_later_try_may_succeed(start: Start) -> None:
    service = start("--engine", "memory", "--min-idle", "1", "--rate-limit", "1", start=False)
    service.start(await_answer=False)
    eventually(lambda: "The pool is at" in service.log, "it serves", within_s=30)
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            service.get("/v1/machines")

    crowd = threading.Thread(target=ask)
    crowd.start()
    try:
        eventually(lambda: service.get("/v1/machines").status == 429, "too many ask")
        done = run(service, "list", code=4)
    finally:
        over.set()
        crowd.join()
    assert done.stderr.startswith(b"orchestrator: Too many requests came from this address, more than --rate-limit")


def test_doctor_finds_docker_and_the_image_and_what_runs(shared: Running) -> None:
    """And a registry that does not know an image is asked without a pull."""
    words = ["--image", "worker-orchestrator-example:latest", "--port", str(shared.ports.api)]
    ports = ["--first-port", str(shared.ports.first), "--max-machines", "6", *shared.command_flags]
    image = docker("image", "inspect", "-f", "{{.Id}}", words[1]).out
    found = {each["check"]: each for each in json.loads(out(shared, "doctor", "-o", "json", *words, *ports))}
    for check in ("engine", "image", "worker's port", "host.docker.internal", "engine's clock", "port", "database"):
        assert found[check]["verdict"] == "ok", found[check]
    assert f"pid {shared.pid}" in found["state directory"]["says"]
    missing = run(shared, "doctor", "--image", "127.0.0.1:1/none:v1", *words[2:], *ports, code=1).stdout.decode()
    assert "FAIL image: 127.0.0.1:1/none:v1 is not here and cannot be pulled: " in missing
    assert "`docker build -t 127.0.0.1:1/none:v1 .`" in missing
    assert docker("image", "ls", "-q", "127.0.0.1:1/none").out == ""
    assert docker("image", "inspect", "-f", "{{.Id}}", words[1]).out == image


def test_a_shell_completes_projects_and_machines(shared: Running, project: str) -> None:
    machine = shared.assign(project)["containerId"]
    for line, wanted in ((f"orchestrator show {project[:5]}", project), (f"orchestrator logs {machine[:9]}", machine)):
        words = line.split()
        env = {**reaching(shared), "_ORCHESTRATOR_COMPLETE": "bash_complete", "COMP_WORDS": line}
        script = "import sys; from worker_orchestrator.cli import main; main(prog_name='orchestrator')"
        env["COMP_CWORD"] = str(len(words) - 1)
        done = subprocess.run(
            [sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60, check=False
        )
        assert f"plain,{wanted}" in done.stdout.splitlines(), done.stderr


# several machines, and nobody to ask


def test_what_fails_for_one_machine_does_not_keep_the_others_from_being_done(start: Start) -> None:
    """The exit code is that of the first failure, and each failure is told."""
    service = start("--engine", "memory", "--min-idle", "1", "--on-release", "recycle")
    for command in ("restart", "release", "destroy"):
        projects = [f"{command}-a", f"{command}-b"]
        machines = [service.assign(project)["containerId"] for project in projects]
        flags = ["--yes"] if command == "destroy" else []
        done = run(service, command, *flags, projects[0], "nobody", projects[1], "-o", "name", code=3)
        assert done.stdout.decode().split() == machines
        assert done.stderr.startswith(
            b"orchestrator: nobody is neither a project with a machine nor the id of a machine."
        )


def test_a_refusal_does_not_keep_the_others_from_being_released(start: Start) -> None:
    service = start("--engine", "memory", "--min-idle", "1", "--max-machines", "2")
    service.assign("mine")
    service.await_idle(1)
    free = next(machine["id"] for machine in document(service, "list", "--state", "idle"))
    done = run(service, "release", free, "mine", code=1)
    assert b"mine released worker-" in done.stdout
    assert f"{free} is not assigned to a project".encode() in done.stderr


def test_events_and_why_say_the_states_of_list(start: Start) -> None:
    """Of a machine that is ready: idle or assigned."""
    service = start("--engine", "memory", "--min-idle", "1")
    service.await_idle(1)
    machine = service.assign("mine")["containerId"]
    told = out(service, "events", "--machine", machine)
    for cause, project, state in (
        ("created", "-", "starting"),
        ("answered", "-", "idle"),
        ("assigned", "mine", "assigned"),
    ):
        assert re.search(rf"{cause} +{machine}  {project}  {state}  ", told), told
    assert re.search(rf"{machine} +assigned +assigned ", out(service, "why", "mine"))
    run(service, "restart", "mine")
    assert f"  {machine}  mine  restarting  A restart was requested." in out(service, "events", "--project", "mine")
    run(service, "release", "mine")
    assert re.search("released   .* mine  (idle|starting)  The project released it.", out(service, "events"))
