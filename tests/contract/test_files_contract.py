"""Files out of instances and into them, on every engine that has any: the same answers, and the same words."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import io
import os
import tarfile
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Protocol

import pytest
from tests.contract.worlds import MemoryWorld, World
from tests.integration.waiting import PortBlock

from worker_orchestrator.engines.extras import Exec, Files
from worker_orchestrator.errors import InvalidInput, NotRunning, PathNotFound, PathOutOfReach

pytestmark = pytest.mark.promise("files")

NEVER_WAS = "worker-1700000000000-neverwas1"
PIECE_BYTES = 65536


class Copying(Files, Exec, Protocol):
    """An engine of these worlds."""


def archive_of(*entries: tuple[str, bytes | None], **facts: Any) -> bytes:
    """Of files, and folders where there is no content."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            entry.mode = 0o640 if content is not None else 0o755
            entry.type = tarfile.REGTYPE if content is not None else tarfile.DIRTYPE
            for fact, value in facts.items():
                setattr(entry, fact, value)
            entry.size = len(content or b"")
            archive.addfile(entry, io.BytesIO(content or b""))
    return held.getvalue()


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), PIECE_BYTES):
        yield data[start : start + PIECE_BYTES]


async def read(engine: Files, machine_id: str, path: str, *, follow: bool = False) -> dict[str, bytes | None]:
    """What an archive holds, by name; None for a folder and a link."""
    data = b"".join([piece async for piece in engine.read_files(machine_id, path, follow=follow)])
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = {entry.name: archive.extractfile(entry) if entry.isreg() else None for entry in archive}
        return {name: file.read() if file is not None else None for name, file in files.items()}


async def with_files(world: World, script: str = "") -> tuple[Copying, str]:
    """The engine, and a machine in whose /tmp/files this was done."""
    machine, engine = await world.running(), world.engine
    assert isinstance(engine, Files)
    assert isinstance(engine, Exec)
    done = await engine.exec(machine.id, ["sh", "-c", f"mkdir /tmp/files && cd /tmp/files && {script or ':'}"])
    assert done.exit_code == 0, done.stderr
    return engine, machine.id


async def test_what_is_written_is_read_again(real_world: World) -> None:
    """Whole, one file or a folder: names begin with the last of the path."""
    engine, machine_id = await with_files(real_world)
    big = os.urandom(3 * 1024 * 1024 + 1)
    await engine.write_files(machine_id, "/tmp/files", pieces(archive_of(("big", big), ("s ä", b"s"), ("a/b", None))))
    assert await read(engine, machine_id, "/tmp/files") == {
        "files": None, "files/big": big, "files/s ä": b"s", "files/a": None, "files/a/b": None,
    }  # fmt: skip
    assert await read(engine, machine_id, "/tmp/files/s ä") == {"s ä": b"s"}
    done = await engine.exec(machine_id, ["sh", "-c", "stat -c '%a %s' /tmp/files/big"])
    assert done.stdout == f"640 {len(big)}\n".encode()


async def test_an_archive_comes_in_pieces_and_whoever_has_enough_can_stop(real_world: World) -> None:
    """Nobody holds it in memory, and nothing of it stays behind."""
    engine, machine_id = await with_files(real_world, "dd if=/dev/zero of=big bs=1M count=64")
    async with aclosing(engine.read_files(machine_id, "/tmp/files/big")) as archive:  # type: ignore[type-var]
        assert 0 < len(await anext(archive)) < 2_000_000
    left = await engine.exec(machine_id, ["sh", "-c", "cat /proc/[0-9]*/cmdline"])
    assert b"tar\0-cf" not in left.stdout


async def test_a_compressed_archive_is_taken(real_world: World) -> None:
    """Of the kinds that Docker takes."""
    engine, machine_id = await with_files(real_world)
    for squeeze in (gzip.compress, bz2.compress):
        sent = squeeze(archive_of((squeeze.__module__, bytes(3_000_000))))
        await engine.write_files(machine_id, "/tmp/files", pieces(sent))
        assert await read(engine, machine_id, f"/tmp/files/{squeeze.__module__}") == {
            squeeze.__module__: bytes(3_000_000)
        }


async def test_a_path_that_is_not_there_is_told_so(real_world: World) -> None:
    """With its name, and nothing of the archive is asked for."""
    engine, machine_id = await with_files(real_world, "echo >file")
    told = {
        "/no/such": rf"^There is no /no/such in the container of {machine_id}\.$",
        "/tmp/files/file/x": rf"^There is no /tmp/files/file/x in the container of {machine_id}: a part of it is",
        "/tmp/files/file/x/y": rf"^There is no /tmp/files/file/x/y in the container of {machine_id}: a part of it is",
    }
    for path, words in told.items():
        source = pieces(archive_of(("note", os.urandom(3_000_000))))
        with pytest.raises(PathNotFound, match=words):
            await read(engine, machine_id, path)
        with pytest.raises(PathNotFound, match=words):
            await engine.write_files(machine_id, path, source)
        assert len(await anext(source)) == PIECE_BYTES


async def test_files_are_written_into_folders_only(real_world: World) -> None:
    """However much is sent."""
    engine, machine_id = await with_files(real_world, "echo >file")
    for content in (b"s", os.urandom(3_000_000)):
        with pytest.raises(InvalidInput, match=r"^/tmp/files/file is not a folder .*: name a folder\.$"):
            await engine.write_files(machine_id, "/tmp/files/file", pieces(archive_of(("note", content))))


