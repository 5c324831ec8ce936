"""E2B's own client, unchanged, against the service on real Docker: all that docs/e2b.md says works, and what it refuses."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from e2b import (
    AsyncSandbox,
    AuthenticationException,
    CommandExitException,
    FileNotFoundException,
    FilesystemEvent,
    PtySize,
    RateLimitException,
    Sandbox,
    SandboxException,
    SandboxQuery,
    TimeoutException,
)
from tests.integration.calling import call
from tests.integration.conftest import Start
from tests.integration.docker_command import LABEL, docker
from tests.integration.guarded import a_guarded_service
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually

from worker_orchestrator.client import Client

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "e2b.md"
FLAGS: Final = ("--e2b", "--on-release", "recycle", "--min-idle", "2", "--max-machines", "24")
KEY: Final = "e2b_any"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[Running]:
    with a_service(tmp_path_factory.mktemp("e2b"), *FLAGS) as service:
        yield service


def options(service: Running, key: str = KEY) -> dict[str, Any]:
    url = f"http://localhost:{service.ports.api}/e2b"
    return {"api_url": url, "sandbox_url": url, "api_key": key}


def running_for(seconds: str) -> list[psutil.Process]:
    """Processes of this computer, those of containers included, that sleep for so long."""
    return [one for one in psutil.process_iter(["cmdline"]) if seconds in (one.info["cmdline"] or ())]


@pytest.fixture(scope="module")
def sandbox(service: Running) -> Iterator[Sandbox]:
    """One for the tests that leave nothing behind that another one would notice."""
    sandbox = Sandbox.create(envs={"STAGE": "a b"}, metadata={"kind": "shared"}, timeout=600, **options(service))
    yield sandbox
    assert sandbox.kill() is True
    assert sandbox.kill() is False


# sandboxes


def test_a_sandbox_is_a_project_with_a_machine(service: Running, sandbox: Sandbox) -> None:
    info = sandbox.get_info()
    assert (info.sandbox_id, info.template_id, info.metadata) == (sandbox.sandbox_id, "base", {"kind": "shared"})
    assert 500 < (info.end_at - info.started_at).total_seconds() < 610
    assert sandbox.is_running()
    assert service.machine_of(sandbox.sandbox_id) is not None
    again = Sandbox.connect(sandbox.sandbox_id, **options(service))
    assert again.commands.run("hostname").stdout == sandbox.commands.run("hostname").stdout


def test_what_it_uses_is_measured(sandbox: Sandbox) -> None:
    sandbox.get_metrics()
    (*_, now) = sandbox.get_metrics()
    assert now.mem_used > 0
    assert abs(now.timestamp.timestamp() - time.time()) < 30
    assert sandbox.get_metrics(end=now.timestamp.replace(year=2000)) == []


def test_only_sandboxes_are_listed(service: Running, sandbox: Sandbox) -> None:
    """A client that ends all that it lists must not end a project that came in by another door."""
    service.assign("by-another-door")
    listed = Sandbox.list(**options(service)).next_items()
    assert [one.sandbox_id for one in listed] == [sandbox.sandbox_id]
    assert Sandbox.list(SandboxQuery(metadata={"kind": "other"}), **options(service)).next_items() == []
    assert Sandbox.kill("by-another-door", **options(service)) is False
    with pytest.raises(SandboxException, match="by another door"):
        Sandbox.create(metadata={"externalId": "by-another-door"}, **options(service))
    assert service.machine_of("by-another-door") is not None


def test_metadata_of_others_make_no_sandbox(service: Running) -> None:
    """Whatever is in them, the list is told."""
    for mark in ("{}", '{"template":"a","since":"x"}', '{"template":"a","since":99999999999999999}', "no json", "1"):
        call(service.ports.api, "PUT", "/v1/projects/odd/machine", {"metadata": {"e2b": mark}})
        assert "odd" not in {one.sandbox_id for one in Sandbox.list(**options(service)).next_items()}
    assert call(service.ports.api, "DELETE", "/v1/projects/odd/machine").status == 200


def test_the_same_name_is_the_same_sandbox(service: Running) -> None:
    wanted = {"metadata": {"externalId": "named"}, **options(service)}
    first, second = Sandbox.create(**wanted), Sandbox.create(**wanted)
    assert first.sandbox_id == second.sandbox_id == "named"
    first.commands.run("sleep 600", background=True)
    machine = service.machine_of("named")["id"]  # type: ignore[index] # it has one
    assert second.kill()
    eventually(
        lambda: docker("container", "inspect", machine, check=False).failed, "it is removed, with what ran in it"
    )
    assert not first.is_running()
    with pytest.raises(SandboxException, match="was not found"):
        first.commands.run("true")
    third = Sandbox.create(**wanted)
    with pytest.raises(AuthenticationException):  # its token was that of the sandbox before
        first.commands.run("true")
    assert third.kill()


def test_its_time_is_a_lease(service: Running) -> None:
    sandbox = Sandbox.create(timeout=1000, **options(service))
    sandbox.set_timeout(2000)
    assert sandbox.get_info().end_at.timestamp() - time.time() > 1900
    Sandbox.connect(sandbox.sandbox_id, timeout=10, **options(service))  # which makes it no shorter
    assert sandbox.get_info().end_at.timestamp() - time.time() > 1900
    sandbox.set_timeout(1)
    assert sandbox.get_info().end_at.timestamp() - time.time() <= 61, "nothing expires in the first minute of a service"
    assert sandbox.kill()


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"allow_internet_access": False}, "allow_internet_access"),
        ({"lifecycle": {"on_timeout": "pause"}}, "autoPause"),
        ({"template": "no-such-pool"}, "templates are pools here: default"),
        ({"metadata": {"externalId": "no name"}}, "no project id"),
    ],
)
def test_nothing_is_accepted_and_ignored(service: Running, asked: dict[str, Any], named: str) -> None:
    with pytest.raises(Exception, match=re.escape(named)):
        Sandbox.create(**asked, **options(service))


# commands


def test_a_command_tells_all_that_it_did(sandbox: Sandbox) -> None:
    done = sandbox.commands.run("echo out; echo err >&2; echo $STAGE $MORE; pwd", envs={"MORE": "c"}, cwd="/tmp")
    assert (done.stdout, done.stderr, done.exit_code) == ("out\na b c\n/tmp\n", "err\n", 0)
    with pytest.raises(CommandExitException) as failed:
        sandbox.commands.run("echo so; exit 3")
    assert (failed.value.exit_code, failed.value.stdout) == (3, "so\n")
    with pytest.raises(SandboxException, match="no-such-folder"):
        sandbox.commands.run("true", cwd="/no-such-folder")


def test_output_comes_as_it_is_written_and_whole(sandbox: Sandbox) -> None:
    """Also that of a command which writes faster than anybody reads."""
    pieces = list[str]()
    done = sandbox.commands.run(
        "i=0; while [ $i -lt 200000 ]; do echo 0123456789012345678901234567890123456789012345678; i=$((i+1)); done",
        on_stdout=pieces.append,
        timeout=120,
    )
    assert len(done.stdout) == 10_000_000 == sum(map(len, pieces))
    assert len(pieces) > 10


def test_a_command_in_the_background_reads_and_goes_on(service: Running, sandbox: Sandbox) -> None:
    """Whoever began it may go, and another client may listen."""
    began = sandbox.commands.run("cat; echo end", background=True, stdin=True)
    assert [(one.pid, one.args[-1]) for one in sandbox.commands.list()] == [(began.pid, "cat; echo end")]
    began.disconnect()
    other = Sandbox.connect(sandbox.sandbox_id, **options(service))
    heard = other.commands.connect(began.pid)
    other.commands.send_stdin(began.pid, "one\n")
    other.commands.send_stdin(began.pid, "two\n")
    other.commands.close_stdin(began.pid)
    assert heard.wait().stdout == "one\ntwo\nend\n"
    assert sandbox.commands.list() == []


def test_a_command_is_ended_by_hand_and_by_its_time(sandbox: Sandbox) -> None:
    began = sandbox.commands.run("sleep 601 & sleep 602", background=True)
    assert sandbox.commands.kill(began.pid) is True
    with pytest.raises(CommandExitException):
        began.wait()
    assert sandbox.commands.kill(began.pid) is False
    with pytest.raises(TimeoutException):
        sandbox.commands.run("sleep 603", timeout=1)
    runs = "ps | grep -c '[s]leep 60'"
    eventually(lambda: sandbox.commands.run(f"{runs} || true").stdout.strip() == "0", "none of them is left")


def test_what_a_command_left_in_the_background_goes_on(sandbox: Sandbox) -> None:
    """As a server that somebody starts so, and comes back to."""
    sandbox.commands.run("sleep 605 >/dev/null 2>&1 & echo $! >/tmp/number")
    assert sandbox.commands.run("kill -0 $(cat /tmp/number) && kill -9 $(cat /tmp/number)").exit_code == 0


def test_a_terminal(sandbox: Sandbox) -> None:
    """With its size, which can be changed, and Ctrl-C."""
    terminal = sandbox.pty.create(PtySize(rows=30, cols=101))
    output = bytearray()

    def said(what: str) -> bool:
        return what.encode() in output

    with ThreadPoolExecutor(1) as reader:
        reading = reader.submit(terminal.wait, on_pty=output.extend)
        sandbox.pty.send_stdin(terminal.pid, b"stty size\n")
        eventually(lambda: said("30 101"), "its size")
        sandbox.pty.resize(terminal.pid, PtySize(rows=40, cols=99))
        sandbox.pty.send_stdin(terminal.pid, b"stty size; echo $STAGE\n")
        eventually(lambda: said("40 99") and said("a b"), "its other size, and the variables of the sandbox")
        sandbox.pty.send_stdin(terminal.pid, b"exit 0\n")
        assert reading.result(30).exit_code == 0


# files


def test_files_go_in_and_out(sandbox: Sandbox) -> None:
    written = sandbox.files.write("/tmp/new/folder/a.txt", "content")
    assert (written.name, written.path) == ("a.txt", "/tmp/new/folder/a.txt")
    assert sandbox.files.read("/tmp/new/folder/a.txt") == "content"
    content = os.urandom(3_000_000)
    sandbox.files.write_files([{"path": "/tmp/new/b", "data": content}, {"path": "/tmp/new/ü c", "data": b""}])
    assert bytes(sandbox.files.read("/tmp/new/b", format="bytes")) == content
    assert b"".join(sandbox.files.read("/tmp/new/b", format="stream")) == content
    listed = sandbox.files.list("/tmp/new", depth=2)
    assert sorted(one.path for one in listed) == [
        "/tmp/new/b",
        "/tmp/new/folder",
        "/tmp/new/folder/a.txt",
        "/tmp/new/ü c",
    ]
    assert [(one.type and one.type.value, one.size) for one in listed if one.name == "b"] == [("file", 3_000_000)]
    sandbox.commands.run("ln -s b /tmp/new/link")
    assert sandbox.files.get_info("/tmp/new/link").symlink_target == "b"
    sandbox.files.write("/tmp/new/link", "where it leads")
    assert sandbox.files.read("/tmp/new/b") == "where it leads"
    sandbox.commands.run("chmod 751 /tmp/new/b; ln -s new /tmp/folder-link; mkdir '/tmp/q*'; touch '/tmp/q*/in'")
    sandbox.files.write("/tmp/new/b", "it stays as it was")
    assert sandbox.files.get_info("/tmp/new/b").permissions == "-rwxr-x--x"
    assert len(sandbox.files.list("/tmp/folder-link")) == 4
    assert [one.name for one in sandbox.files.list("/tmp/q*")] == ["in"]


def test_folders_are_made_moved_and_removed(sandbox: Sandbox) -> None:
    assert (sandbox.files.make_dir("/tmp/made"), sandbox.files.make_dir("/tmp/made")) == (True, False)
    assert sandbox.files.rename("/tmp/made", "/tmp/moved").path == "/tmp/moved"
    assert (sandbox.files.exists("/tmp/made"), sandbox.files.exists("/tmp/moved")) == (False, True)
    sandbox.files.remove("/tmp/moved")
    assert not sandbox.files.exists("/tmp/moved")
    for fails in (sandbox.files.read, sandbox.files.list, sandbox.files.remove):
        with pytest.raises(FileNotFoundException):
            fails("/tmp/moved")


def watching(sandbox: Sandbox) -> int:
    """How many looks at folders go on in this sandbox."""
    return int(sandbox.commands.run("ps | grep -c '[r]ead -r _' || true").stdout)


def test_a_watched_folder_tells_what_changed(sandbox: Sandbox) -> None:
    """Also what changed a moment before somebody asks, and with what is there."""
    sandbox.files.write("/tmp/watched/deep/in", "1")
    handle = sandbox.files.watch_dir("/tmp/watched", recursive=True, include_entry=True)
    flat = sandbox.files.watch_dir("/tmp/watched")

    def events() -> list[tuple[str, str]]:
        return [(each.type.value, each.name) for each in handle.get_new_events()]

    assert handle.get_new_events() == []
    sandbox.files.write("/tmp/watched/a b", "content")
    created, written = handle.get_new_events()
    assert (created.type.value, created.name, written.type.value) == ("create", "a b", "write")
    assert written.entry is not None
    assert (written.entry.path, written.entry.size) == ("/tmp/watched/a b", 7)
    sandbox.files.write("/tmp/watched/a b", "changed")
    assert events()[-1] == ("write", "a b")
    sandbox.files.rename("/tmp/watched/a b", "/tmp/watched/deep/c")
    assert events() == [("rename", "a b"), ("create", "deep/c")]
    sandbox.files.remove("/tmp/watched/deep")
    assert set(events()) == {("remove", "deep/in"), ("remove", "deep/c"), ("remove", "deep")}
    assert {"deep"} <= {each.name for each in flat.get_new_events()} <= {"a b", "deep"}
    sandbox.commands.run("cd /tmp/watched && ln -s nowhere l && sleep 4 && rm l")
    came, gone = handle.get_new_events()
    assert (came.name, came.type.value, gone.type.value) == ("l", "create", "remove"), "it looks also while nobody asks"
    assert came.entry is not None
    assert came.entry.symlink_target == "nowhere"
    assert watching(sandbox) >= 2
    for each in (handle, flat):
        each.stop()
    assert watching(sandbox) == 0
    with pytest.raises(FileNotFoundException):
        sandbox.files.watch_dir("/tmp/not-there")
    with pytest.raises(SandboxException, match="is not a directory"):
        sandbox.files.watch_dir("/bin/busybox")
    sandbox.commands.run("mkdir /tmp/many && cd /tmp/many && seq 10001 | xargs touch")
    with pytest.raises(SandboxException, match="More than 10000 files"):
        sandbox.files.watch_dir("/tmp/many")
    sandbox.files.remove("/tmp/many")
    assert watching(sandbox) == 0


def test_a_watch_tells_as_it_happens(service: Running, sandbox: Sandbox) -> None:
    """By a stream: until it is stopped, its time is up, or the sandbox ends."""

    async def story() -> None:
        mine = await AsyncSandbox.create(timeout=600, **options(service))
        events, ends = asyncio.Queue[FilesystemEvent](), asyncio.Queue[Exception | None]()
        watched = partial(mine.files.watch_dir, "/tmp", on_event=events.put, on_exit=ends.put)
        handle = await watched()
        await mine.files.write("/tmp/a", "content")
        async with asyncio.timeout(20):
            assert [(await events.get()).type.value for _ in range(2)] == ["create", "write"]
        await handle.stop()  # type: ignore[no-untyped-call] # as E2B has it
        assert await ends.get() is None
        await asyncio.to_thread(eventually, lambda: _looks_of(service, mine.sandbox_id) == 0, "it ends with its client")
        await watched(timeout=1)
        assert isinstance(await asyncio.wait_for(ends.get(), 20), TimeoutException)
        await watched(timeout=0)
        await mine.kill()
        assert isinstance(await asyncio.wait_for(ends.get(), 20), SandboxException)

    asyncio.run(story())


def _looks_of(service: Running, project: str) -> int:
    """Of this sandbox, as they are seen from outside."""
    own = str((service.machine_of(project) or {})["containerId"])
    return docker("top", own).out.count("read -r _")


# who may call, and what outlives what


def test_a_key_is_the_token_and_a_sandbox_has_its_own(tmp_path: Path) -> None:
    token = "right-token-of-the-test"  # of this test
    with a_guarded_service(tmp_path, token, *FLAGS) as service:
        with pytest.raises(AuthenticationException):
            Sandbox.create(**options(service, "wrong"))
        mine, other = (Sandbox.create(**options(service, token)) for _ in range(2))
        assert mine.commands.run("echo in").stdout == "in\n"
        url, own = "/e2b/files?path=/etc/hostname", str(mine._envd_access_token)
        for foreign in ("", str(other._envd_access_token), token):
            headers = {"e2b-sandbox-id": mine.sandbox_id, "x-access-token": foreign}
            assert call(service.ports.api, "GET", url, None, headers).status == 401
        assert call(service.ports.api, "GET", url, None, {"x-access-token": own}).status == 200, "it names its sandbox"
        assert call(service.ports.api, "GET", url, None, {"x-access-token": own[:-1]}).status == 401
        with Client(f"http://localhost:{service.ports.api}", token=token) as operator:
            key = operator.create_key("ann", max_machines=1).value
            keyed = Sandbox.create(envs={"OF": "ann"}, **options(service, f"e2b_{key.encode().hex()}"))
            assert keyed.commands.run("echo $OF").stdout == "ann\n"
            assert [one.sandbox_id for one in Sandbox.list(**options(service, key)).next_items()] == [keyed.sandbox_id]
            with pytest.raises(RateLimitException, match="The key ann may have 1 machine at once"):
                Sandbox.create(**options(service, key))
            assert operator.machine_of(f"ann:{keyed.sandbox_id}").state == "assigned"
            running = keyed.commands.run("sleep 606", background=True)
            operator.revoke_key("ann")
            with pytest.raises(SandboxException):
                running.wait()
            with pytest.raises(AuthenticationException):
                keyed.commands.run("true")
        for method, path in (
            ("GET", "/v1/machines"),
            ("GET", "/e2b/v2/sandboxes"),
            ("POST", "/e2b/sandboxes"),
            ("GET", f"/e2b/sandboxes/{mine.sandbox_id}"),
            ("DELETE", f"/e2b/sandboxes/{mine.sandbox_id}"),
            ("GET", f"/{mine.sandbox_id}"),
        ):
            headers = {"e2b-sandbox-id": mine.sandbox_id, "x-access-token": own}
            assert call(service.ports.api, method, path, None, headers).status == 401, path


@pytest.mark.promise("kill")
def test_a_sandbox_outlives_the_service_and_its_commands_do_not(start: Start) -> None:
    """After `kill -9` its files, its variables, its deadline and its token are as they were."""
    service = start(*FLAGS)
    sandbox = Sandbox.create(envs={"SECRET": "hidden"}, timeout=500, metadata={"a": "b"}, **options(service))
    sandbox.files.write("/tmp/kept", "kept")
    ends = sandbox.get_info().end_at
    sandbox.commands.run("sleep 607; true", background=True)
    sandbox.commands.run("sleep 608 >/dev/null 2>&1 &")
    own = str((service.machine_of(sandbox.sandbox_id) or {})["containerId"])
    service.end(signal.SIGKILL)
    assert "sleep 607" in docker("top", own).out
    service.start()
    eventually(lambda: "sleep 607" not in docker("top", own).out, "what nobody can reach any more is ended")
    assert "sleep 608" in docker("top", own).out, "what was left in the background goes on"
    assert sandbox.commands.run("cat /tmp/kept; echo $SECRET").stdout == "kepthidden\n"
    info = sandbox.get_info()
    assert abs((info.end_at - ends).total_seconds()) < 2
    assert info.metadata == {"a": "b"}
    sandbox.commands.run("sleep 604", background=True)
    assert service.end() == 0
    machine = docker("ps", "-q", "--filter", f"label=worker-orchestrator.owner={service.owner}").out.split()
    assert all("sleep 604" not in docker("top", one).out for one in machine)
    assert "hidden" not in service.log
    assert b"hidden" not in b"".join(
        file.read_bytes() for file in (service.folder / "state").iterdir() if file.is_file()
    )


def test_a_pool_that_hands_machines_on_is_refused(start: Start) -> None:
    service = start("--e2b", "--min-idle", "1")
    with pytest.raises(SandboxException, match="--on-release recycle"):
        Sandbox.create(**options(service))


def test_the_document_does_what_it_says(service: Running) -> None:
    """Its Python, with its variables, in a process of its own."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    exports = next(re.finditer(r"\$ export (.*)", DOCUMENT.read_text(encoding="utf-8")))[1]
    variables = dict(each.split("=", 1) for each in exports.replace("9092", str(service.ports.api)).split())
    environment = {**os.environ, **variables}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("test\n/srv/files\n hello\n", 0), done.stderr


def test_fifty_by_ten_threads_share_no_machine_and_leave_nothing(service: Running) -> None:
    """Each has one of its own, and with it all ends that runs in it."""

    def used(_: int) -> str:
        sandbox = Sandbox.create(timeout=300, **options(service))
        sandbox.commands.run("sleep 65432", background=True)
        name = sandbox.commands.run("hostname").stdout.strip()
        assert sandbox.kill()
        return name

    with ThreadPoolExecutor(10) as clients:
        names = list(clients.map(used, range(50)))
    assert len(set(names)) == 50
    eventually(lambda: not running_for("65432"), "nothing of them runs", within_s=30)
    label = f"label={LABEL}.owner={service.owner}"
    eventually(lambda: not {*names} & {*docker("ps", "-aq", "--filter", label).lines}, "they are removed", within_s=30)
