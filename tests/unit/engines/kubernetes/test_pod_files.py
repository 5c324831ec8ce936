"""Files of pods, by the programs that workers have: those of busybox, and those of GNU."""

from __future__ import annotations

import asyncio
import bz2
import contextlib
import gzip
import io
import lzma
import os
import re
import stat
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from tests.unit.engines.kubernetes.fake_kubelet import MACHINE, a_worker

from worker_orchestrator.engines.extras import Files
from worker_orchestrator.engines.kubernetes.engine import KubernetesEngine
from worker_orchestrator.errors import InvalidInput, NotSupported, PathNotFound, PathOutOfReach
from worker_orchestrator.http.v1.single_file import archive_of_file

pytestmark = pytest.mark.promise("files")

Work = Callable[[KubernetesEngine], Awaitable[None]]


@pytest.fixture(params=["busybox", "gnu"])
def within(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., None]:
    """Runs work with an engine whose worker has these programs."""

    def run(work: Work, **chosen: Any) -> None:
        async def do() -> None:
            async with a_worker(tmp_path, busybox=request.param == "busybox", **chosen) as engine, asyncio.timeout(60):
                await work(engine)

        asyncio.run(do())

    return run


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "srv"
    folder.mkdir()
    return folder


def archive_of(*entries: tuple[str, bytes | None], **facts: Any) -> bytes:
    """Of files, and folders where there is no content."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", errors="surrogateescape") as archive:
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            entry.mode = 0o640 if content is not None else 0o755
            entry.type = tarfile.REGTYPE if content is not None else tarfile.DIRTYPE
            for fact, value in facts.items():
                setattr(entry, fact, value)
            entry.size = len(content or b"")
            archive.addfile(entry, io.BytesIO(content or b""))
    return held.getvalue()


async def pieces(data: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read(engine: Files, path: Path | str) -> dict[str, bytes | None]:
    """What an archive holds, by name; None for a folder and a link."""
    data = b"".join([piece async for piece in engine.read_files(MACHINE, str(path))])
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = {entry.name: archive.extractfile(entry) if entry.isreg() else None for entry in archive}
        return {name: file.read() if file is not None else None for name, file in files.items()}


def test_what_is_written_is_read_again(within: Callable[..., None], place: Path) -> None:
    """Whole, one file or a folder, with names of any bytes; names begin with the last of the path."""
    big, odd = os.urandom(3 * 1024 * 1024 + 1), os.fsdecode(b"a \xff'\\0101\nb")

    async def work(engine: KubernetesEngine) -> None:
        sent = archive_of(("big", big), ("deep/er", None), ("deep/er/small", b"s"), ("x" * 150, b"l"), (odd, b"o"))
        await engine.write_files(MACHINE, str(place), pieces(sent))
        assert (place / "big").read_bytes() == big
        assert stat.S_IMODE((place / "big").stat().st_mode) == 0o640
        assert await read(engine, place / "deep") == {"deep": None, "deep/er": None, "deep/er/small": b"s"}
        assert (
            await read(engine, place / "x" / ".." / ("x" * 150)) == {"x" * 150: b"l"}
            if (place / "x").exists()
            else True
        )
        assert await read(engine, place / odd) == {odd: b"o"}
        assert set(await read(engine, f"{place}/.")) >= {"./big", "./deep/er/small"}

    within(work)


def test_entries_are_named_after_the_path_that_was_asked_for(within: Callable[..., None], place: Path) -> None:
    """Also where it is the one of a link, or ends in what means a folder."""
    (place / "real").mkdir()
    (place / "real" / "f").write_bytes(b"s\n")
    (place / "link").symlink_to("real")

    async def work(engine: KubernetesEngine) -> None:
        assert await read(engine, place / "link") == {"link": None}
        assert await read(engine, f"{place}/link/") == {"link": None, "link/f": b"s\n"}
        assert await read(engine, f"{place}/link/.") == {".": None, "./f": b"s\n"}
        assert await read(engine, f"{place}/real/../link/f") == {"f": b"s\n"}
        followed = [piece async for piece in engine.read_files(MACHINE, f"{place}/link", follow=True)]
        with tarfile.open(fileobj=io.BytesIO(b"".join(followed))) as archive:
            assert archive.getnames() == ["real", "real/f"]
        assert await engine.place_of(MACHINE, f"{place}/link/new") == f"{place}/real/new"
        with pytest.raises(PathNotFound, match=r"real/f/ .*a part of it is not a folder"):
            await read(engine, f"{place}/real/f/")

    within(work)


def test_a_path_that_leads_nowhere_is_told_before_anything_of_the_archive_is_asked_for(
    within: Callable[..., None], place: Path
) -> None:
    """In the words of every engine."""
    (place / "file").write_bytes(b"s")
    (place / "loop").symlink_to("loop")
    (place / "gone").symlink_to("/no/such")
    told = {
        "none": (PathNotFound, "There is no .*none in"),
        "gone/": (PathNotFound, "There is no .*gone/ in"),
        "file/x": (PathNotFound, "a part of it is not a folder"),
        "loop/": (InvalidInput, "from link to link"),
        "x" * 300: (InvalidInput, "a name that is too long"),
    }

    async def work(engine: KubernetesEngine) -> None:
        for name, (kind, words) in told.items():
            source = pieces(archive_of(("note", os.urandom(300_000))))
            with pytest.raises(kind, match=words):
                await read(engine, f"{place}/{name}")
            with pytest.raises(kind, match=words):
                await engine.write_files(MACHINE, f"{place}/{name}", source)
            assert len(await anext(source)) == 65536
        with pytest.raises(InvalidInput, match=r"file is not a folder .*: name a folder\.$"):
            await engine.write_files(MACHINE, f"{place}/file", pieces(archive_of(("note", b"s"))))
        for path in ("/proc/1/status", "/sys", "/dev/shm"):
            with pytest.raises(PathOutOfReach, match=rf"^{path} .*exec {MACHINE} -- cat {path}`"):
                await read(engine, path)
            with pytest.raises(PathOutOfReach, match=rf"^{path} .*exec -i {MACHINE} -- sh -c 'cat >"):
                await engine.write_files(MACHINE, path, pieces(archive_of(("note", b"s"))))

    within(work)


@pytest.mark.parametrize("squeeze", [gzip.compress, bz2.compress, lzma.compress])
def test_an_archive_may_be_compressed(
    within: Callable[..., None], place: Path, squeeze: Callable[[bytes], bytes]
) -> None:
    """And come in pieces of any size."""
    sent = archive_of(("zeros", bytes(3_000_000)), ("note", b"s"))

    async def work(engine: KubernetesEngine) -> None:
        await engine.write_files(MACHINE, str(place), pieces(squeeze(sent), 1000))
        assert (place / "zeros").read_bytes() == bytes(3_000_000)
        assert (place / "note").read_bytes() == b"s"

    within(work)


@pytest.mark.parametrize(
    "sent",
    [
        b"x",
        b"x" * 100_000,
        archive_of(("note", b"s" * 5000))[:3000],
        gzip.compress(archive_of(("note", os.urandom(3000))))[:2000],
        gzip.compress(archive_of(("note", os.urandom(3000))))[:12] + b"x" * 5000,
        bz2.compress(archive_of(("note", os.urandom(3000))))[:12] + b"x" * 5000,
    ],
    ids=["one letter", "much that is none", "half of one", "half of a gzip", "a broken gzip", "a broken bzip2"],
)
def test_what_is_no_whole_archive_is_told_so(within: Callable[..., None], place: Path, sent: bytes) -> None:
    """With the folder that it was for."""

    async def work(engine: KubernetesEngine) -> None:
        with pytest.raises(InvalidInput, match=rf"^What was sent for {place} is not a whole tar archive \([^()]+\): "):
            await engine.write_files(MACHINE, str(place), pieces(sent))

    within(work)


def test_a_folder_is_never_replaced_by_a_file_nor_a_file_by_a_folder(within: Callable[..., None], place: Path) -> None:
    """Its name is told as the caller knows it, also behind a link; an empty archive is fine, and so is a file for a file."""
    (place / "real" / "taken").mkdir(parents=True)
    (place / "real" / "f").write_bytes(b"old")
    (place / "link").symlink_to("real")

    async def work(engine: KubernetesEngine) -> None:
        with pytest.raises(InvalidInput, match=rf"^{place}/link/taken is a folder in the container of .*x-tar\.$"):
            await engine.write_files(MACHINE, f"{place}/link", pieces(archive_of(("taken", b"s"))))
        with pytest.raises(InvalidInput, match=rf"^{place}/real/f is not a folder in the container of .*: remove it"):
            await engine.write_files(MACHINE, f"{place}/real", pieces(archive_of(("f", None))))
        with pytest.raises(InvalidInput, match=rf"^{place}/link is not a folder in the container of .*: remove it"):
            await engine.write_files(MACHINE, str(place), pieces(archive_of(("./link/", None))))
        assert (place / "real" / "f").read_bytes() == b"old"
        for sent in (b"", bytes(1024), archive_of((".", None), ("/f", b"new"))):
            await engine.write_files(MACHINE, f"{place}/real", pieces(sent))
        assert (place / "real" / "f").read_bytes() == b"new"

    within(work)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"name": "../../../../../../x"}, "is outside of"),
        ({"name": "h", "type": tarfile.LNKTYPE, "linkname": "none"}, "(no such file|can't create hardlink)"),
        ({"name": "h", "type": tarfile.LNKTYPE, "linkname": "../../x"}, "is outside of"),
        ({"name": "x" * 300}, "file name too long"),
        ({"name": "file/x"}, "not a directory"),
        ({"name": "h", "type": tarfile.LNKTYPE, "linkname": "file/x"}, "(not a directory|can't create hardlink)"),
    ],
    ids=str,
)
def test_an_archive_that_cannot_be_unpacked_is_its_senders_fault(
    within: Callable[..., None], place: Path, entry: dict[str, Any], said: str
) -> None:
    """The worker's `tar` says why."""
    (place / "file").write_bytes(b"s")

    async def work(engine: KubernetesEngine) -> None:
        with pytest.raises(InvalidInput) as refused:
            await engine.write_files(MACHINE, str(place), pieces(archive_of(("any", b""), **entry)))
        assert re.search(f"(?i)^The archive cannot be unpacked into {place} .*{said}", refused.value.message)

    within(work)


