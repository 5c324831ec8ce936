"""Values that an assign brings: what is taken, what is refused, and that no value is ever in what is said of it."""

from __future__ import annotations

import asyncio
import io
import json
import random
import struct
import tarfile
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest
from starlette.requests import Request

from worker_orchestrator.engines.extras import LateValues
from worker_orchestrator.errors import InvalidInput
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.late_archive import ENTRIES, FILES_BYTES, checked_archive
from worker_orchestrator.http.v1.late_values import FilesTooLargeError, late_values
from worker_orchestrator.wire.v1 import AssignBody

SECRET = "hunter2-hunter2"
Change = Callable[[tarfile.TarInfo], None]


def taken(**body: Any) -> LateValues | None:
    return asyncio.run(late_values(AssignBody(**body)))


def refused(**body: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        taken(**body)
    assert SECRET not in str(caught.value)
    return caught.value.message


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", **more: Any) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    for key, value in more.items():
        setattr(made, key, value)
    return made


def packed(*entries: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for one in entries:
            made, content = one if isinstance(one, tuple) else (one, b"")
            made.size = len(content)
            archive.addfile(made, io.BytesIO(content))
    return file.getvalue()


def listed(archive: bytes) -> list[tuple[str, bytes, int, str]]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return [(one.name, one.type, one.mode, one.linkname) for one in opened]


def wrong(*entries: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]) -> str:
    with pytest.raises(InvalidInput) as caught:
        checked_archive(packed(*entries))
    return caught.value.message


# env and secrets


def test_an_assign_without_values_brings_none() -> None:
    assert taken() is None
    assert taken(pool="default", replace=False) is None


def test_values_are_taken_as_they_are() -> None:
    found = taken(env={"A": "1 2\n", "_b9": "ä"}, secrets={"db.key-1": SECRET, "..a": ""})
    assert found is not None
    assert (found.env, found.secrets, found.files) == ({"A": "1 2\n", "_b9": "ä"}, {"db.key-1": SECRET, "..a": ""}, b"")


@pytest.mark.parametrize("body", [{"env": {}}, {"secrets": {}}, {"files": ""}])
def test_values_may_be_empty(body: Mapping[str, Any]) -> None:
    """They are values all the same: the hook runs."""
    found = taken(**body)
    assert found is not None
    assert (found.env, found.secrets, found.files) == ({}, {}, b"")


def test_nothing_to_replace_with_is_refused() -> None:
    assert "replace is true, but neither env, secrets nor files" in refused(replace=True)


@pytest.mark.parametrize("name", ["", "1A", "A B", "A-B", "A=B", SECRET, "ä", "A" * 129, "A\n"])
def test_names_of_variables_that_are_refused_are_not_shown(name: str) -> None:
    assert refused(env={"A": "1", name: SECRET}) == (
        "The name of entry 2 of env is not allowed: a name has 1 to 128 letters, digits and _, and does not begin with a "
        "digit. It is not shown here."
    )


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "ä", "a" * 129, "a\n", f"{SECRET}!"])
def test_names_of_secrets_that_are_refused_are_not_shown(name: str) -> None:
    assert refused(secrets={name: SECRET}).startswith(
        "The name of entry 1 of secrets is not allowed: a name has 1 to 128 "
    )


@pytest.mark.parametrize("value", [f"{SECRET}\0", SECRET * 5000, "ä" * 32769], ids=["NUL", "long", "long in bytes"])
@pytest.mark.parametrize("kind", ["env", "secrets"])
def test_values_that_are_refused_are_not_shown(kind: str, value: str) -> None:
    assert refused(**{kind: {"KEY": value}}) == (
        f"The value of KEY in {kind} is too long, or contains NUL. It may have 65536 bytes of UTF-8."
    )


def test_values_may_have_64_kib_and_there_may_be_so_many() -> None:
    assert taken(env={f"A{n}": "" for n in range(256)}, secrets={f"A{n}": "" for n in range(64)}) is not None
    assert taken(env={"A": "a" * 65536}, secrets={"A": "ä" * 32768}) is not None
    assert refused(env={f"A{n}": "" for n in range(257)}) == "env has 257 entries, but may have 256 at most."
    assert refused(secrets={f"A{n}": "" for n in range(65)}) == "secrets has 65 entries, but may have 64 at most."


def body_of(sent: bytes) -> AssignBody:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": sent, "more_body": False}

    return asyncio.run(parameters.body(Request({"type": "http", "headers": []}, receive), AssignBody))


