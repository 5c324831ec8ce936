"""An archive that is told again: plain, below its folder, and with nothing lost."""

from __future__ import annotations

import asyncio
import gzip
import io
import lzma
import os
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, Literal

import pytest

from worker_orchestrator.engines.decompressed import NotWhole
from worker_orchestrator.engines.retold import NotTaken, Retold

FORMATS: Final[tuple[Literal[0, 1, 2], ...]] = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


async def pieces(data: bytes, size: int = 700) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
        yield b""


def told(data: bytes, entered: list[tuple[str, bool]] | None = None) -> bytes:
    names = [] if entered is None else entered

    async def read() -> bytes:
        retold = Retold(pieces(data), "/srv", lambda name, is_folder: names.append((name, is_folder)))
        return b"".join([piece async for piece in retold.pieces()])

    return asyncio.run(read())


def archive(*entries: tarfile.TarInfo, form: Literal[0, 1, 2] = tarfile.PAX_FORMAT, content: bytes = b"") -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=form) as made:
        for entry in entries:
            entry.size = len(content) if entry.isreg() else 0
            made.addfile(entry, io.BytesIO(content))
    return held.getvalue()


def entry(name: str, **facts: Any) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for fact, value in facts.items():
        setattr(made, fact, value)
    return made


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["a", "./a/../b", "/etc/x", "a" * 90 + "/b", "ä"])
def test_every_form_is_told_in_the_same_one(form: Literal[0, 1, 2], name: str) -> None:
    """With the facts of each entry, but for names of users, which mean others in a worker."""
    facts = {"mode": 0o751, "uid": 12, "gid": 34, "mtime": 1_700_000_000, "uname": "root", "gname": "wheel"}
    entered: list[tuple[str, bool]] = []
    got = told(archive(entry(name, **facts), form=form, content=os.urandom(1000)), entered)
    with tarfile.open(fileobj=io.BytesIO(got)) as again:
        (one,) = again.getmembers()
    assert (one.mode, one.uid, one.gid, one.mtime, one.uname, one.gname) == (0o751, 12, 34, 1_700_000_000, "", "")
    assert entered == [(one.name, False)]
    assert one.name == os.path.normpath(name.lstrip("/"))


def test_a_sparse_file_is_told_whole(tmp_path: Path) -> None:
    """Zeros and all, and what comes behind it is still read."""
    with (tmp_path / "sparse").open("wb") as file:
        file.seek(5_000_000)
        file.write(b"end")
    (tmp_path / "after").write_bytes(b"s")
    for form in ("gnu", "posix"):
        packed = subprocess.run(
            ["tar", "-S", f"--format={form}", "-cC", str(tmp_path), "sparse", "after"], check=True, capture_output=True
        ).stdout
        with tarfile.open(fileobj=io.BytesIO(told(packed))) as again:
            files = {each.name: again.extractfile(each) for each in again}
            content = {name: file.read() for name, file in files.items() if file is not None}
        assert content == {"sparse": bytes(5_000_000) + b"end", "after": b"s"}


def test_a_fraction_of_a_second_is_kept_for_who_reads_it() -> None:
    """A file that was just sent must not look older than what is made of it."""
    with tarfile.open(fileobj=io.BytesIO(told(archive(entry("a", mtime=1_700_000_000.25))))) as again:
        assert again.getmember("a").mtime == 1_700_000_000.25


def test_links_lead_where_they_led_but_hard_ones_not_out_of_the_folder() -> None:
    """A symbolic link is text of the worker's own."""
    linked = archive(
        entry("h", type=tarfile.LNKTYPE, linkname="/a"), entry("s", type=tarfile.SYMTYPE, linkname="/../x")
    )
    with tarfile.open(fileobj=io.BytesIO(told(linked))) as again:
        assert [each.linkname for each in again] == ["a", "/../x"]
    for bad in (entry("h", type=tarfile.LNKTYPE, linkname="../x"), entry("../x"), entry("a", type=b"Z")):
        with pytest.raises(NotTaken):
            told(archive(bad))


def test_the_folder_itself_is_left_as_it_is() -> None:
    """It is there, and it is the worker's."""
    entered: list[tuple[str, bool]] = []
    assert told(archive(entry(".", type=tarfile.DIRTYPE), entry("./a/", type=tarfile.DIRTYPE)), entered)
    assert entered == [("a", True)]


@pytest.mark.parametrize("squeeze", [gzip.compress, lzma.compress])
def test_several_compressed_streams_may_follow_each_other(squeeze: Any) -> None:
    """As `cat` of two files makes them. One that ends too early is told so."""
    data = archive(entry("a"), content=os.urandom(5000))
    assert told(squeeze(data[:3000]) + squeeze(data[3000:])) == told(data)
    with pytest.raises(NotWhole):
        told(squeeze(data[:3000]) + squeeze(data[3000:])[:-20])


def test_what_is_empty_is_an_archive_of_nothing() -> None:
    """So it is on every engine."""
    assert told(b"") == told(bytes(512)) == told(bytes(10240)) == bytes(1024)
