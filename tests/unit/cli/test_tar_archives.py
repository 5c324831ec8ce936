"""What `cp` makes of an archive: the right names in the right places, and nothing of a stranger's outside of the target."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from worker_orchestrator.cli.exit_codes import CommandFailed
from worker_orchestrator.cli.tar_archives import CountingFile, IterableFile, packed_archive, unpack_archive


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
    return unpack_archive(IterableFile(in_parts(data)), target, only_content=only_content, as_folder=as_folder)


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
        (("app/../../out", b"x"), "it would be written outside of the target"),
        (("app/link", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}), "a link that leads out of what is copied"),
        (("app/link", {"type": tarfile.SYMTYPE, "linkname": "../../out"}), "a link that leads out of what is copied"),
        (
            ("app/link", {"type": tarfile.SYMTYPE, "linkname": "none/../../../out"}),
            "a link that leads out of what is copied",
        ),
        (("app/link", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"}), "out"),
        (("app/link", {"type": tarfile.LNKTYPE, "linkname": "app/none"}), "it is a link to a file that was left out"),
        (("app/link", {"type": tarfile.SYMTYPE, "linkname": "a/" * 3000}), "it cannot have that name here ("),
        (("app/fifo", {"type": tarfile.FIFOTYPE}), "it is not a file, folder or link"),
        (("app/disk", {"type": tarfile.BLKTYPE}), "it is not a file, folder or link"),
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
def test_what_was_there_is_replaced_and_not_written_through(tmp_path: Path, *, there: bool) -> None:
    """A link that leads out, also where it leads to nothing yet; and another name of the same file."""
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    if there:
        (outside / "x").write_bytes(b"old")
    (inside / "a").symlink_to(outside / "x")
    (inside / "b").write_bytes(b"b")
    (inside / "c").hardlink_to(inside / "b")
    assert taken_out(archive(("a", b"new"), ("c", b"c")), inside) == []
    assert [(inside / name).read_bytes() for name in "abc"] == [b"new", b"b", b"c"]
    assert not (inside / "a").is_symlink()
    assert names(outside) == ["x"] * there
    assert not there or (outside / "x").read_bytes() == b"old"


def test_a_second_copy_does_not_write_through_links_of_the_first(tmp_path: Path) -> None:
    links = [("b", {"type": tarfile.LNKTYPE, "linkname": "a"}), ("s", {"type": tarfile.SYMTYPE, "linkname": "a"})]
    assert taken_out(archive(("a", b"1"), *links), tmp_path) == []
    assert taken_out(archive(("a", b"2"), ("b", b"3"), ("s", b"4")), tmp_path) == []
    assert [(tmp_path / name).read_bytes() for name in "abs"] == [b"2", b"3", b"4"]


def test_links_that_stay_inside_are_kept(tmp_path: Path) -> None:
    """To what is there, to what comes later, and in a circle."""
    links = {"app/sub/up": "../a", "app/later": "sub/new/file", "app/round": "./round", "app/d/l": "../../app/a"}
    entries = [(name, {"type": tarfile.SYMTYPE, "linkname": to}) for name, to in links.items()]
    whole = archive(("app", None), ("app/a", b"a"), ("app/sub", None), *entries, ("app/sub/x", b"x"))
    for target, only_content in (("", False), ("new", False), ("old", True)):
        (tmp_path / "old").mkdir(exist_ok=True)
        renamed = {f"{target or 'app'}/{name.removeprefix('app/')}": to for name, to in links.items()}
        left_out = taken_out(whole, tmp_path / target, only_content=only_content)
        if target:  # whose folder app is not copied
            assert left_out == ["app/d/l: it is a link that leads out of what is copied"]
            del renamed[f"{target}/d/l"]
        else:
            assert left_out == []
        assert {name: os.readlink(tmp_path / name) for name in renamed} == renamed  # noqa: PTH115 # as it is written
        assert (tmp_path / (target or "app") / "sub/up").read_bytes() == b"a"


@pytest.mark.parametrize(
    "entries",
    [
        [("app", None), ("app/d", {"type": tarfile.SYMTYPE, "linkname": "."}), ("app/d/x", b"x")],
        [("app", {"type": tarfile.SYMTYPE, "linkname": "other"}), ("app/x", b"x")],
        [("app", None), ("app", {"type": tarfile.SYMTYPE, "linkname": "other"})],
        [("app", None), ("app/../x", b"x")],
        [("app", None), ("app/..", None)],
        [("app", b"file"), ("app/x", b"x")],
        [("app", None), ("app/h", {"type": tarfile.LNKTYPE, "linkname": "app/../x"}), ("app/h", b"x")],
        [("app", None), ("app/h", {"type": tarfile.LNKTYPE, "linkname": "app"})],
        [
            ("app", None),
            ("app/d", {"type": tarfile.SYMTYPE, "linkname": "."}),
            ("app/x", {"type": tarfile.SYMTYPE, "linkname": "d/../../x"}),
        ],
        [
            ("app", None),
            ("app/d", None),
            ("app/d/l", {"type": tarfile.SYMTYPE, "linkname": "../x"}),
            ("app/l", {"type": tarfile.LNKTYPE, "linkname": "app/d/l"}),
        ],
        [("app", None), ("app/x\0y", b"x")],
    ],
)
@pytest.mark.parametrize("target", ["", "new", "old"])
def test_what_lies_beside_the_target_stays_as_it_is(
    tmp_path: Path, entries: list[tuple[str, Any]], target: str
) -> None:
    inside = tmp_path / "inside"
    (inside / "other").mkdir(parents=True)
    (inside / "old").mkdir()
    (inside / "x").write_bytes(b"mine")
    place = inside / (target or "app")
    taken_out(archive(*entries), inside / target, only_content=target == "old")
    assert (inside / "x").read_bytes() == b"mine"
    assert names(inside / "other") == []
    assert names(tmp_path)[0] == "inside"
    assert {path.name for path in inside.iterdir()} <= {"other", "old", "x", place.name}
    for path in place.rglob("*"):
        assert path.resolve().is_relative_to(place.resolve()), f"{path} leads out"


@pytest.mark.parametrize("name", [".", "./", "/"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.REGTYPE])
def test_nothing_takes_the_place_of_the_target(tmp_path: Path, name: str, kind: bytes) -> None:
    """Which may be a link of the user's own."""
    for folder in ("there", "secret"):
        (tmp_path / folder).mkdir()
    (tmp_path / "target").symlink_to("there")
    whole = archive((name, {"type": kind, "linkname": "secret"}), ("./f", b"f"))
    for only_content in (False, True):
        assert len(taken_out(whole, tmp_path / "target", only_content=only_content)) <= 1
    assert os.readlink(tmp_path / "target") == "there"  # noqa: PTH115
    assert names(tmp_path / "secret") == []
    assert (tmp_path / "there" / "f").read_bytes() == b"f"


