"""Files out of containers and into them."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import io
import os
import re
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace
from tests.contract.worlds import DockerWorld
from tests.integration.docker_command import a_name, docker, make_image

from worker_orchestrator.core.spec import DEFAULT_POOL
from worker_orchestrator.engines.extras import Files
from worker_orchestrator.errors import (
    EngineUnavailable,
    InvalidInput,
    NotRunning,
    PathNotFound,
    PathOutOfReach,
    WorkerReadOnly,
)

pytestmark = pytest.mark.promise("files")

NEVER_WAS = "worker-1700000000000-neverwas1"
PIECE_BYTES = 65536


def archive_of(**files: bytes) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o640
            archive.addfile(entry, io.BytesIO(content))
    return held.getvalue()


def archive_with(*, name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    """Of one empty entry."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname, entry.mode = kind, link, 0o755
        archive.addfile(entry)
    return held.getvalue()


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), PIECE_BYTES):
        yield data[start : start + PIECE_BYTES]


async def read(engine: Files, machine_id: str, path: str) -> dict[str, bytes | None]:
    """What an archive holds, by name; None for a folder and a link."""
    data = b"".join([piece async for piece in engine.read_files(machine_id, path)])
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = {entry.name: archive.extractfile(entry) if entry.isreg() else None for entry in archive}
        return {name: file.read() if file is not None else None for name, file in files.items()}


async def test_what_is_written_is_read_again(docker_world: DockerWorld) -> None:
    """Whole, one file or a folder: names begin with the last of the path."""
    machine = await docker_world.running()
    big = os.urandom(3 * 1024 * 1024)
    await docker_world.engine.write_files(machine.id, "/srv/files", pieces(archive_of(big=big, small=b"s")))
    assert await read(docker_world.engine, machine.id, "/srv/files") == {
        "files": None,
        "files/big": big,
        "files/small": b"s",
    }
    assert await read(docker_world.engine, machine.id, "/srv/files/small") == {"small": b"s"}
    assert docker("exec", machine.id, "stat", "-c", "%a %s", "/srv/files/big").out == f"640 {len(big)}"


async def test_an_archive_comes_in_pieces(docker_world: DockerWorld) -> None:
    """Nobody holds it in memory; and whoever has enough can stop."""
    machine = await docker_world.running()
    docker("exec", machine.id, "dd", "if=/dev/zero", "of=/srv/files/big", "bs=1M", "count=64")
    async with aclosing(docker_world.engine.read_files(machine.id, "/srv/files/big")) as archive:  # type: ignore[type-var]
        assert 0 < len(await anext(archive)) < 2_000_000
    assert await read(docker_world.engine, machine.id, "/srv/index.html")


async def test_files_of_a_container_that_ended_can_be_read_and_written(docker_world: DockerWorld) -> None:
    """They are somebody's work, and perhaps why it ended."""
    machine = await docker_world.running()
    docker_world.kill(machine)
    await docker_world.engine.write_files(machine.id, "/srv/files", pieces(archive_of(note=b"kept")))
    assert await read(docker_world.engine, machine.id, "/srv/files/note") == {"note": b"kept"}


async def test_a_path_that_is_not_there_is_told_so(docker_world: DockerWorld) -> None:
    """With its name, and nothing of the archive is asked for."""
    machine = await docker_world.running()
    with pytest.raises(PathNotFound, match="/no/such"):
        await read(docker_world.engine, machine.id, "/no/such")
    source = pieces(archive_of(note=os.urandom(3_000_000)))
    with pytest.raises(PathNotFound, match="/no/such"):
        await docker_world.engine.write_files(machine.id, "/no/such", source)
    assert len(await anext(source)) == PIECE_BYTES


