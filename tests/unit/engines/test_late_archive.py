"""What a running worker is given: the order, whom it belongs to, and that each program that reads it sees what was meant."""

from __future__ import annotations

import io
import os
import random
import subprocess
import tarfile
from pathlib import Path

import msgspec
import pytest

from worker_orchestrator.engines.extras import LateValues
from worker_orchestrator.engines.late_archive import NAMES, late_archive, may_be_too_large, survives_umask
from worker_orchestrator.errors import InvalidInput

ENV = {"PLAIN": "a", "QUOTED": """it's "$HOME" `id` \\ \n\t!""", "EMPTY": "", "WIDE": "Zoë 漢"}
SECRETS = {"token": "s3cr3t\n", "db.password": "p w"}
LONG = "f" * 90 + "/" + "g" * 90


def files_of(*entries: tuple[str, bytes, bytes | str], mode: int = 0o640) -> bytes:
    """An archive of these: name, kind, and content or target."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, kind, content in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.mtime = kind, mode, 1_600_000_000
            if isinstance(content, bytes):
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
            else:
                entry.linkname = content
                archive.addfile(entry)
    return held.getvalue()


FILES = files_of(
    ("./", tarfile.DIRTYPE, b""),
    ("./conf/app.toml", tarfile.REGTYPE, b"x" * 10_000),
    ("./conf/now", tarfile.SYMTYPE, "app.toml"),
    (LONG, tarfile.REGTYPE, b"long"),
    ("Zoë", tarfile.REGTYPE, b"wide"),
)


def packed(values: LateValues, *, anew: bool = False) -> bytes:
    return late_archive(values, (1000, 100), 1_700_000_000, anew=anew)


def entries(values: LateValues, *, anew: bool = False) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(packed(values, anew=anew))) as archive:
        return archive.getmembers()


def test_ready_comes_last_and_all_of_it_is_the_workers() -> None:
    found = entries(LateValues(ENV, SECRETS, FILES))
    assert [entry.name for entry in found] == [
        "env", "env.json", "secrets", "secrets/token", "secrets/db.password", "files", "files/conf",
        "files/conf/app.toml", "files/conf/now", f"files/{'f' * 90}", f"files/{LONG}", "files/Zoë", "ready",
    ]  # fmt: skip
    assert {(entry.uid, entry.gid) for entry in found} == {(1000, 100)}
    assert {entry.name.partition("/")[0] for entry in found} == set(NAMES)
    modes = {entry.name: entry.mode for entry in found}
    assert (modes["env"], modes["env.json"], modes["ready"]) == (0o400, 0o400, 0o444)
    assert (modes["secrets"], modes["secrets/token"]) == (0o700, 0o400)
    assert (modes["files"], modes["files/conf"], modes["files/conf/app.toml"]) == (0o755, 0o755, 0o640)
    times = {entry.name: entry.mtime for entry in found}
    assert (times["ready"], times["files/conf/app.toml"]) == (1_700_000_000, 1_600_000_000)


def test_without_values_everything_is_there_and_empty() -> None:
    assert [entry.name for entry in entries(LateValues({}, {}))] == ["env", "env.json", "secrets", "files", "ready"]


def test_anew_all_that_was_there_is_removed_before_anything_comes() -> None:
    found = [(entry.name, entry.type) for entry in entries(LateValues({}, {"a": "b"}), anew=True)]
    assert found[:3] == [("ready", tarfile.SYMTYPE), ("secrets", tarfile.REGTYPE), ("files", tarfile.REGTYPE)]
    assert found[3:] == [
        ("env", tarfile.REGTYPE), ("env.json", tarfile.REGTYPE), ("secrets", tarfile.DIRTYPE),
        ("secrets/a", tarfile.REGTYPE), ("files", tarfile.DIRTYPE), ("ready", tarfile.REGTYPE),
    ]  # fmt: skip


def test_a_shell_reads_each_variable_as_it_was_meant(tmp_path: Path) -> None:
    chance = random.Random(1)
    odd = "".join(map(chr, [*range(1, 127), 0x85, 0xA0, 0x2028]))
    env = {**ENV, **{f"N{n}": "".join(chance.choices(odd, k=30)) for n in range(30)}, "ALL": odd, "ENDS": "a\n\n"}
    unpack(packed(LateValues(env, {})), tmp_path)
    show = "; ".join(f"printf '%s\\0' \"${name}\"" for name in env)
    said = subprocess.run(
        ["sh", "-c", f"set -eu; . ./env; {show}"], cwd=tmp_path, capture_output=True, check=True, env={"LC_ALL": "C"}
    )
    assert said.stdout.decode().split("\0")[:-1] == list(env.values())
    assert msgspec.json.decode((tmp_path / "env.json").read_bytes()) == env


def test_tar_unpacks_what_was_meant(tmp_path: Path) -> None:
    """Long names, names that are not ASCII, links, large and empty files. (`test_late_values` has busybox do it.)"""
    archive = packed(LateValues(ENV, SECRETS, FILES))
    unpack(archive, tmp_path)
    with tarfile.open(fileobj=io.BytesIO(archive)) as meant:
        names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
        assert names == set(meant.getnames())
        for entry in meant:
            found = tmp_path / entry.name
            assert (found.is_symlink(), found.is_dir()) == (entry.issym(), entry.isdir()), entry.name
            content = meant.extractfile(entry) if entry.isreg() else None
            if content is not None:
                assert (found.stat().st_mode & 0o777, found.read_bytes()) == (entry.mode, content.read()), entry.name
    assert (tmp_path / "files" / "conf" / "now").read_bytes() == b"x" * 10_000


def unpack(archive: bytes, folder: Path) -> None:
    subprocess.run(["tar", "-x", "-o", "-p", "-f", "-", "-C", str(folder)], input=archive, check=True)


@pytest.mark.parametrize(
    ("name", "kind", "content"),
    [
        ("/etc/passwd", tarfile.REGTYPE, b""),
        ("a/../../b", tarfile.REGTYPE, b""),
        ("..", tarfile.DIRTYPE, b""),
        ("up", tarfile.SYMTYPE, "../up"),
        ("etc", tarfile.SYMTYPE, "/etc"),
        ("none", tarfile.SYMTYPE, ""),
        ("hard", tarfile.LNKTYPE, "env"),
        ("pipe", tarfile.FIFOTYPE, ""),
        ("disk", tarfile.BLKTYPE, ""),
    ],
)
def test_what_leads_elsewhere_is_refused(name: str, kind: bytes, content: bytes | str) -> None:
    with pytest.raises(InvalidInput, match=r"^An entry of files ") as refused:
        packed(LateValues({}, {}, files_of((name, kind, content))))
    assert "passwd" not in refused.value.message, "names are not told"


def test_a_link_that_stands_in_the_way_of_another_entry_is_replaced_by_a_folder() -> None:
    twice = files_of(("a", tarfile.SYMTYPE, "b"), ("a/c", tarfile.REGTYPE, b"c"))
    found = [(entry.name, entry.isdir()) for entry in entries(LateValues({}, {}, twice)) if "/" in entry.name]
    assert found == [("files/a", False), ("files/a", True), ("files/a/c", False)]


def test_a_file_that_would_remove_a_folder_with_what_is_in_it_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"has the path of a folder that is in it too\.$"):
        packed(LateValues({}, {}, files_of(("a/b", tarfile.REGTYPE, b""), ("a", tarfile.REGTYPE, b""))))


def test_no_rights_beyond_those_of_the_files_are_given() -> None:
    program = files_of(("a", tarfile.REGTYPE, b""), mode=0o6755)
    assert next(entry.mode for entry in entries(LateValues({}, {}, program)) if entry.name == "files/a") == 0o755


@pytest.mark.parametrize("cut", [1, 511, 700, 1500])
def test_half_an_archive_is_refused(cut: int) -> None:
    with pytest.raises(InvalidInput, match=r"^files is not a whole tar archive"):
        packed(LateValues({}, {}, files_of(("a", tarfile.REGTYPE, os.urandom(2000)))[:cut]))


def test_a_file_of_holes_is_refused(tmp_path: Path) -> None:
    """A few bytes would become a terabyte."""
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(2**40)
    sparse = subprocess.run(["tar", "-c", "-S", "-C", str(tmp_path), "holes"], capture_output=True, check=True).stdout
    assert len(sparse) < 20_000
    with pytest.raises(InvalidInput, match="neither a file, nor a folder"):
        packed(LateValues({}, {}, sparse))


def test_more_than_there_is_memory_for_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"^These values do not fit into the 16 MiB of memory"):
        packed(LateValues({f"N{n}": "x" * 65_536 for n in range(120)}, {}))


def test_a_value_that_is_no_text_is_named_and_not_shown() -> None:
    for values in (LateValues({"A": "x\ud800"}, {}), LateValues({}, {"A": "x\ud800"})):
        with pytest.raises(InvalidInput, match=r"^The value of (env|secret) A is no text"):
            packed(values)


def test_values_have_no_repr() -> None:
    assert "s3cr3t" not in repr(LateValues(ENV, SECRETS, FILES))


def test_whether_values_may_be_too_large_is_known_without_packing_them() -> None:
    """What is not suspected always fits."""
    assert not may_be_too_large(
        LateValues({"A": "b"}, {"s": "x" * 65536}, files_of(("a", tarfile.REGTYPE, b"x" * 900_000)))
    )
    large = LateValues({f"N{number}": "'" * 65536 for number in range(50)}, {})
    assert may_be_too_large(large)
    with pytest.raises(InvalidInput):
        packed(large)


@pytest.mark.parametrize(
    ("kind", "mode", "survives"),
    [
        (tarfile.REGTYPE, 0o755, True),
        (tarfile.REGTYPE, 0o664, False),
        (tarfile.REGTYPE, 0o602, False),
        (tarfile.DIRTYPE, 0o755, True),
        (tarfile.DIRTYPE, 0o775, False),
        (tarfile.SYMTYPE, 0o777, True),
    ],
)
def test_it_is_known_whether_others_may_write_to_something(kind: bytes, mode: int, *, survives: bool) -> None:
    """Wherever that is in the archive: after long names, and after contents of any length."""
    for name, before in (("x", 0), ("n" * 150, 1), ("x", 512), ("x", 513)):
        held = io.BytesIO()
        with tarfile.open(fileobj=held, mode="w") as archive:
            first, entry = tarfile.TarInfo("a"), tarfile.TarInfo(name)
            first.size, entry.type, entry.mode, entry.linkname = before, kind, mode, "a"
            archive.addfile(first, io.BytesIO(b"\7" * before))
            archive.addfile(entry)
            archive.addfile(tarfile.TarInfo("z"))
        made = late_archive(LateValues({"A": "b"}, {"s": "t" * 600}, held.getvalue()), (1, 1), 0, anew=True)
        assert survives_umask(made) is survives