@pytest.mark.parametrize(
    "sent",
    [
        f'{{"env": {{"A": ["{SECRET}"]}}}}',
        f'{{"env": {{"A": "{SECRET}}}}}',
        f'{{"env": "{SECRET}"}}',
        f'{{"secrets": ["{SECRET}"]}}',
        f'{{"secrets": {{"A": "{SECRET}\\ud800"}}}}',
        f'{{"secrets": {{"A": "{SECRET}\\x"}}}}',
        f'{{"secrets": {{"A": "{SECRET}\n"}}}}',
        f'{{"secrets": {{"{SECRET}": 5}}}}',
        f'{{"files": ["{SECRET}"]}}',
        f'{{"replace": "{SECRET}"}}',
        f'{{"secret": {{"A": "{SECRET}"}}}}',
        f'["{SECRET}"]',
        f'"{SECRET}"',
        SECRET,
    ],
)
def test_a_body_of_another_shape_is_refused_without_its_values(sent: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        body_of(sent.encode("utf-8", "surrogatepass"))
    assert SECRET not in caught.value.message


def test_no_byte_of_a_value_that_is_not_utf_8_is_shown() -> None:
    with pytest.raises(InvalidInput) as caught:
        body_of(b'{"secrets": {"A": "' + SECRET.encode() + b'\xff"}}')
    assert SECRET not in caught.value.message


def test_neither_the_body_nor_the_values_show_what_they_hold() -> None:
    body = AssignBody(secrets={"A": SECRET}, env={"B": SECRET}, files=SECRET)
    assert SECRET not in f"{body!r} {body} {[body]}"
    values = LateValues({"A": SECRET}, {"B": SECRET}, SECRET.encode())
    assert SECRET not in f"{values!r} {values} {[values]}"
    assert msgspec.json.decode(msgspec.json.encode(body), type=AssignBody) == body


# files


def test_files_are_base64_of_an_archive() -> None:
    archive = packed((entry("a"), b"content"))
    found = taken(files=b64encode(archive).decode())
    assert found is not None
    assert listed(found.files) == [("a", tarfile.REGTYPE, 0o644, "")]


@pytest.mark.parametrize("text", ["a", "abc", "ab=c", "é", "YQ==\n", "Y Q=="])
def test_what_is_not_base64_is_refused(text: str) -> None:
    assert refused(files=text) == "files is not base64, without line breaks, of a tar archive."


def test_an_archive_of_one_mebibyte_is_taken_and_one_more_byte_is_too_large() -> None:
    archive = packed((entry("a"), random.Random(1).randbytes(FILES_BYTES - 20480)))
    archive += bytes(FILES_BYTES - len(archive))
    assert taken(files=b64encode(archive).decode()) is not None
    for more in (1, 2, 3, 100_000):
        with pytest.raises(FilesTooLargeError, match=r"at most 1048576 bytes.*PUT /v1/machines/{id}/files"):
            taken(files=b64encode(archive + bytes(more)).decode())


def test_equal_files_make_equal_archives_whoever_packed_them() -> None:
    one = packed((entry("b/c", mode=0o4755, mtime=5, uid=7, uname="me"), b"x"), entry("a", tarfile.SYMTYPE, "b//c"))
    other = packed(
        entry(".", tarfile.DIRTYPE), entry("./a", tarfile.SYMTYPE, "b/c"), entry("./b", tarfile.DIRTYPE, mode=0o755),
        (entry("./b//c", mode=0o755, pax_headers={"comment": "hi", "mtime": "7.5"}), b"x"),
    )  # fmt: skip
    found = checked_archive(one)
    assert found == checked_archive(other) == checked_archive(found)
    assert listed(found) == [
        ("a", tarfile.SYMTYPE, 0o777, "b/c"), ("b", tarfile.DIRTYPE, 0o755, ""), ("b/c", tarfile.REGTYPE, 0o755, ""),
    ]  # fmt: skip


def test_no_files_are_no_archive() -> None:
    assert checked_archive(packed()) == b""
    assert checked_archive(packed(entry("./", tarfile.DIRTYPE))) == b""


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_and_names_that_are_no_text_are_kept(form: int) -> None:
    names = sorted(["a" * 255, "b" * 200 + "/" + "c" * 200, "\udcff"])
    found = listed(checked_archive(packed(*map(entry, names), form=form)))
    assert [name for name, kind, *_ in found if kind == tarfile.REGTYPE] == names


PATH = (
    "has a path that is not allowed: it must be relative, without .. and NUL, and have at most 1024 bytes and 32 names."
)
KIND = "is neither a file, a folder nor a symbolic link."
LEADS_OUT = "is a link that is absolute, or may lead out of the folder."


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "..", "../a", "a/../b", "a/..", "/", "//a", "a" * 256, "a/" * 600 + "a", "a/" * 32 + "a"]
)
def test_paths_that_are_refused(name: str) -> None:
    assert wrong(entry("ok"), entry(name)) == f"Entry 2 of the archive in files {PATH}"


