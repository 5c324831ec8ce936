"""A store that fails under a running service: a full disk, one that does not work, a copy, a backup, a lost database."""

from __future__ import annotations

import itertools
import resource
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.integration.calling import Answer, call
from tests.integration.conftest import Start
from tests.integration.docker_command import EXAMPLE, LABEL, clean_up, docker, docker_json
from tests.integration.running import Running, environment, orchestrator
from tests.integration.small_disk import SmallDisk, a_small_disk
from tests.integration.waiting import eventually, holds_for

CRASHING = Path(__file__).with_name("crashing_service.py")
SELDOM = ("--refresh-interval", "600")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """The state directory of the first service of this test."""
    with a_small_disk(tmp_path / "service-1" / "state", kib=512) as disk:
        yield disk


def command(service: Running, *words: str) -> subprocess.CompletedProcess[str]:
    """One command on this service's state directory."""
    return orchestrator(*words, *service.command_flags, cwd=service.folder)


def recorded(service: Running) -> list[tuple[Any, ...]]:
    return service.rows("SELECT id, state, project, generation FROM machine ORDER BY id")


def holder(service: Running, project: str) -> str:
    """The id of the machine of this project."""
    found = service.machine_of(project)
    assert found is not None, f"{project} has no machine"
    return str(found["id"])


def serve(service: Running) -> subprocess.CompletedProcess[str]:
    return command(service, "serve", "--port", str(service.ports.api), "--first-port", str(service.ports.first))


def assert_refused(done: subprocess.CompletedProcess[str], *said: str) -> None:
    """In one clear line, with exit code 1."""
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for text in said:
        assert text in done.stderr


# a disk that fails under the service


def fill(disk: SmallDisk, service: Running) -> None:
    """To the last byte: a full disk still takes what fits into the last block of SQLite's log, a small change or two."""
    disk.fill()
    most = itertools.count(10)
    eventually(
        lambda: call(service.ports.api, "PATCH", "/v1/pools/default", {"max_idle": next(most)}).status == 503, "full"
    )


def break_by_filling(disk: SmallDisk, service: Running) -> Callable[[], None]:
    fill(disk, service)
    return disk.room


def break_by_limiting(_: SmallDisk, service: Running) -> Callable[[], None]:
    """Only the `-wal` cannot grow: writing to it fails as it does on a broken disk."""
    size = (service.state_dir / "orchestrator.db-wal").stat().st_size
    assert service.log_file.stat().st_size < size / 2, "the log goes on"
    unlimited = resource.prlimit(service.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (size, unlimited[1]))
    return lambda: resource.prlimit(service.pid, resource.RLIMIT_FSIZE, unlimited)  # type: ignore[return-value]


def assert_not_stored(answer: Answer, status: int, *said: str) -> None:
    assert answer.status == status, answer.text
    assert int(answer.headers["retry-after"]) >= 1
    for text in said:
        assert text in answer.json["message"]


@pytest.mark.parametrize(
    ("break_", "said"),
    [
        (break_by_filling, ("database or disk is full", "Make sure that its disk has free space.")),
        (break_by_limiting, ("disk I/O error", "Make sure that its disk works and has free space.")),
    ],
    ids=["full", "wal"],
)
def test_a_service_lives_through_a_disk_that_takes_nothing(
    disk: SmallDisk,
    start: Start,
    break_: Callable[[SmallDisk, Running], Callable[[], None]],
    said: tuple[str, ...],
) -> None:
    """What is there is served, what would change is refused and leaves nothing half done, and all goes on by itself."""
    service = start("--min-idle", "1", *SELDOM)
    mine = service.assign("mine")
    (idle,) = service.await_idle(1)
    before = recorded(service)
    mend = break_(disk, service)
    assert_not_stored(service.get("/other"), 503, *said)
    assert_not_stored(service.delete("mine"), 500, *said)
    assert_not_stored(service.post_destroy(idle), 500, *said)
    assert service.assign("mine") == mine
    assert holder(service, "mine") == mine["containerId"]
    assert service.idle() == [idle]
    assert service.get("/health").json["machines"] == {"total": 2, "idle": 1, "used": 1}
    assert recorded(service) == before
    docker("kill", idle)  # which cannot be stored either
    holds_for(lambda: service.get("/other").status == 503, "still nothing can be stored", for_s=1.5)
    mend()
    (fresh,) = eventually(lambda: [found for found in service.idle() if found != idle], "what died is replaced")
    service.release("mine")
    assert service.assign("other")["containerId"] in {fresh, mine["containerId"]}
    generations = service.rows("SELECT max(generation) FROM machine WHERE project = 'other'")
    assert generations[0][0] > max(row[3] for row in before)
    assert "Traceback" not in service.log


