"""The quick way in where archives are slow: a program that waits. It writes what an archive does, and else that is used."""

from __future__ import annotations

import asyncio
import io
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import pytest
from msgspec.structs import replace
from tests.contract.test_docker_late import (
    FOLDER,
    OTHERS,
    PLANTED,
    STRICT,
    VALUES,
    an_image_with_a_user,
    an_image_without_a_shell,
    files,
    running,
    said,
    serves,
)
from tests.contract.worlds import DockerWorld, soon
from tests.integration.docker_command import docker, docker_json, processes_of

from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.docker.engine import DockerEngine
from worker_orchestrator.engines.docker.late_feed import Fed, Feed
from worker_orchestrator.engines.extras import Foreseeing, LateValues
from worker_orchestrator.errors import EngineRejected

pytestmark = pytest.mark.promise("late")

SHOWN: Final = f"""cd {FOLDER}; find . ! -name . -exec stat -c '%n %F %a %u:%g %s' {{}} + | sort
find . -type f -exec stat -c '%n %Y' {{}} + | sort; find . -type f -exec md5sum {{}} + | sort"""
"""All that is in the folder, but for the folder itself, and the times of folders and links, which busybox does not set."""


def rich_files() -> bytes:
    """What may be among the files of a project: modes, times, empty and long names, links, any bytes."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        names = ("a", "conf/app", "n" * 150, f"{'d' * 90}/{'e' * 90}", "ready", "gr\u00fcn")
        for number, name in enumerate(names):
            entry, content = tarfile.TarInfo(name), bytes(range(256)) * 40 * (number % 3)
            entry.size, entry.mode, entry.mtime = len(content), (0o640, 0o755, 0o600, 0o444)[number % 4], 1_600_000_000
            archive.addfile(entry, io.BytesIO(content))
        folder, link = tarfile.TarInfo("folder"), tarfile.TarInfo("link")
        folder.type, folder.mode, folder.mtime = tarfile.DIRTYPE, 0o750, 1_600_000_000
        link.type, link.linkname, link.mtime = tarfile.SYMTYPE, "conf/app", 1_600_000_000
        archive.addfile(folder)
        archive.addfile(link)
    return held.getvalue()


RICH: Final = LateValues({"GREETING": f"it's {PLANTED}"}, {"a": PLANTED, "b": "2" * 60_000}, rich_files())


async def an_engine(world: DockerWorld, image: str = "", **options: Any) -> DockerEngine:
    engine = await world.open_engine(image, late_dir=FOLDER, **options)
    if not world.dialect.takes_feeds:
        pytest.skip(f"{world.dialect} takes archives quickly")
    assert isinstance(engine, Foreseeing)
    return engine


async def waiting(world: DockerWorld, engine: DockerEngine) -> Machine:
    """A machine in which a program waits for the values of its first project."""
    machine = await running(world, engine)
    await awaits(engine, machine)
    return machine


async def awaits(engine: DockerEngine, machine: Machine) -> None:
    engine.foresee([replace(machine, holding=None, generation=0)])

    async def look() -> bool:
        return engine._container_of(machine.id) in engine._feeds._open and len(tars(machine)) == 1

    await soon(look, f"a program waits in {machine.id}")


def tars(machine: Machine) -> Sequence[str]:
    """Those that wait in its container, as its host sees them."""
    return [process for process in processes_of(machine.id) if f"tar -x -v -p -o -f - -C {FOLDER}" in process]


async def none_is_left(machine: Machine) -> None:
    async def look() -> bool:
        return not tars(machine) and not docker_json("inspect", machine.id)["ExecIDs"]

    await soon(look, "no program is left, and the engine has closed its connection")


@contextmanager
def archives_of(engine: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """The archives that the engine is given in this block."""
    sent: list[bytes] = []
    put = engine._put

    async def noted(machine: Machine, native_id: str, folder: str, archive: bytes) -> None:
        sent.append(archive)
        await put(machine, native_id, folder, archive)

    with monkeypatch.context() as patched:
        patched.setattr(engine, "_put", noted)
        yield sent


@pytest.mark.parametrize("who", ["root", "strict", "number", "name"])
async def test_what_it_writes_is_what_an_archive_writes(
    docker_world: DockerWorld, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """With a read-only file system and without any capability too, and for users by number and by name."""
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.0)
    if who == "name":
        an_image_with_a_user(docker_world.image)
    options = {"strict": STRICT, "number": {"user": "1234"}}.get(who, {})
    engine = await an_engine(docker_world, **options)
    other = await running(docker_world, engine)  # by this one, the number of a user by name is known
    with archives_of(engine, monkeypatch) as sent:
        await engine.configure(other, RICH)
        assert len(sent) == 1
    machine = await waiting(docker_world, engine)
    assert await said(engine, machine, f"ls -A {FOLDER}") == ""
    with archives_of(engine, monkeypatch) as sent:
        await engine.configure(machine, RICH)
        assert sent == []
    assert await engine.is_configured(machine.id)
    shown = await said(engine, machine, SHOWN)
    assert shown.count("\n") >= 28
    assert shown == await said(engine, other, SHOWN)
    assert await said(engine, machine, f"cat {FOLDER}/secrets/a; . {FOLDER}/env; echo $GREETING") == (
        f"{PLANTED}it's {PLANTED}\n"
    )
    await none_is_left(machine)
    assert (await said(engine, machine, f"grep ' {FOLDER} ' /proc/mounts")).startswith("tmpfs "), "in memory"

    await engine.configure(machine, OTHERS, anew=True)
    found = await said(engine, machine, f"cd {FOLDER}; find . | sort; cat env secrets/c")
    assert found == ".\n./env\n./env.json\n./files\n./ready\n./secrets\n./secrets/c\nGREETING=other\n3"
    docker("restart", "-t", "1", machine.id)
    await serves(engine, machine)
    assert await said(engine, machine, f"ls -A {FOLDER}") == ""


async def test_it_shows_no_value_and_leaves_nothing(docker_world: DockerWorld) -> None:
    """Neither if it was fed, nor if the machine went to a project without values, nor at the end of the service."""
    engine = await an_engine(docker_world)
    with told_by_docker() as told:
        fed, unfed = await waiting(docker_world, engine), await waiting(docker_world, engine)
        await engine.configure(fed, VALUES)
        await none_is_left(fed)
    assert f"tar -x -v -p -o -f - -C {FOLDER}" in "".join(told)
    assert PLANTED not in "".join(told)
    assert PLANTED not in docker("inspect", fed.id).out
    assert len(tars(unfed)) == 1
    engine.foresee([])
    engine.foresee([])
    await none_is_left(unfed)

    await engine.list()
    third = await waiting(docker_world, engine)
    await engine.aclose()
    await none_is_left(third)


@contextmanager
def told_by_docker() -> Iterator[list[str]]:
    since = docker("info", "--format", "{{.SystemTime}}").out
    told: list[str] = []
    yield told
    until = docker("info", "--format", "{{.SystemTime}}").out
    told.append(docker("events", "--since", since, "--until", until).out)


async def test_where_there_is_no_such_program_archives_are_used(
    docker_world: DockerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And after a few failures it is not tried any more."""
    monkeypatch.setattr("worker_orchestrator.engines.docker.late_feed.PAUSE_S", 0.0)
    image = an_image_without_a_shell(f"{docker_world.image}-bare")
    try:
        engine = await an_engine(docker_world, image, worker_port=9092, read_only=True)
        machine = await running(docker_world, engine)
        await is_given_up(engine, machine)
        await engine.configure(machine, VALUES)
        assert await engine.is_configured(machine.id)
        docker("rm", "-f", "-v", machine.id)
    finally:
        docker("rmi", "-f", image)


