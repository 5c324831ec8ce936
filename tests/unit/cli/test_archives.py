"""What `cp` makes of an archive: the right names in the right places, and nothing of a stranger's outside of the target."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from worker_orchestrator.cli.archives import Counted, Stream, packed, unpack
from worker_orchestrator.cli.failed import Failed


def archive(*entries: tuple[str, Any]) -> bytes:
    """Files (bytes), folders (None) and other entries (TarInfo fields)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            entry.mode = 0o755 if content is None else 0o640
            if content is None:
                entry.type = tarfile.DIRTYPE
            elif isinstance(content, bytes):
                entry.size = len(content)
            else:
                for field, value in content.items():
                    setattr(entry, field, value)
            made.addfile(entry, io.BytesIO(content) if isinstance(content, bytes) else None)
    return file.getvalue()


def in_parts(data: bytes, size: int = 700) -> Iterator[bytes]:
    yield from (data[place : place + size] for place in range(0, len(data), size))


def taken_out(data: bytes, target: Path, *, only_content: bool = False, as_folder: bool = False) -> list[str]:
    return unpack(Stream(in_parts(data)), target, only_content=only_content, as_folder=as_folder)


FOLDER = archive(("app", None), ("app/a.txt", b"a"), ("app/sub", None), ("app/sub/b.txt", b"b" * 5000))


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_folder_is_put_into_one_that_exists(tmp_path: Path) -> None:
    assert taken_out(FOLDER, tmp_path) == []
    assert names(tmp_path) == ["app", "app/a.txt", "app/sub", "app/sub/b.txt"]
    assert (tmp_path / "app/sub/b.txt").read_bytes() == b"b" * 5000


def test_a_folder_gets_the_name_that_is_free(tmp_path: Path) -> None:
    assert taken_out(FOLDER, tmp_path / "other") == []
    assert names(tmp_path) == ["other", "other/a.txt", "other/sub", "other/sub/b.txt"]


def test_the_content_of_a_folder_is_put_into_one_that_exists(tmp_path: Path) -> None:
    assert taken_out(FOLDER, tmp_path, only_content=True) == []
    assert names(tmp_path) == ["a.txt", "sub", "sub/b.txt"]


def test_a_file_gets_the_name_or_goes_into_the_folder(tmp_path: Path) -> None:
    one = archive(("a.txt", b"one"))
    taken_out(one, tmp_path)
    taken_out(one, tmp_path / "b.txt")
    assert (tmp_path / "a.txt").read_bytes() == (tmp_path / "b.txt").read_bytes() == b"one"
    assert stat.S_IMODE((tmp_path / "b.txt").stat().st_mode) & 0o700 == 0o600


def test_a_hard_link_leads_to_its_file_under_its_new_name(tmp_path: Path) -> None:
    linked = archive(("app", None), ("app/a", b"same"), ("app/b", {"type": tarfile.LNKTYPE, "linkname": "app/a"}))
    for target, only_content, place in (
        (tmp_path / "new", False, "new/b"),
        (tmp_path, True, "b"),
        (tmp_path, False, "app/b"),
    ):
        assert taken_out(linked, target, only_content=only_content) == []
        assert (tmp_path / place).read_bytes() == b"same"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (("app/../../out", b"x"), "it would land outside of the target"),
        (("app/link", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}), "a link that leads out of what is copied"),
        (("app/link", {"type": tarfile.SYMTYPE, "linkname": "../../out"}), "a link that leads out of what is copied"),
        (
            ("app/link", {"type": tarfile.SYMTYPE, "linkname": "none/../../../out"}),
            "a link that leads out of what is copied",
        ),
        (("app/link", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"}), "out"),
        (("app/link", {"type": tarfile.LNKTYPE, "linkname": "app/none"}), "it is a link to a file that was left out"),
        (("app/link", {"type": tarfile.SYMTYPE, "linkname": "a/" * 3000}), "where it leads cannot be told"),
        (("app/fifo", {"type": tarfile.FIFOTYPE}), "it is no file, folder or link"),
        (("app/disk", {"type": tarfile.BLKTYPE}), "it is no file, folder or link"),
    ],
)
@pytest.mark.parametrize("name", ["", "other"])
def test_what_a_stranger_made_stays_inside_of_the_target(
    tmp_path: Path, entry: tuple[str, Any], said: str, name: str
) -> None:
    """It is left out and named, and the rest is copied."""
    inside = tmp_path / "inside"
    inside.mkdir()
    (left_out,) = taken_out(archive(("app", None), entry, ("app/last", b"l")), inside / name)
    assert said in left_out
    assert (inside / (name or "app") / "last").exists()
    assert names(tmp_path) == sorted(["inside", f"inside/{name or 'app'}", f"inside/{name or 'app'}/last"])