async def test_a_path_under_a_file_is_nowhere(docker_world: DockerWorld) -> None:
    """Neither to read nor to write, and no path of Docker's host is told."""
    machine = await docker_world.running()
    for path in ("/srv/index.html/x", "/srv/index.html/x/y"):
        with pytest.raises(
            PathNotFound, match=rf"^There is no {path} in the container of {machine.id}: a part of it is"
        ):
            await read(docker_world.engine, machine.id, path)
        with pytest.raises(
            PathNotFound, match=rf"^There is no {path} in the container of {machine.id}: a part of it is"
        ):
            await docker_world.engine.write_files(machine.id, path, pieces(archive_of(note=b"s")))


async def test_files_are_written_into_folders_only(docker_world: DockerWorld) -> None:
    """However much is sent."""
    machine = await docker_world.running()
    for archive in (archive_of(note=b"s"), archive_of(note=os.urandom(3_000_000))):
        with pytest.raises(InvalidInput, match=r"^/srv/index\.html is not a folder .*: name a folder\.$"):
            await docker_world.engine.write_files(machine.id, "/srv/index.html", pieces(archive))


@pytest.mark.parametrize(
    "sent",
    [
        b"x",
        b"x" * 100_000,
        archive_of(note=b"s" * 5000)[:3000],
        gzip.compress(archive_of(note=os.urandom(3000)))[:2000],
        gzip.compress(archive_of(note=os.urandom(3000)))[:12] + b"x" * 5000,
        bz2.compress(archive_of(note=os.urandom(3000)))[:12] + b"x" * 5000,
    ],
    ids=["one letter", "much that is none", "half of one", "half of a gzip", "a broken gzip", "a broken bzip2"],
)
async def test_what_is_no_whole_archive_is_told_so(docker_world: DockerWorld, sent: bytes) -> None:
    """With the folder that it was for."""
    machine = await docker_world.running()
    with pytest.raises(InvalidInput, match=r"^What was sent for /srv/files is not a whole tar archive \([^()]+\): "):
        await docker_world.engine.write_files(machine.id, "/srv/files", pieces(sent))


