"""Files out of containers and into them."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from msgspec.structs import replace
from tests.contract.worlds import DockerWorld
from tests.integration.docker_command import docker

from worker_orchestrator.engines import Files
from worker_orchestrator.errors import EngineRejected, EngineUnavailable, NotRunning, PathNotFound

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


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), PIECE_BYTES):
        yield data[start : start + PIECE_BYTES]


async def read(world: DockerWorld, machine_id: str, path: str) -> dict[str, bytes | None]:
    """What an archive holds, by name; None for a folder."""
    assert isinstance(world.engine, Files)
    data = b"".join([piece async for piece in world.engine.read_files(machine_id, path)])
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = {entry.name: archive.extractfile(entry) for entry in archive}
        return {name: file.read() if file is not None else None for name, file in files.items()}


async def test_what_is_written_is_read_again(docker_world: DockerWorld) -> None:
    """Whole, one file or a folder: names begin with the last of the path."""
    machine = await docker_world.running()
    big = os.urandom(3 * 1024 * 1024)
    await docker_world.engine.write_files(machine.id, "/srv/files", pieces(archive_of(big=big, small=b"s")))
    assert await read(docker_world, machine.id, "/srv/files") == {"files": None, "files/big": big, "files/small": b"s"}
    assert await read(docker_world, machine.id, "/srv/files/small") == {"small": b"s"}
    assert docker("exec", machine.id, "stat", "-c", "%a %s", "/srv/files/big").out == f"640 {len(big)}"


async def test_an_archive_comes_in_pieces(docker_world: DockerWorld) -> None:
    """Nobody holds it in memory; and whoever has enough can stop."""
    machine = await docker_world.running()
    docker("exec", machine.id, "dd", "if=/dev/zero", "of=/srv/files/big", "bs=1M", "count=64")
    async with aclosing(docker_world.engine.read_files(machine.id, "/srv/files/big")) as archive:  # type: ignore[type-var]
        assert 0 < len(await anext(archive)) < 2_000_000
    assert await read(docker_world, machine.id, "/srv/index.html")


async def test_files_of_a_container_that_ended_can_be_read_and_written(docker_world: DockerWorld) -> None:
    """They are somebody's work, and perhaps why it ended."""
    machine = await docker_world.running()
    docker_world.kill(machine)
    await docker_world.engine.write_files(machine.id, "/srv/files", pieces(archive_of(note=b"kept")))
    assert await read(docker_world, machine.id, "/srv/files/note") == {"note": b"kept"}


async def test_a_path_that_is_not_there_is_told_so(docker_world: DockerWorld) -> None:
    """With its name, and nothing of the archive is asked for."""
    machine = await docker_world.running()
    with pytest.raises(PathNotFound, match="/no/such"):
        await read(docker_world, machine.id, "/no/such")
    source = pieces(archive_of(note=os.urandom(3_000_000)))
    with pytest.raises(PathNotFound, match="/no/such"):
        await docker_world.engine.write_files(machine.id, "/no/such", source)
    assert len(await anext(source)) == PIECE_BYTES


async def test_files_are_written_into_folders_only(docker_world: DockerWorld) -> None:
    """Docker says so in its own words, however much is sent. So it does of what is no archive."""
    machine = await docker_world.running()
    for archive in (archive_of(note=b"s"), archive_of(note=os.urandom(3_000_000))):
        with pytest.raises(EngineRejected, match="directory"):
            await docker_world.engine.write_files(machine.id, "/srv/index.html", pieces(archive))
    with pytest.raises(EngineRejected, match="tar"):
        await docker_world.engine.write_files(machine.id, "/srv/files", pieces(b"x" * 100_000))


async def test_a_container_that_may_not_be_written_to_refuses_in_dockers_words(docker_world: DockerWorld) -> None:
    """However much is sent."""
    engine = await docker_world.open_engine(read_only=True)
    machine = replace(await docker_world.machine(), template=await engine.template())
    await engine.create(machine)
    for archive in (archive_of(note=b"s"), archive_of(note=os.urandom(3_000_000))):
        with pytest.raises(EngineRejected, match="read-only"):
            await engine.write_files(machine.id, "/srv/files", pieces(archive))
    assert await read(docker_world, machine.id, "/srv/files") == {"files": None}


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
            await read(docker_world, machine_id, "/srv")
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