def test_a_path_with_nul_is_refused() -> None:
    """Attributes may have one. Written again, the path would end there: it would not be the one that was checked."""
    assert wrong(entry("ok"), entry("a", pax_headers={"path": "b\0c"})) == f"Entry 2 of the archive in files {PATH}"


def test_a_file_needs_a_name() -> None:
    assert wrong(entry("./", tarfile.SYMTYPE, "a")) == "Entry 1 of the archive in files has no name."


@pytest.mark.parametrize(
    "kind", [tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE, b"V"]
)
def test_kinds_of_entries_that_are_refused(kind: bytes) -> None:
    assert wrong(entry("a", kind, "b")) == f"Entry 1 of the archive in files {KIND}"


def test_a_file_with_holes_is_refused() -> None:
    """It may be far larger than its archive."""
    sparse = {"GNU.sparse.map": "0,0,1099511627776,0", "GNU.sparse.size": "1099511627776"}
    assert wrong(entry("a", pax_headers=sparse)) == f"Entry 1 of the archive in files {KIND}"


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("a", "/etc/passwd"), ("a", ".."), ("a", "../b"), ("a/b", "../.."), ("a/b", "../../c"), ("a", "b/.."), ("a", ""),
        ("a", "b/../c"), ("a", "./.."), ("a", "//"), ("a", "b" * 2000),
    ],
)  # fmt: skip
def test_links_that_are_refused(name: str, target: str) -> None:
    """`b/..` too: if b is a link, that is not where b is."""
    assert wrong(entry(name, tarfile.SYMTYPE, target)) == f"Entry 1 of the archive in files {LEADS_OUT}"


@pytest.mark.parametrize(
    ("name", "target"), [("a", "b"), ("a", "."), ("a/b", ".."), ("a/b", "../c/d"), ("a/b/c", "../../d"), ("a", "..b")]
)
def test_links_that_are_taken(name: str, target: str) -> None:
    assert listed(checked_archive(packed(entry(name, tarfile.SYMTYPE, target))))[-1] == (
        name,
        tarfile.SYMTYPE,
        0o777,
        target,
    )


@pytest.mark.parametrize("first", [entry("a", tarfile.SYMTYPE, "b"), entry("a")], ids=["link", "file"])
def test_nothing_is_written_through_what_is_no_folder(first: tarfile.TarInfo) -> None:
    for entries in ((first, entry("a/x")), (entry("a/x"), first), (entry("a/b/x"), first)):
        assert wrong(*entries).startswith(("The archive in files has an entry below", "The archive in files has two"))


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE])
def test_one_path_twice_is_refused(kind: bytes) -> None:
    assert wrong(entry("a"), entry("b"), entry("./a", kind)).startswith(
        "The archive in files has two entries of one path"
    )
    assert listed(checked_archive(packed(entry("d", tarfile.DIRTYPE), entry("d", tarfile.DIRTYPE)))) != []