def test_nothing_is_written_through_a_link_that_the_archive_brought(tmp_path: Path) -> None:
    """Two entries: a link to a folder outside, and a file behind it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "inside").mkdir()
    link = {"type": tarfile.SYMTYPE, "linkname": "../../outside"}
    left_out = taken_out(archive(("app", None), ("app/d", link), ("app/d/x", b"x")), tmp_path / "inside")
    assert "app/d: " in left_out[0]
    assert names(tmp_path / "outside") == []


def test_a_name_too_long_for_the_system_leads_nowhere(tmp_path: Path) -> None:
    """A way to it through many links, each sound, once let Python's own check pass what it could not follow."""
    name = "d" * 250
    steps: list[tuple[str, Any]] = []
    inside = ""
    for letter in "abcdefghijklmnop":
        steps += [(f"{inside}{name}", None), (f"{inside}{letter}", {"type": tarfile.SYMTYPE, "linkname": name})]
        inside += f"{name}/"
    far = "/".join("abcdefghijklmnop") + "/l" * 100
    out = [
        (far, {"type": tarfile.SYMTYPE, "linkname": "../" * 16}),
        ("out", {"type": tarfile.SYMTYPE, "linkname": far + "/../.."}),
    ]
    (tmp_path / "inside").mkdir()
    taken_out(archive(*steps, *out, ("out/x", b"x")), tmp_path / "inside")
    assert names(tmp_path)[0] == "inside"
    assert all(name.startswith("inside") for name in names(tmp_path))


@pytest.mark.parametrize("there", [True, False])
def test_nothing_is_written_through_a_link_that_was_there(tmp_path: Path, *, there: bool) -> None:
    """Also where it leads to nothing yet."""
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    if there:
        (outside / "x").write_bytes(b"old")
    (inside / "a").symlink_to("b")
    (inside / "b").symlink_to(outside / "x")
    assert taken_out(archive(("a", b"new")), inside) == ["a: it would land outside of the target"]
    assert (outside / "x").exists() == there
    assert not there or (outside / "x").read_bytes() == b"old"


def test_links_that_stay_inside_are_kept(tmp_path: Path) -> None:
    """To what is there, to what comes later, and in a circle."""
    links = {"app/sub/up": "../a", "app/later": "sub/new/file", "app/round": "sub/../sub"}
    entries = [(name, {"type": tarfile.SYMTYPE, "linkname": to}) for name, to in links.items()]
    whole = archive(("app", None), ("app/a", b"a"), ("app/sub", None), *entries, ("app/round/x", b"x"))
    assert taken_out(whole, tmp_path) == []
    assert {name: str((tmp_path / name).readlink()) for name in links} == links
    assert (tmp_path / "app/sub/x").read_bytes() == b"x"
    assert (tmp_path / "app/sub/up").read_bytes() == b"a"


def test_a_link_in_a_circle_is_left_out(tmp_path: Path) -> None:
    link = {"type": tarfile.SYMTYPE, "linkname": "b"}
    back = {"type": tarfile.SYMTYPE, "linkname": "a"}
    (left_out,) = taken_out(archive(("a", link), ("b", back), ("a/x", b"x")), tmp_path)
    assert left_out.startswith("a/x: where it leads cannot be told")


def test_a_link_that_cannot_be_made_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    link = archive(("a", {"type": tarfile.SYMTYPE, "linkname": "b"}), ("b", b"b"))
    (left_out,) = taken_out(link, tmp_path)
    assert left_out.startswith("a: no such link can be made here (")
    assert (tmp_path / "b").read_bytes() == b"b"


def test_modes_are_kept_as_far_as_they_are_harmless(tmp_path: Path) -> None:
    modes = {"run": (0o755, 0o755), "odd": (0o477, 0o600 | 0o044), "none": (0, 0o600)}
    taken_out(archive(*((name, {"mode": given}) for name, (given, _) in modes.items())), tmp_path)
    assert {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in modes} == {
        name: kept for name, (_, kept) in modes.items()
    }


def test_no_file_gets_a_setuid_bit_or_another_owner(tmp_path: Path) -> None:
    taken_out(archive(("a", {"mode": 0o4777, "uid": 12345})), tmp_path)
    found = (tmp_path / "a").stat()
    assert found.st_mode & (stat.S_ISUID | stat.S_IWOTH | stat.S_IWGRP) == 0
    assert found.st_uid == os.getuid()


@pytest.mark.parametrize(("target", "as_folder"), [("none/a", False), ("none/", True)])
def test_a_target_without_its_folder_is_refused(tmp_path: Path, target: str, *, as_folder: bool) -> None:
    with pytest.raises(Failed, match=r"There is no folder .*none: make it first"):
        taken_out(FOLDER, tmp_path / target, as_folder=as_folder)


def test_an_archive_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="no whole tar archive"):
        taken_out(FOLDER[:3000], tmp_path)


def test_what_is_packed_begins_with_the_name_and_belongs_to_root(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("a")
    with packed(tmp_path / "sub", "app", keep_owner=False) as (file, size), tarfile.open(fileobj=file) as made:
        assert made.getnames() == ["app", "app/a.txt"]
        assert {(entry.uid, entry.gid, entry.uname) for entry in made} == {(0, 0, "")}
        assert size % tarfile.BLOCKSIZE == 0


def test_what_is_read_is_counted() -> None:
    seen: list[int] = []
    counted = Counted(io.BytesIO(b"x" * 100_000), seen.append)
    assert len(io.BufferedReader(counted).read()) == sum(seen) == 100_000
    assert counted.seek(0) == 0