def test_with_room_again_an_assign_succeeds_at_once(disk: SmallDisk, start: Start) -> None:
    """The idle machine is still there for it, within two seconds."""
    service = start("--min-idle", "1", *SELDOM)
    (idle,) = service.await_idle(1)
    fill(disk, service)
    for number in range(5):
        assert service.get(f"/other-{number}").status == 503
    disk.room()
    answer = service.get("/other-1")
    assert (answer.status, answer.json["containerId"]) == (200, idle)
    assert answer.took_s < 2
    assert [machine["assignedProject"] for machine in service.machines() if machine["isUsed"]] == ["other-1"]


def test_a_disk_that_is_full_is_told_until_it_has_room_though_nobody_asks_for_a_machine(
    disk: SmallDisk, start: Start
) -> None:
    service = start("--min-idle", "1", *SELDOM)
    service.await_idle(1)
    fill(disk, service)
    assert service.get("/other").status == 503
    ready = call(service.ports.api, "GET", "/readyz")
    said = "Nothing can be stored (database or disk is full), so no machine can be assigned or released. "
    assert (ready.status, ready.json["problems"]) == (503, [f"{said}Make sure that its disk has free space."])
    health = call(service.ports.api, "GET", "/v1/health").json
    assert (health["status"], health["problems"]) == ("down", ready.json["problems"])
    holds_for(lambda: call(service.ports.api, "GET", "/readyz").status == 503, "it is full still", for_s=2.5)
    disk.room()
    eventually(lambda: call(service.ports.api, "GET", "/readyz").status == 200, "it is ready by itself")
    assert call(service.ports.api, "GET", "/v1/health").json["problems"] == []
    service.assign("other")


@contextmanager
def immutable(*files: Path) -> Iterator[None]:
    subprocess.run(["chattr", "+i", *map(str, files)], check=True)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", *map(str, files)], check=True)


def test_a_service_lives_through_files_that_turn_read_only(start: Start) -> None:
    service = start("--min-idle", "1", *SELDOM)
    mine = service.assign("mine")
    with immutable(service.state_dir / "orchestrator.db", service.state_dir / "orchestrator.db-wal"):
        answer = service.get("/other")
        assert_not_stored(answer, 503, "Make sure that")
        assert service.assign("mine") == mine
    eventually(lambda: service.get("/other").status == 200, "it goes on", within_s=10)


# starting on a disk that takes nothing


def test_a_start_on_a_full_disk_is_refused_in_one_sentence(disk: SmallDisk, start: Start) -> None:
    """Whether or not there is a database; and nothing half made stays behind."""
    service = start("--min-idle", "0", start=False)
    disk.fill()
    assert_refused(serve(service), "No space left on device", "--state-dir")
    disk.room()
    (disk.path / "filler").write_bytes(bytes(4096 * 126))
    assert_refused(serve(service), "orchestrator.db", "free space")
    assert {file.name for file in disk.path.iterdir()} <= {"filler", "orchestrator.lock"}
    disk.room()
    service.start()
    service.end()
    before = (disk.path / "orchestrator.db").read_bytes()
    disk.fill()
    assert_refused(serve(service), "No space left on device", "--state-dir")
    assert (disk.path / "orchestrator.db").read_bytes() == before
    disk.room()


def test_commands_on_a_read_only_disk_are_refused_in_one_sentence(disk: SmallDisk, start: Start) -> None:
    service = start("--min-idle", "0")
    service.end()
    with disk.read_only():
        for words in (("down",), ("recover",), ("backup", str(service.folder / "copy"))):
            assert_refused(command(service, *words), str(disk.path))
        assert_refused(serve(service), "Read-only file system", "--state-dir")


# backup and restore


def back_up(service: Running, file: Path) -> str:
    done = command(service, "backup", str(file))
    assert done.returncode == 0, done.stderr
    return done.stdout


def restore(service: Running, file: Path) -> None:
    """As `orchestrator backup` says."""
    for journal in ("orchestrator.db-wal", "orchestrator.db-shm"):
        (service.state_dir / journal).unlink(missing_ok=True)
    shutil.copyfile(file, service.state_dir / "orchestrator.db")


def test_a_backup_is_written_beside_a_running_service_and_without_one(start: Start, tmp_path: Path) -> None:
    """It replaces nothing, says what is in it, and is for its owner's eyes only."""
    service = start("--min-idle", "1")
    service.assign("mine")
    service.await_idle(1)
    copy = tmp_path / "copy.db"
    said = back_up(service, copy)
    assert f"Wrote {copy}: 2 machines, 1 assigned." in said
    assert "orchestrator recover --accept" in said
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    before = copy.read_bytes()
    assert_refused(command(service, "backup", str(copy)), f"{copy} exists already")
    assert copy.read_bytes() == before
    assert_refused(command(service, "backup", str(tmp_path / "nowhere" / "copy.db")), "cannot be written")
    with a_small_disk(tmp_path / "full", kib=8):
        assert_refused(command(service, "backup", str(tmp_path / "full" / "copy.db")), "full")
        assert not list((tmp_path / "full").iterdir())
    service.end()
    assert "2 machines, 1 assigned" in back_up(service, tmp_path / "again.db")
    assert sorted(file.name for file in tmp_path.glob("*.db*")) == ["again.db", "copy.db"]
    assert not list(service.state_dir.glob("orchestrator.db-*"))