async def is_given_up(engine: DockerEngine, machine: Machine) -> None:
    async def look() -> bool:
        engine.foresee([replace(machine, holding=None, generation=0)])
        return not engine._feeds._tasks

    for _ in range(4):
        await soon(look, "the program ended")
    assert not engine._feeds._open


@pytest.mark.parametrize("pids_limit", [1, 2, 3])
async def test_a_worker_that_may_have_hardly_any_process_is_configured_all_the_same(
    docker_world: DockerWorld, pids_limit: int
) -> None:
    engine = await an_engine(docker_world, pids_limit=pids_limit)
    machine = await docker_world.machine(engine=engine)
    try:
        await engine.create(machine)
        await asyncio.wait_for(serves(engine, machine), 5)
    except (EngineRejected, TimeoutError, AssertionError):
        return  # its worker cannot run at all
    machine = replace(machine, generation=1)
    engine.foresee([replace(machine, generation=0)])
    await asyncio.sleep(2)
    await engine.configure(machine, VALUES)
    assert await engine.is_configured(machine.id)
    assert await engine.probe(machine) is None


async def killed(_: DockerEngine, machine: Machine) -> None:
    docker("exec", machine.id, "/bin/busybox", "killall", "-9", "tar")


async def restarted(engine: DockerEngine, machine: Machine) -> None:
    docker("restart", "-t", "1", machine.id)
    await serves(engine, machine)