async def test_a_folder_is_never_replaced_by_a_file_nor_a_file_by_a_folder(docker_world: DockerWorld) -> None:
    """Its name is told as the caller knows it, also behind a link."""
    machine = await docker_world.running()
    docker(
        "exec",
        machine.id,
        "sh",
        "-c",
        "mkdir -p /srv/files/real/taken; ln -s real /srv/files/link; echo >/srv/files/real/f",
    )
    with pytest.raises(InvalidInput, match=r"^/tmp is a folder in the container of .*application/x-tar\.$"):
        await docker_world.engine.write_files(machine.id, "/", pieces(archive_of(tmp=b"s")))
    with pytest.raises(InvalidInput, match=r"^/srv/files/(link|real)/taken is a folder in the container of "):
        await docker_world.engine.write_files(machine.id, "/srv/files/link", pieces(archive_of(taken=b"s")))
    with pytest.raises(InvalidInput, match=r"^/srv/files/real/f is not a folder in the container of .*: remove it"):
        await docker_world.engine.write_files(
            machine.id, "/srv/files/real", pieces(archive_with(name="f", kind=tarfile.DIRTYPE))
        )


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"name": "../../../x"}, "(is outside of|invalid entry name)"),
        ({"name": "h", "kind": tarfile.LNKTYPE, "link": "none"}, "no such file"),
        ({"name": "x" * 300}, "file name too long"),
        ({"name": "index.html/x"}, "not a directory"),
        ({"name": "h", "kind": tarfile.LNKTYPE, "link": "index.html/x"}, "not a directory"),
        ({"name": "h", "kind": tarfile.LNKTYPE, "link": "files"}, "h: operation not permitted"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_an_archive_that_cannot_be_unpacked_is_its_senders_fault(
    docker_world: DockerWorld, entry: Mapping[str, Any], said: str
) -> None:
    """Docker says why. Newer engines say less. Podman leaves the way out of the folder out of a name."""
    machine = await docker_world.running()
    if docker_world.dialect.archives_follow_links and entry["name"].startswith(".."):
        await docker_world.engine.write_files(machine.id, "/srv", pieces(archive_with(**entry)))
        assert docker("exec", machine.id, "ls", "/srv/x").out == "/srv/x"
        return
    with pytest.raises(InvalidInput, match=rf"^The archive cannot be unpacked into /srv .*{said}"):
        await docker_world.engine.write_files(machine.id, "/srv", pieces(archive_with(**entry)))


async def test_a_link_in_an_archive_that_leads_out_of_its_folder_stays_a_link_or_is_refused(
    docker_world: DockerWorld,
) -> None:
    """Older engines refuse it. It leads to what is in the container, so newer ones take it."""
    machine = await docker_world.running()
    entry = archive_with(name="s", kind=tarfile.SYMTYPE, link="../../../etc")
    try:
        await docker_world.engine.write_files(machine.id, "/srv", pieces(entry))
    except InvalidInput as refused:
        assert re.search(r"^The archive cannot be unpacked into /srv .*invalid symlink", refused.message)  # noqa: PT017 # the other way is right too
    else:
        assert docker("exec", machine.id, "readlink", "/srv/s").out == "../../../etc"


@pytest.mark.parametrize(
    ("path", "said"), [("/tmp/loop", "from link to link"), (f"/tmp/{'x' * 300}", "a name that is too long")]
)
async def test_a_path_that_cannot_be_is_told_in_our_words(docker_world: DockerWorld, path: str, said: str) -> None:
    """Those of Docker name a path of its host."""
    machine = await docker_world.running()
    docker("exec", machine.id, "ln", "-s", "loop", "/tmp/loop")
    for call in (
        read(docker_world.engine, machine.id, path),
        docker_world.engine.write_files(machine.id, path, pieces(archive_of(note=b"s"))),
    ):
        if docker_world.dialect.archives_follow_links and "x" in path:  # Podman finds nothing there
            with pytest.raises(PathNotFound, match=rf"^There is no {path} in the container of {machine.id}\.$"):
                await call
            continue
        with pytest.raises(InvalidInput, match=rf"^{path} .*{said}"):
            await call


# what Docker does not reach


@asynccontextmanager
async def read_only(world: DockerWorld) -> AsyncIterator[tuple[Files, str]]:
    """A running machine under --read-only, whose image has the volumes /data and /tmp/volume."""
    image = a_name("image")
    make_image(image, "VOLUME /data", "VOLUME /tmp/volume")
    engine = await world.open_engine(image, read_only=True)
    machine = replace(await world.machine(), template=await engine.template(DEFAULT_POOL))
    await engine.create(machine)
    await world.serves(machine)
    yield engine, machine.id
    world.remove(machine)
    docker("rmi", image)


async def test_a_read_only_file_system_is_told_by_its_name_with_a_way_into_its_tmp(docker_world: DockerWorld) -> None:
    """However much is sent, and whether Docker sees the place or not."""
    async with read_only(docker_world) as (engine, machine_id):
        docker("exec", machine_id, "mkdir", "/tmp/new")
        for path in ("/srv/files", "/tmp", "/tmp/new", "/dev/shm", "/"):
            for archive in (archive_of(note=b"s"), archive_of(note=os.urandom(3_000_000))):
                with pytest.raises(
                    WorkerReadOnly, match=rf"{path}: .*read-only .*exec -i {machine_id} -- sh -c 'cat >/tmp/"
                ):
                    await engine.write_files(machine_id, path, pieces(archive))
        with pytest.raises(PathNotFound, match="/none"):
            await engine.write_files(machine_id, "/none", pieces(archive_of(note=b"s")))
        assert await read(engine, machine_id, "/srv/files") == {"files": None}


async def test_volumes_of_a_read_only_worker_are_read_and_written(docker_world: DockerWorld) -> None:
    """One in its /tmp, too."""
    async with read_only(docker_world) as (engine, machine_id):
        for volume in ("/data", "/tmp/volume"):
            await engine.write_files(machine_id, volume, pieces(archive_of(note=b"kept")))
            assert docker("exec", machine_id, "cat", f"{volume}/note").out == "kept"
            assert await read(engine, machine_id, f"{volume}/note") == {"note": b"kept"}


async def test_nobody_hears_that_something_in_memory_is_not_there(docker_world: DockerWorld) -> None:
    """Docker would say so, or show an empty folder in its place."""
    async with read_only(docker_world) as (engine, machine_id):
        docker("exec", machine_id, "sh", "-c", "echo z >/tmp/z")
        for path in ("/tmp/z", "//tmp/./z", "/data/../tmp/z", "/tmp", "/tmp/none"):
            with pytest.raises(
                PathOutOfReach, match=rf"^{path} of {machine_id} .*mounted at /tmp\..*exec .* cat {path}`"
            ):
                await read(engine, machine_id, path)
        assert await read(engine, machine_id, "/data") == {"data": None}


async def test_a_link_into_something_in_memory_is_no_way_around(docker_world: DockerWorld) -> None:
    """Docker would read nothing there, and write to nowhere; `..` behind a link is the folder above of where it leads."""
    async with read_only(docker_world) as (engine, machine_id):
        links = (
            "ln -s /tmp tmp; ln -s tmp/z z; ln -s /proc/self/status status; mkdir -p a/b; ln -s a/b over; echo a >a/z"
        )
        docker("exec", machine_id, "sh", "-c", f"echo z >/tmp/z; cd /data; {links}")
        for path, mount in {
            "/data/tmp/z": "/tmp",
            "/data/over/../../tmp/z": "/tmp",
            "/data/tmp/./none": "/tmp",
        }.items():
            with pytest.raises(PathOutOfReach, match=rf"^{path} of {machine_id} .*mounted at {mount}\..* cat {path}`"):
                await read(engine, machine_id, path)
        for path, mount in {"/data/z": "/tmp", "/data/status": "/proc", "/data/tmp": "/tmp"}.items():
            with pytest.raises(PathOutOfReach, match=rf"^{path} of {machine_id} .*mounted at {mount}\."):
                await anext(engine.read_files(machine_id, path, follow=True))
            assert await read(engine, machine_id, path) == {path.rpartition("/")[2]: None}
        with pytest.raises(WorkerReadOnly, match=r"^Nothing can be copied to /data/tmp: "):
            await engine.write_files(machine_id, "/data/tmp", pieces(archive_of(note=b"s")))
        assert await read(engine, machine_id, "/data/over/../z") == {"z": b"a\n"}
        assert await read(engine, machine_id, "/data/tmp/../data/tmp/volume/../../data/a/z") == {"z": b"a\n"}
        await engine.write_files(machine_id, "/data/over/..", pieces(archive_of(note=b"kept")))
        assert docker("exec", machine_id, "cat", "/data/a/note").out == "kept"


async def test_where_tmp_is_a_link_what_it_leads_to_is_in_memory(docker_world: DockerWorld) -> None:
    """The mount has the one name in the container's settings, and is under the other."""
    image = a_name("image")
    source = docker("run", "-d", "--network", "none", "--name", a_name("source"), docker_world.image).out
    docker("exec", source, "sh", "-c", "rm -r /tmp; mkdir /real; ln -s real /tmp")
    docker("commit", source, image)
    docker("rm", "-f", source)
    engine = await docker_world.open_engine(image, read_only=True)
    machine = replace(await docker_world.machine(), template=await engine.template(DEFAULT_POOL))
    try:
        await engine.create(machine)
        await docker_world.serves(machine)
        docker("exec", machine.id, "sh", "-c", "echo z >/tmp/z")
        for path in ("/tmp/z", "/real/z"):
            assert docker("exec", machine.id, "cat", path).out == "z"
            if docker_world.dialect.archives_follow_links:  # Podman reaches it there
                assert await read(engine, machine.id, path) == {"z": b"z\n"}
                continue
            with pytest.raises(PathOutOfReach, match=rf"^{path} of .* what is mounted at /real\."):
                await read(engine, machine.id, path)
    finally:
        docker_world.remove(machine)
        docker("rmi", image)


async def test_entries_are_named_after_the_path_that_was_asked_for(docker_world: DockerWorld) -> None:
    """Also where it is the one of a link, or ends in what means a folder."""
    machine = await docker_world.running()
    docker("exec", machine.id, "sh", "-c", "cd /srv/files; mkdir real; echo s >real/f; ln -s real link")
    engine = docker_world.engine
    assert await read(engine, machine.id, "/srv/files/link") == {"link": None}
    assert await read(engine, machine.id, "/srv/files/link/") == {"link": None, "link/f": b"s\n"}
    dotted = {"f": b"s\n"} if docker_world.dialect.archives_follow_links else {".": None, "./f": b"s\n"}
    assert await read(engine, machine.id, "/srv/files/link/.") == dotted
    assert await read(engine, machine.id, "/srv/files/real/../link/f") == {"f": b"s\n"}
    with pytest.raises(PathNotFound, match=r"^There is no /srv/files/real/f/ .*a part of it is not a folder"):
        await read(engine, machine.id, "/srv/files/real/f/")


@pytest.mark.parametrize(("path", "mount"), [("/proc/1/status", "/proc"), ("/sys", "/sys"), ("/dev/shm", "/dev")])
async def test_what_the_kernel_shows_is_neither_read_nor_written_to_nowhere(
    docker_world: DockerWorld, path: str, mount: str
) -> None:
    """Docker would write it where the worker never sees it."""
    machine = await docker_world.running()
    with pytest.raises(PathOutOfReach, match=rf"^{path} .*exec {machine.id} -- cat {path}`"):
        await read(docker_world.engine, machine.id, path)
    with pytest.raises(PathOutOfReach, match=rf"^{path} .*exec -i {machine.id} -- sh -c 'cat >{mount}/FILE' <FILE`"):
        await docker_world.engine.write_files(machine.id, path, pieces(archive_of(note=b"s")))


# whose fault it is


async def test_what_the_source_of_an_archive_raises_reaches_the_caller(docker_world: DockerWorld) -> None:
    """It is no fault of Docker's."""
    machine = await docker_world.running()

    async def broken() -> AsyncIterator[bytes]:
        async for piece in pieces(archive_of(note=os.urandom(300_000))):
            yield piece
            raise ValueError("hung up")

    async with asyncio.timeout(10):
        with pytest.raises(ValueError, match="hung up"):
            await docker_world.engine.write_files(machine.id, "/srv/files", broken())


async def test_files_need_a_container_that_is_ours(docker_world: DockerWorld) -> None:
    """Whatever stands under its name."""
    theirs = await docker_world.machine()
    docker_world.put(theirs, docker_world.somebody_else)
    for machine_id in (NEVER_WAS, theirs.id):
        with pytest.raises(NotRunning, match=machine_id):
            await read(docker_world.engine, machine_id, "/srv")
        with pytest.raises(NotRunning, match=machine_id):
            await docker_world.engine.write_files(machine_id, "/srv/files", pieces(archive_of(note=b"s")))


async def test_files_of_an_engine_that_cannot_be_reached_are_unavailable(docker_world: DockerWorld) -> None:
    """Both ways; also when it goes in the middle."""
    machine = await docker_world.running()
    async with docker_world.proxied() as (engine, proxy):

        async def cut() -> AsyncIterator[bytes]:
            sent = 0
            async for piece in pieces(archive_of(note=os.urandom(3_000_000))):
                yield piece
                sent += len(piece)
                if sent > 2_000_000:  # more than lies in any buffer: it is under way
                    await proxy.close()

        async with asyncio.timeout(10):
            with pytest.raises(EngineUnavailable):
                await engine.write_files(machine.id, "/srv/files", cut())
            with pytest.raises(EngineUnavailable):
                await anext(engine.read_files(machine.id, "/srv"))