def test_a_restored_database_gives_nothing_away_that_may_be_taken(start: Start, tmp_path: Path) -> None:
    """What it takes for idle was assigned since: it stays busy until the operator says whose it is."""
    service = start("--min-idle", "1")
    mine = service.assign("mine")["containerId"]
    (taken,) = service.await_idle(1)
    back_up(service, tmp_path / "copy")
    assert service.assign("other")["containerId"] == taken
    docker("exec", taken, "sh", "-c", "echo work >/srv/files/note.txt")
    (newer,) = service.await_idle(1)
    service.end()
    restore(service, tmp_path / "copy")
    before = recorded(service)
    assert_refused(serve(service), "is a backup of", "recover --accept")
    assert_refused(command(service, "down", "--all", "--yes"), "is a backup of", "recover --accept")
    shown = command(service, "recover").stdout
    assert "is a backup of" in shown
    assert newer in shown.partition("Strays")[2]
    assert recorded(service) == before
    accepted = command(service, "recover", "--accept")
    assert accepted.returncode == 0, accepted.stderr
    assert f"{mine}  assigned to mine" in accepted.stdout
    assert taken in accepted.stdout.partition("Without a project")[2]
    service.start()
    assert service.assign("mine")["containerId"] == mine
    stranger = service.assign("stranger")["containerId"]
    assert stranger not in {mine, taken, newer}
    assert holder(service, taken) == taken
    assert docker_json("inspect", newer)["State"]["Running"], "a stray is never touched"
    service.end()
    adopted = command(service, "recover", "--adopt", f"{taken}=other", "--adopt", newer)
    assert adopted.returncode == 0, adopted.stderr
    service.start()
    assert service.assign("other")["containerId"] == taken
    assert docker("exec", taken, "cat", "/srv/files/note.txt").out == "work"
    assert holder(service, newer) == newer
    assert service.rows("SELECT min(generation) FROM machine WHERE project = 'stranger'")[0][0] > 1_000_000


def test_an_older_database_without_machines_uses_no_number_a_second_time(start: Start, tmp_path: Path) -> None:
    """It is not refused, as nobody can lose anything by it; yet who followed the newer one hears of the gap."""
    service = start("--min-idle", "0")
    back_up(service, tmp_path / "copy")
    late = service.assign("mine")["containerId"]
    service.destroy(late)
    generation = service.rows("SELECT max(generation) FROM event")[0][0]
    newest = service.rows("SELECT max(seq) FROM event")[0][0]
    service.end()
    restore(service, tmp_path / "copy")
    service.start()
    for _ in range(2):
        told = call(service.ports.api, "GET", "/v1/events?follow=false", headers={"last-event-id": str(newest)}).text
        assert "event: reset" in told
        service.assign("mine")
        service.delete("mine")
    assert service.rows("SELECT min(seq) FROM event")[0][0] > newest
    assert service.rows("SELECT min(generation) FROM event WHERE cause = 'assigned'")[0][0] > generation


def test_what_a_restored_database_lacks_can_have_the_port_of_what_is_gone(start: Start, tmp_path: Path) -> None:
    """A machine that it knows was destroyed, and its port given to another one since."""
    service = start(start=False)
    service.flags = ("--min-idle", "0", "--last-port", str(service.ports.first), "--assign-timeout", "2")
    service.start()
    eventually(lambda: service.get("/mine").status == 200, "the first machine")
    gone = service.assign("mine")
    back_up(service, tmp_path / "copy")
    service.destroy(gone["containerId"])
    eventually(lambda: service.get("/mine").status == 200, "a new machine on the one port that there is")
    newer = service.assign("mine")
    assert newer["port"] == gone["port"]
    service.end()
    restore(service, tmp_path / "copy")
    accepted = command(service, "recover", "--accept")
    assert f"{gone['containerId']}  assigned to mine" in accepted.stdout.partition("missing")[2]
    refused = command(service, "recover", "--adopt", f"{newer['containerId']}=mine")
    assert_refused(refused, f"The project mine has the machine {gone['containerId']}")
    done = command(service, "recover", "--adopt", f"{newer['containerId']}=found")
    assert done.returncode == 0, done.stderr
    service.start()
    assert service.assign("found") == newer
    assert service.get("/mine").status == 503, "its machine is gone, and there is no other port"
    service.destroy(newer["containerId"])
    eventually(lambda: service.get("/mine").status == 200, "a new machine")