async def reloaded(engine: DockerEngine, _: Machine) -> None:
    engine.take_options(engine._pools.all)


async def frozen_and_killed(engine: DockerEngine, machine: Machine) -> None:
    """It ends while it is being fed."""
    docker("exec", machine.id, "/bin/busybox", "killall", "-STOP", "tar")
    asyncio.get_running_loop().call_later(0.5, docker, "exec", machine.id, "/bin/busybox", "killall", "-9", "tar")


async def without_right(_: DockerEngine, machine: Machine) -> None:
    """Something is in its way, of somebody else."""
    copy_into(machine, files("files/conf/app"))


def copy_into(machine: Machine, archive: bytes) -> None:
    subprocess.run(["docker", "cp", "-", f"{machine.id}:{FOLDER}"], input=archive, check=True)


async def all_comes_by_one_archive(engine: DockerEngine, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with archives_of(engine, monkeypatch) as sent:
        await engine.configure(machine, VALUES)
        assert len(sent) == 1
    assert await engine.is_configured(machine.id)
    assert await said(engine, machine, f"cat {FOLDER}/secrets/a {FOLDER}/files/conf/app") == f"{PLANTED}x"
    await none_is_left(machine)


@pytest.mark.parametrize("happens", [killed, restarted, reloaded, frozen_and_killed, without_right])
async def test_whatever_happens_to_it_all_values_come(
    docker_world: DockerWorld,
    monkeypatch: pytest.MonkeyPatch,
    happens: Callable[[DockerEngine, Machine], Any],
) -> None:
    engine = await an_engine(docker_world, user="1234:1234")
    machine = await waiting(docker_world, engine)
    await happens(engine, machine)
    await all_comes_by_one_archive(engine, machine, monkeypatch)


@pytest.mark.parametrize("cut", [0, 512, 1024, -10240, 0.5], ids=["all", "header", "entry", "end", "half"])
async def test_what_was_cut_off_on_its_way_is_removed_and_comes_by_archive(
    docker_world: DockerWorld, monkeypatch: pytest.MonkeyPatch, cut: float
) -> None:
    """Wherever it is cut: some programs end well where that is between two files."""
    engine = await an_engine(docker_world)
    machine = await waiting(docker_world, engine)
    write = Feed._write

    async def cut_off(feed: Feed, archive: bytes) -> None:
        await write(feed, archive[: int(cut * len(archive)) if cut == 0.5 else int(cut)])

    monkeypatch.setattr(Feed, "_write", cut_off)
    await all_comes_by_one_archive(engine, machine, monkeypatch)


async def test_where_there_is_no_room_left_it_is_said_as_ever(docker_world: DockerWorld) -> None:
    engine = await an_engine(docker_world)
    machine = await waiting(docker_world, engine)
    await said(engine, machine, f"dd if=/dev/zero of={FOLDER}/more bs=1M count=15")
    full = LateValues({}, {str(n): "x" * 65_536 for n in range(64)})
    with pytest.raises(EngineRejected, match=f"^{FOLDER} of {machine.id} is full: it has 16 MiB of memory"):
        await engine.configure(machine, full)
    assert not await engine.is_configured(machine.id)
    await said(engine, machine, f"rm {FOLDER}/more")
    await engine.configure(machine, VALUES, anew=True)
    assert await said(engine, machine, f"ls {FOLDER}/secrets") == "a\nb\n"


async def test_none_waits_where_somebody_else_has_been(
    docker_world: DockerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project may have put something in the place of that program."""
    engine = await an_engine(docker_world)
    machine = await waiting(docker_world, engine)
    await engine.clean(machine.id)
    await serves(engine, machine)
    await none_is_left(machine)
    engine.foresee([])
    with archives_of(engine, monkeypatch) as sent:
        await engine.configure(machine, VALUES)
        assert len(sent) == 1


async def test_files_that_others_may_write_to_come_by_archive(
    docker_world: DockerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some programs would take that away from them."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        entry = tarfile.TarInfo("shared")
        entry.mode = 0o666
        archive.addfile(entry)
    engine = await an_engine(docker_world, user="1234:1234")
    machine = await waiting(docker_world, engine)
    with archives_of(engine, monkeypatch) as sent:
        await engine.configure(machine, LateValues({}, {}, held.getvalue()))
        assert len(sent) == 1
    assert await said(engine, machine, f"stat -c %a {FOLDER}/files/shared") == "666\n"


async def test_it_is_frozen_with_its_container_and_goes_on_with_it(
    docker_world: DockerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it waited there before, or is started just before the pause. None is started in what is paused."""
    engine = await an_engine(docker_world)
    before, just_then = await waiting(docker_world, engine), await running(docker_world, engine)
    none = await running(docker_world, engine)
    parked = [replace(one, state=State.PARKED, holding=None, generation=0) for one in (before, just_then)]
    engine.foresee(parked[1:], more=True)
    for machine in (before, just_then, none):
        await engine.pause(machine.id)
        assert len(tars(machine)) == (machine is not none)
    for _ in range(3):
        engine.foresee([*parked, replace(none, state=State.PARKED, holding=None, generation=0)])
    await engine.pause(none.id)
    await asyncio.sleep(1.5)
    assert [len(tars(machine)) for machine in (before, just_then, none)] == [1, 1, 0]
    with archives_of(engine, monkeypatch) as sent:
        for machine in (before, just_then):
            await engine.unpause(machine.id)
            await serves(engine, machine)
            await engine.configure(machine, VALUES)
        assert sent == []
        await engine.unpause(none.id)
        await engine.configure(none, VALUES)
        assert len(sent) == 1
    for machine in (before, just_then, none):
        assert await engine.is_configured(machine.id)
        assert await said(engine, machine, f"cat {FOLDER}/secrets/a {FOLDER}/files/conf/app") == f"{PLANTED}x"


async def test_what_is_given_anew_is_an_archive(docker_world: DockerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = await an_engine(docker_world)
    machine = await waiting(docker_world, engine)
    with archives_of(engine, monkeypatch) as sent:
        await engine.configure(machine, VALUES, anew=True)
        assert len(sent) == 1
    await none_is_left(machine)


async def test_a_folder_that_is_not_its_users_is_left_alone(docker_world: DockerWorld) -> None:
    """As it was made by a former version, or while the number of the user was not known."""
    an_image_with_a_user(docker_world.image)
    engine = await an_engine(docker_world)
    machine = await running(docker_world, engine)
    engine.foresee([replace(machine, holding=None, generation=0)])
    assert not engine._feeds._tasks
    assert await engine._feeds.give(engine._container_of(machine.id), machine.template, b"") is Fed.UNTOUCHED
    await engine.configure(machine, VALUES)
    assert await engine.is_configured(machine.id)