def test_there_may_be_so_many_entries_with_the_folders_that_they_are_in() -> None:
    assert len(listed(checked_archive(packed(*(entry(f"{n}") for n in range(ENTRIES)))))) == ENTRIES
    assert "more than 1000 entries" in wrong(*(entry(f"{n}") for n in range(ENTRIES + 1)))
    assert "more than 1000 entries" in wrong(*(entry(f"{n}/a/b/c") for n in range(ENTRIES // 4 + 1)))


@pytest.mark.parametrize("content", [b"x", b"x" * 512, b"PK\3\4" * 200, b"\x1f\x8b" * 600])
def test_what_is_no_tar_archive_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidInput, match="files is not a complete tar archive that is not compressed"):
        checked_archive(content)


def test_an_archive_that_was_cut_or_goes_on_otherwise_is_refused() -> None:
    whole = packed((entry("a"), b"x" * 3000), (entry("b"), b"y" * 3000), form=tarfile.GNU_FORMAT)
    blocks = whole.rstrip(b"\0")
    for size in (100, 512, 1000, 3583, 4000, len(blocks) - 600):
        with pytest.raises(InvalidInput, match="complete"):
            checked_archive(whole[:size])
    with pytest.raises(InvalidInput, match="complete"):
        checked_archive(whole[:3584] + b"garbage " * 64 + whole[3584:])


def test_random_damage_is_refused_or_harmless() -> None:
    """Whatever is in it, it ends with a sentence or with entries that were checked."""
    source = packed(
        (entry("a/b", mode=0o755), b"x" * 700), entry("l", tarfile.SYMTYPE, "a"), entry("d", tarfile.DIRTYPE)
    )
    chance = random.Random(21)
    for _ in range(400):
        damaged = bytearray(source)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(2048)] = chance.randrange(256)
        try:
            found = checked_archive(bytes(damaged))
        except InvalidInput:
            continue
        assert checked_archive(found) == found


def header(kind: bytes, size: int = 0, *, goes_on: bool = False) -> bytes:
    """A header of 512 bytes by hand. `goes_on`: of a map of holes it says that more of it follows."""
    fields = (b"a", b"0000644\0", b"0000000\0", b"0000000\0", b"%011o\0" % size, b"00000000000\0", b" " * 8, kind)
    head = struct.pack("100s8s8s8s12s12s8sc", *fields)
    block = bytearray((head + bytes(100) + b"ustar  \0").ljust(512, b"\0"))
    block[482] = goes_on
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def test_a_map_of_holes_that_goes_on_nowhere_is_refused() -> None:
    """Python's reader of it ends with an IndexError."""
    with pytest.raises(InvalidInput) as caught:
        checked_archive(header(tarfile.GNUTYPE_SPARSE, goes_on=True))
    assert caught.value.message == f"Entry 1 of the archive in files {KIND}"


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g"])
def test_what_tells_of_the_next_entry_may_have_so_many_bytes(kind: bytes) -> None:
    """Else a few of them make a reader work for long, and remember much."""
    with pytest.raises(
        InvalidInput, match=r"^Entry 1 of .* has 65537 bytes of a long name or of attributes: at most 65536"
    ):
        checked_archive(header(kind, 65537) + bytes(66048) + header(b"0") + bytes(1024))
    record = b"65536 comment=".ljust(65535, b"x") + b"\n"
    if kind in {b"x", b"g"}:
        assert listed(checked_archive(header(kind, 65536) + record + header(b"0") + bytes(1024)))[0][0] == "a"


@pytest.mark.parametrize("kind", [b"x", b"g"])
def test_a_size_is_where_every_reader_finds_it(kind: bytes) -> None:
    """Else one reader takes for a header what is content for another."""
    content = b"10 size=1\n".ljust(512, b"\0")
    with pytest.raises(InvalidInput, match=r"^Entry 1 of .* has its size in its attributes: pack it without"):
        checked_archive(header(kind, 10) + content + header(b"0", 1) + b"x".ljust(512, b"\0") + bytes(1024))


def mended(archive: bytearray) -> bytes:
    """With the check sums of its headers made right, where they were damaged: else no reader looks further."""
    for at in range(0, len(archive) - 511, 512):
        if archive[at + 257 : at + 262] == b"ustar":
            archive[at + 148 : at + 156] = b" " * 8
            archive[at + 148 : at + 156] = b"%06o\0 " % sum(archive[at : at + 512])
    return bytes(archive)


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_whatever_is_cut_or_flipped_is_refused_or_harmless(form: int) -> None:
    """Also where the check sums are right, and it is up to the reader what it makes of the rest."""
    source = packed(
        (entry("a" * 150), b"x" * 700), entry("l", tarfile.SYMTYPE, "b" * 150), entry("d", tarfile.DIRTYPE), form=form
    )
    chance = random.Random(21)
    kinds = b"\x000123456789KLNSVXDMxg"
    for _ in range(1500):
        damaged = bytearray(source[: chance.choice([len(source), chance.randrange(len(source))])])
        for _ in range(chance.randint(0, 4)):
            at = chance.randrange(max(1, min(len(damaged), 6144)))
            damaged[at : at + 1] = bytes([chance.randrange(256)])
        if chance.random() < 0.5 and len(damaged) > 512:
            damaged[chance.randrange(len(damaged) // 512) * 512 + 156] = chance.choice(kinds)
        try:
            found = checked_archive(mended(damaged) if chance.random() < 0.8 else bytes(damaged))
        except InvalidInput:
            continue
        assert checked_archive(found) == found


def test_the_size_of_a_body_that_is_taken_is_written_as_json() -> None:
    """1 MiB of files as base64, and values beside it, are less than an assign may have."""
    from worker_orchestrator.http.server.limits import ASSIGN_LIMIT_BYTES  # noqa: PLC0415 # only here

    body = {"files": "A" * ((FILES_BYTES + 2) // 3 * 4), "env": {"A": "\n" * 65536}, "secrets": {"A": "\x01" * 65536}}
    assert len(json.dumps(body)) < ASSIGN_LIMIT_BYTES