def test_of_two_copies_the_second_is_refused(start: Start, tmp_path: Path) -> None:
    """Both would hand out the same machines, one after the other. The first goes on."""
    service = start("--min-idle", "1")
    service.await_idle(1)
    service.end()
    shutil.copytree(service.state_dir, tmp_path / "copy")
    flags = ("--state-dir", str(tmp_path / "copy"), "--port", str(service.ports.api))
    assert_refused(orchestrator("serve", *flags, cwd=tmp_path), "was copied or moved", "recover --accept")
    assert_refused(orchestrator("down", "--state-dir", str(tmp_path / "copy"), cwd=tmp_path), "was copied or moved")
    service.start()
    service.await_idle(1)


def test_an_older_copy_that_is_put_back_is_refused(start: Start, tmp_path: Path) -> None:
    """By a plain `cp`, which keeps the file's number: what it takes for idle has had a project since."""
    service = start("--min-idle", "1")
    (idle,) = service.await_idle(1)
    service.end()
    shutil.copyfile(service.state_dir / "orchestrator.db", tmp_path / "copy")
    service.start()
    assert service.assign("since")["containerId"] == idle
    service.end()
    restore(service, tmp_path / "copy")
    assert_refused(serve(service), "an older copy", "recover --accept")
    accepted = command(service, "recover", "--accept")
    assert idle in accepted.stdout.partition("Without a project")[2], accepted.stderr
    service.start()
    assert service.assign("stranger")["containerId"] != idle


def test_a_lost_database_leaves_its_machines_alone(start: Start) -> None:
    """They are foreign now: neither the service nor `down` touches them, and each can be kept or removed."""
    service = start("--min-idle", "2")
    first, second = service.await_idle(2)
    service.end()
    lost = service.owner
    try:
        for file in service.state_dir.glob("orchestrator.db*"):
            file.unlink()
        service.start()
        assert not {first, second} & set(service.await_idle(2))
        assert command(service, "down", "--all", "--yes").returncode == 0
        service.wait()
        for machine in (first, second):
            assert docker_json("inspect", machine)["State"]["Running"]
        adopted = command(service, "recover", "--adopt", first, "--yes")
        assert f"adopted {first} for {first}" in adopted.stdout, adopted.stderr
        assert first in command(service, "recover").stdout.partition("Without a project")[2]
        again = command(service, "recover", "--adopt", first)
        assert again.returncode == 1
        assert (
            f"{first} is on record under its own name already. Give it to a project with `--adopt {first}=PROJECT`"
            in again.stderr
        )
        purged = command(service, "recover", "--purge", second, "--yes")
        assert f"removed {second}" in purged.stdout, purged.stderr
        assert docker("container", "inspect", second, check=False).failed
        service.start()
        assert holder(service, first) == first
        service.destroy(first)
        assert docker("container", "inspect", first, check=False).failed
    finally:
        clean_up(lost)


# down after a hard end


def kill_at_a_create(service: Running, when: str) -> None:
    service.start(command=(sys.executable, str(CRASHING), "create", when, "1"), await_answer=False)
    assert service.wait() == -signal.SIGKILL, service.log


def assert_all_is_gone(service: Running) -> None:
    holds_for(lambda: not service.containers(), "nothing is there, and nothing lands any more", for_s=1.0)
    assert docker("network", "inspect", f"{LABEL}-{service.owner}", check=False).failed


def test_down_leaves_nothing_of_a_create_that_was_under_way(start: Start) -> None:
    """Its service was killed while the engine was at it."""
    service = start("--min-idle", "1", start=False)
    kill_at_a_create(service, "during")
    done = command(service, "down", "--all", "--yes")
    assert done.returncode == 0, done.stderr
    assert_all_is_gone(service)


def test_down_removes_what_lands_while_it_runs(start: Start) -> None:
    """After the machine was forgotten: the last moment at which a create may land."""
    service = start("--min-idle", "1", start=False)
    kill_at_a_create(service, "before")
    ((machine,),) = service.rows("SELECT id FROM machine")
    labels = {"machine": machine, "owner": service.owner, "pool": "default", "template": "t"}
    flags = [f"--label={LABEL}.{name}={value}" for name, value in labels.items()]
    words = [sys.executable, "-m", "worker_orchestrator", "down", *service.command_flags]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=service.folder, env=environment()) as down:
        eventually(lambda: service.rows("SELECT id FROM tombstone") == [(machine,)], "it was forgotten")
        docker("create", "--name", machine, *flags, EXAMPLE)
        said, _ = down.communicate(timeout=30)
    assert (down.returncode, said) == (0, "Removed 1 container.\n")
    assert_all_is_gone(service)
