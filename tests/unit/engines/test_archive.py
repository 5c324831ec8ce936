"""The first entry of archives of every kind, in pieces of every size."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tarfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Literal

import pytest

from worker_orchestrator.engines.archive import Reader, first_entry, in_large_pieces, printable
from worker_orchestrator.errors import EngineUnavailable
from worker_orchestrator.http.v1.single_file import archive_of_file, file_in_archive

GIB: Final = 1024**3
FORMATS: Final[dict[str, Literal[0, 1, 2]]] = {
    "ustar": tarfile.USTAR_FORMAT,
    "gnu": tarfile.GNU_FORMAT,
    "pax": tarfile.PAX_FORMAT,
}


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
        yield b""


def content(data: bytes, size: int = 1000) -> bytes | None:
    async def read() -> bytes | None:
        found = await file_in_archive(pieces(data, size))
        return None if found is None else b"".join([part async for part in found])

    return asyncio.run(read())


def first(data: bytes) -> tarfile.TarInfo:
    async def read() -> tarfile.TarInfo:
        return (await first_entry(Reader(pieces(data, 700))))[0]

    return asyncio.run(read())


def header(form: str, **facts: object) -> bytes:
    entry = tarfile.TarInfo("name")
    for fact, value in facts.items():
        setattr(entry, fact, value)
    return entry.tobuf(FORMATS[form], "utf-8", "surrogateescape")


@pytest.mark.parametrize("size", [1, 511, 512, 4096, 10**6])
@pytest.mark.parametrize("form", FORMATS)
def test_a_file_is_its_content(form: str, size: int) -> None:
    """In whatever pieces it comes, and whatever comes behind it."""
    data = os.urandom(3000)
    assert content(header(form, size=len(data)) + data + bytes(2048), size) == data
    assert content(header(form, size=0) + header(form, size=len(data)) + data, size) == b""


@pytest.mark.parametrize("form", ["gnu", "pax"])
@pytest.mark.parametrize("target", ["/é/" * 300, "x" * 4000, "/näme \udcff\udcfe", "../a/../b"])
def test_a_link_leads_where_it_leads(form: str, target: str) -> None:
    """Longer than a field, not in ASCII, not even text."""
    found = first(header(form, type=tarfile.SYMTYPE, linkname=target, name="ü" * 200))
    assert (found.issym(), found.linkname, found.name) == (True, target, "ü" * 200)


@pytest.mark.parametrize("size", [8 * GIB - 1, 8 * GIB, 9 * GIB, 2**53])
@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_a_file_of_more_than_8_gib_has_its_size(form: str, size: int) -> None:
    """No field of the old header could hold it: its content begins, and is missed where the archive ends."""
    archive = header(form, size=size) + b"x" * 5000
    assert first(archive).size == size
    with pytest.raises(EngineUnavailable, match="ends too early"):
        content(archive)


def test_what_stands_before_the_first_entry_is_read() -> None:
    """Global headers, attributes that are no text, and GNU's long names before PAX."""
    entry = tarfile.TarInfo("name")
    entry.size, entry.pax_headers = (
        4,
        {"SCHILY.xattr.security.capability": "\x01\udc80\n=5 x=", "comment": "c" * 9000},
    )
    everywhere = tarfile.TarInfo.create_pax_global_header({"comment": "for all", "hdrcharset": "BINARY"})
    archive = everywhere + entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape") + b"data" + bytes(508)
    assert content(archive) == b"data"


@pytest.mark.parametrize(
    "how", ["--format=gnu", "--format=pax --sparse-version=0.0", "--format=pax --sparse-version=1.0"]
)
def test_holes_of_a_sparse_file_are_zeros(how: str, tmp_path: Path) -> None:
    """As GNU tar packs them: with more parts than a header holds."""
    with (tmp_path / "sparse").open("wb") as file:
        for number in range(60):
            file.seek(number * 65536)
            file.write(os.urandom(4096))
        file.truncate(61 * 65536)
    packed = subprocess.run(
        ["tar", "-cS", *how.split(), "-C", tmp_path, "sparse"], capture_output=True, check=True
    ).stdout
    assert len(packed) < 20 * 65536
    assert content(packed) == (tmp_path / "sparse").read_bytes()


@pytest.mark.parametrize(
    "kind", [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
)
def test_whatever_else_is_no_file(kind: bytes) -> None:
    assert content(header("pax", type=kind) + bytes(1024)) is None


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        bytes(10240),
        header("pax", size=5),
        header("pax", size=5000) + b"x" * 4999,
        header("pax", name="x" * 5000)[:-512],
        header("gnu", type=tarfile.GNUTYPE_LONGNAME, size=GIB) + bytes(8 * 1024 * 1024),
        b"no archive" * 100,
    ],
    ids=[
        "nothing",
        "no entry",
        "no content",
        "half a content",
        "no entry behind a name",
        "an endless name",
        "no archive",
    ],
)
def test_what_is_no_whole_archive_is_the_engines_fault(archive: bytes) -> None:
    """It may be asked again; nobody takes it for an empty file."""
    with pytest.raises(EngineUnavailable, match="archive cannot be read"):
        content(archive)


def test_only_as_much_is_read_as_is_needed() -> None:
    """Whoever reads one file of a stream without an end has it."""
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        yield header("pax", size=10)
        while True:
            read += 1
            yield b"0123456789" * 100

    async def take() -> bytes:
        found = await file_in_archive(endless())
        assert found is not None
        return b"".join([part async for part in found])

    assert (asyncio.run(take()), read) == (b"0123456789", 1)


def test_a_path_that_is_no_text_can_be_told() -> None:
    assert printable("/ä \udcff") == "/ä \\xff"


def sent(source: AsyncIterator[bytes]) -> list[bytes]:
    """The pieces in which an engine gets this."""

    async def take() -> list[bytes]:
        return [piece async for piece in in_large_pieces(source)]

    return asyncio.run(take())


def test_a_small_file_is_sent_in_one_piece() -> None:
    """Else whoever watches it in the worker reads an empty file between its header and its content."""
    (whole,) = sent(archive_of_file("name", 3000, pieces(b"x" * 3000, 7)))
    assert content(whole) == b"x" * 3000
    assert sent(pieces(b"", 1)) == []


def test_a_large_archive_is_sent_as_it_comes_in_and_nothing_of_it_is_lost() -> None:
    data = os.urandom(300_000)
    found = sent(pieces(data, 1000))
    assert b"".join(found) == data
    assert {65_000 < len(piece) < 67_000 for piece in found[:-1]} == {True}
    assert sent(pieces(data, len(data))) == [data]


def test_a_file_that_is_written_is_as_new_as_it_is_to_the_fraction_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two writes in one second are two, for whoever looks at the times of files."""
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.75)
    (whole,) = sent(archive_of_file("name", 1, pieces(b"x", 1)))
    assert first(whole).mtime == 1_700_000_000.75