def test_folders_that_are_there_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    for path in (tmp_path / "home", tmp_path / "home" / ".ssh"):
        path.chmod(0o700)
        os.chown(path, 1234, 1234)
    whole = archive(("./", None), ("./.ssh", None), ("./.ssh/x", b"x"), ("./new", None))
    for only_content in (True, False):
        assert taken_out(whole, tmp_path / "home", only_content=only_content) == []
    for path in (tmp_path / "home", tmp_path / "home" / ".ssh"):
        assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_uid) == (0o700, 1234)
    assert stat.S_IMODE((tmp_path / "home" / "new").stat().st_mode) == 0o755


def test_a_hard_link_to_itself_or_again_loses_nothing(tmp_path: Path) -> None:
    """As `tar cf x.tar a a` packs it."""
    link = {"type": tarfile.LNKTYPE, "linkname": "a"}
    assert taken_out(archive(("a", b"1"), ("a", link), ("b", link), ("b", link)), tmp_path) == []
    assert [(tmp_path / name).read_bytes() for name in "ab"] == [b"1", b"1"]
    assert (tmp_path / "a").samefile(tmp_path / "b")


def test_where_there_are_no_hard_links_the_file_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path, _target: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    link = {"type": tarfile.LNKTYPE, "linkname": "a"}
    assert taken_out(archive(("a", b"1"), ("b", link)), tmp_path) == []
    assert (tmp_path / "b").read_bytes() == b"1"


def test_what_has_the_name_of_a_folder_is_left_out(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
    (tmp_path / "d").write_bytes(b"d")
    (tmp_path / "e").symlink_to("a")
    entries = [("a", {"type": tarfile.SYMTYPE, "linkname": "x"}), ("b", b"b"), ("d/x", b"x"), ("e", None), ("x", b"x")]
    assert taken_out(archive(*entries, ("c", {"type": tarfile.LNKTYPE, "linkname": "x"})), tmp_path) == [
        "a: a folder has its name",
        "b: a folder has its name",
        "d/x: its folder is a file here",
        "e: a link has its name",
        "c: a folder has its name",
    ]
    assert (tmp_path / "d").read_bytes() == b"d"


@pytest.mark.parametrize("mtime", [float("nan"), 1e300, -1e300])
def test_a_time_that_is_none_is_not_set(tmp_path: Path, mtime: float) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as made:
        entry = tarfile.TarInfo("a")
        entry.pax_headers = {"mtime": str(mtime)}
        made.addfile(entry)
    assert taken_out(file.getvalue(), tmp_path) == []
    assert names(tmp_path) == ["a"]


def test_a_file_keeps_its_time(tmp_path: Path) -> None:
    taken_out(archive(("a", {"mtime": 1_000_000})), tmp_path)
    assert (tmp_path / "a").stat().st_mtime == 1_000_000


def test_a_long_way_and_a_chain_of_links_are_no_trouble(tmp_path: Path) -> None:
    deep = "/".join("d" * 1500)
    chain = [(f"l{number}", {"type": tarfile.SYMTYPE, "linkname": f"l{number + 1}"}) for number in range(1500)]
    try:
        assert taken_out(archive((f"{deep}/x", b"x"), *chain), tmp_path) == []
        assert (tmp_path / deep / "x").read_bytes() == b"x"
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # too deep for pytest to take away


def test_a_file_that_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(CommandFailed, match="complete tar archive"):
        taken_out(archive(("a", b"n" * 5000))[:3000], tmp_path)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


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
    with pytest.raises(CommandFailed, match=r"There is no folder .*none. Make it first"):
        taken_out(FOLDER, tmp_path / target, as_folder=as_folder)


def test_an_archive_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="complete tar archive"):
        taken_out(FOLDER[:3000], tmp_path)


def test_what_is_packed_begins_with_the_name_and_belongs_to_root(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("a")
    with packed_archive(tmp_path / "sub", "app", keep_owner=False) as (file, size), tarfile.open(fileobj=file) as made:
        assert made.getnames() == ["app", "app/a.txt"]
        assert {(entry.uid, entry.gid, entry.uname) for entry in made} == {(0, 0, "")}
        assert size % tarfile.BLOCKSIZE == 0


def test_what_is_read_is_counted() -> None:
    seen: list[int] = []
    counted = CountingFile(io.BytesIO(b"x" * 100_000), seen.append)
    assert len(io.BufferedReader(counted).read()) == sum(seen) == 100_000
    assert counted.seek(0) == 0