async def test_what_is_no_whole_archive_is_told_so(real_world: World) -> None:
    """With the folder that it was for."""
    engine, machine_id = await with_files(real_world)
    squeezed = gzip.compress(archive_of(("note", os.urandom(3000))))
    half = archive_of(("note", b"s" * 5000))[:3000]
    for sent in (b"x", b"x" * 100_000, half, squeezed[:2000], squeezed[:12] + b"x" * 5000):
        with pytest.raises(
            InvalidInput, match=r"^What was sent for /tmp/files is not a whole tar archive \([^()]+\): "
        ):
            await engine.write_files(machine_id, "/tmp/files", pieces(sent))


async def test_a_folder_is_never_replaced_by_a_file_nor_a_file_by_a_folder(real_world: World) -> None:
    """Its name is told as the caller knows it, also behind a link."""
    engine, machine_id = await with_files(real_world, "mkdir -p real/taken; ln -s real link; echo >real/f")
    with pytest.raises(InvalidInput, match=r"^/tmp is a folder in the container of .*application/x-tar\.$"):
        await engine.write_files(machine_id, "/", pieces(archive_of(("tmp", b"s"))))
    with pytest.raises(InvalidInput, match=r"^/tmp/files/(link|real)/taken is a folder in the container of "):
        await engine.write_files(machine_id, "/tmp/files/link", pieces(archive_of(("taken", b"s"))))
    with pytest.raises(InvalidInput, match=r"^/tmp/files/real/f is not a folder in the container of .*: remove it"):
        await engine.write_files(machine_id, "/tmp/files/real", pieces(archive_of(("f", None))))


async def test_an_archive_that_cannot_be_unpacked_is_its_senders_fault(real_world: World) -> None:
    """The engine says why."""
    engine, machine_id = await with_files(real_world, "echo >file")
    entries: dict[str, dict[str, Any]] = {
        "(is outside of|invalid entry name)": {"name": "../../../x"},
        "(?i:no such file|hardlink)": {"name": "h", "type": tarfile.LNKTYPE, "linkname": "none"},
        "(?i:file name too long)": {"name": "x" * 300},
        "(?i:not a directory)": {"name": "file/x"},
    }
    for said, entry in entries.items():
        with pytest.raises(InvalidInput, match=rf"^The archive cannot be unpacked into /tmp/files .*{said}"):
            await engine.write_files(machine_id, "/tmp/files", pieces(archive_of(("any", b""), **entry)))


async def test_entries_are_named_after_the_path_that_was_asked_for(real_world: World) -> None:
    """Also where it is the one of a link, or ends in what means a folder."""
    engine, machine_id = await with_files(real_world, "mkdir real; echo s >real/f; ln -s real link; ln -s loop loop")
    assert await read(engine, machine_id, "/tmp/files/link") == {"link": None}
    assert await read(engine, machine_id, "/tmp/files/link/") == {"link": None, "link/f": b"s\n"}
    assert await read(engine, machine_id, "/tmp/files/real/../link/f") == {"f": b"s\n"}
    assert await read(engine, machine_id, "/tmp/files/link", follow=True) == {"real": None, "real/f": b"s\n"}
    assert await engine.place_of(machine_id, "/tmp/files/link/new") == "/tmp/files/real/new"
    with pytest.raises(InvalidInput, match=r"^/tmp/files/loop/ .*from link to link"):
        await read(engine, machine_id, "/tmp/files/loop/")


@pytest.mark.parametrize(("path", "mount"), [("/proc/1/status", "/proc"), ("/sys", "/sys"), ("/dev/shm", "/dev")])
async def test_what_the_kernel_shows_is_neither_read_nor_written_to_nowhere(
    real_world: World, path: str, mount: str
) -> None:
    """With a command that reaches it."""
    engine, machine_id = await with_files(real_world)
    with pytest.raises(PathOutOfReach, match=rf"^{path} .*exec {machine_id} -- cat {path}`"):
        await read(engine, machine_id, path)
    with pytest.raises(PathOutOfReach, match=rf"^{path} .*exec -i {machine_id} -- sh -c 'cat >{mount}/FILE' <FILE`"):
        await engine.write_files(machine_id, path, pieces(archive_of(("note", b"s"))))


async def test_what_the_source_of_an_archive_raises_reaches_the_caller(real_world: World) -> None:
    """It is no fault of the engine's."""
    engine, machine_id = await with_files(real_world)

    async def broken() -> AsyncIterator[bytes]:
        async for piece in pieces(archive_of(("note", os.urandom(300_000)))):
            yield piece
            raise ValueError("hung up")

    async with asyncio.timeout(20):
        with pytest.raises(ValueError, match="hung up"):
            await engine.write_files(machine_id, "/tmp/files", broken())


async def test_files_need_an_instance_that_is_ours(real_world: World) -> None:
    """Whatever stands under its name."""
    assert isinstance(real_world.engine, Files)
    theirs = await real_world.machine()
    real_world.put(theirs, real_world.somebody_else)
    for machine_id in (NEVER_WAS, theirs.id):
        with pytest.raises(NotRunning, match=machine_id):
            await read(real_world.engine, machine_id, "/tmp")
        with pytest.raises(NotRunning, match=machine_id):
            await real_world.engine.write_files(machine_id, "/tmp", pieces(archive_of(("note", b"s"))))


def test_the_engine_without_files_does_not_claim_to_have_any(ports: PortBlock, runner: asyncio.Runner) -> None:
    """So the API answers 501."""
    world = MemoryWorld(ports)
    runner.run(world.open())
    assert not isinstance(world.engine, Files)
    runner.run(world.close())