def test_links_stay_links_and_times_keep_what_the_worker_can_read(within: Callable[..., None], place: Path) -> None:
    """Wherever links lead: they are the worker's own."""
    link = {"type": tarfile.SYMTYPE, "linkname": "../../../etc"}

    async def work(engine: KubernetesEngine) -> None:
        await engine.write_files(MACHINE, str(place), pieces(archive_of(("s", b""), **link)))
        assert (place / "s").readlink() == Path("../../../etc")
        await engine.write_files(MACHINE, str(place), archive_of_file("one", 3, pieces(b"abc", 1)))
        assert (place / "one").read_bytes() == b"abc"
        await engine.write_files(MACHINE, str(place), pieces(archive_of(("t", b"s"), mtime=1_700_000_000.5)))
        assert int((place / "t").stat().st_mtime) == 1_700_000_000

    within(work)


@pytest.mark.parametrize("lacks", ["tar", "dd", "readlink", "sh"])
def test_an_image_without_a_program_is_told_in_one_sentence(tmp_path: Path, place: Path, lacks: str) -> None:
    """By its name. The shell of busybox has all of them in itself."""
    (place / "link").symlink_to(place)

    async def work() -> None:
        async with a_worker(tmp_path, without=(lacks,)) as engine:
            with pytest.raises(
                NotSupported, match=rf"^The image of {MACHINE} has no (shell )?{lacks}[ ,].*: add it\.$"
            ):
                await engine.write_files(MACHINE, f"{place}/link", pieces(archive_of(("note", b"s"))))

    asyncio.run(work())


def test_an_archive_comes_in_pieces_and_whoever_has_enough_can_stop(within: Callable[..., None], place: Path) -> None:
    """Nothing packs on then."""
    with (place / "big").open("wb") as big:
        big.truncate(64 * 1024 * 1024)

    async def work(engine: KubernetesEngine) -> None:
        async with aclosing(engine.read_files(MACHINE, f"{place}/big")) as archive:
            assert 0 < len(await anext(archive)) < 2_000_000
        assert not _packers_of("big")

    within(work)


def _packers_of(name: str) -> list[Path]:
    """The processes that pack a file of this name."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"-cf\0-\0--\0{name}".encode() in each.read_bytes():
                found.append(each)
    return found


def test_what_the_source_of_an_archive_raises_reaches_the_caller(within: Callable[..., None], place: Path) -> None:
    """It is no fault of the worker's."""

    async def broken() -> AsyncIterator[bytes]:
        async for piece in pieces(archive_of(("note", os.urandom(300_000)))):
            yield piece
            raise ValueError("hung up")

    async def work(engine: KubernetesEngine) -> None:
        with pytest.raises(ValueError, match="hung up"):
            await engine.write_files(MACHINE, str(place), broken())

    within(work)
