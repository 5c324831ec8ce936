"""Files of a worker in the parts that a model can read, and edits that change nothing else of them."""

from __future__ import annotations

import io
import posixpath
import tarfile
from contextlib import aclosing
from typing import Final

from worker_orchestrator.client import AsyncClient
from worker_orchestrator.errors import PathNotFound
from worker_orchestrator.mcp.failures import ToolFailed
from worker_orchestrator.wire.v1 import Machine

__all__ = ["LONGEST_FILE", "edit", "lines_of", "listing", "load", "text_of", "write"]

LONGEST_FILE: Final = 10 * 1024 * 1024
LONGEST_LINE: Final = 2000
MOST_ENTRIES: Final = 1000
_LINKS: Final = 8
_LIST: Final = (
    'test -e "$1" || exit 3; test -d "$1" || exit 4; '
    'find "$1/." -mindepth 1 -maxdepth "$2" -exec stat -c "%F|%s|%n" {} + | head -n "$3"'
)
_MKDIR: Final = 'mkdir -p -- "$1"'
_MARKS: Final = {"directory": "/", "symbolic link": "@"}


async def load(client: AsyncClient, machine: Machine, path: str) -> tuple[tarfile.TarInfo, bytes, str]:
    """The entry of this file, its content, and its path behind symbolic links.

    Raises ToolFailed if it is no file or too long, and the errors of `read_tar`.
    """
    member, content = await _entry(client, machine, path)
    for _ in range(_LINKS):
        if not member.issym():
            break
        path = posixpath.normpath(posixpath.join(posixpath.dirname(path), member.linkname))
        member, content = await _entry(client, machine, path)
    if member.isdir():
        raise ToolFailed("is_a_folder", f"{path} is a folder. list_files shows what is in it.")
    if not member.isfile():
        raise ToolFailed("no_regular_file", f"{path} is neither a file nor a folder.")
    return member, content, path


async def _entry(client: AsyncClient, machine: Machine, path: str) -> tuple[tarfile.TarInfo, bytes]:
    """The first entry of the archive of this path, and its content. No more is read than a file may have."""
    archive = bytearray()
    async with aclosing(client.read_tar(machine.id, path)) as pieces:
        async for piece in pieces:
            archive += piece
            if len(archive) > LONGEST_FILE + 64 * tarfile.BLOCKSIZE:
                break
    with tarfile.open(fileobj=io.BytesIO(bytes(archive)), mode="r|") as opened:
        member = opened.next()
        if member is None:
            raise PathNotFound
        if member.isfile() and member.size > LONGEST_FILE:
            raise ToolFailed(
                "file_too_long",
                f"{path} has {member.size} bytes, and at most {LONGEST_FILE} can be read. Read a part of it with "
                "run_command: head, tail, sed -n.",
            )
        file = opened.extractfile(member) if member.isfile() else None
        return member, b"" if file is None else file.read()


def text_of(path: str, content: bytes) -> str:
    """Raises ToolFailed if it is not text."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ToolFailed(
            "binary_file",
            f"{path} has {len(content)} bytes and is not UTF-8 text. Look at it with run_command: file, od.",
        )
    return text


def lines_of(text: str, first: int, most: int, characters: int) -> str:
    """These lines, and a last line that says what was left out. `first` is from 1 on."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    if first > max(len(lines), 1):
        raise ToolFailed("no_such_line", f"The file has {len(lines)} lines. Read from one of them on.")
    shown: list[str] = []
    for line in lines[first - 1 : first - 1 + most]:
        cut = f"{line[:LONGEST_LINE]} [{len(line) - LONGEST_LINE} characters of this line cut]"
        shown.append(line if len(line) <= LONGEST_LINE else cut)
        characters -= len(shown[-1]) + 1
        if characters < 0:
            break
    last = first - 1 + len(shown)
    if last < len(lines):
        shown.append(f"[Lines {first} to {last} of {len(lines)}. To go on, read from first_line {last + 1}.]")
    return "\n".join(shown)


async def write(client: AsyncClient, machine: Machine, path: str, content: bytes) -> None:
    """Write a file, and make its folder if there is none."""
    try:
        await client.write_file(machine.id, path, content, generation=machine.generation)
    except PathNotFound:
        made = await client.exec(
            machine.id, ["sh", "-c", _MKDIR, "sh", posixpath.dirname(path)], generation=machine.generation
        )
        if made.exit_code != 0:
            raise ToolFailed("no_folder", f"The folder of {path} cannot be made: {made.stderr.strip()[:300]}") from None
        await client.write_file(machine.id, path, content, generation=machine.generation)


async def edit(  # where, and what by what
    client: AsyncClient, machine: Machine, path: str, old: str, new: str, *, replace_all: bool
) -> int:
    """Replace a text, and keep owner and mode. Returns how many times it was replaced. Raises ToolFailed."""
    member, content, path = await load(client, machine, path)
    text = text_of(path, content)
    count = text.count(old)
    if count == 0:
        raise ToolFailed("text_not_found", f"{path} does not contain old_text. Read the file, and copy it exactly.")
    if count > 1 and not replace_all:
        raise ToolFailed(
            "text_not_unique", f"{path} contains old_text {count} times. Add lines around it, or set replace_all."
        )
    changed = text.replace(old, new).encode()
    entry = tarfile.TarInfo(posixpath.basename(path))
    entry.size, entry.mode, entry.mtime = len(changed), member.mode, 0
    entry.uid, entry.gid, entry.uname, entry.gname = member.uid, member.gid, "", ""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as opened:
        opened.addfile(entry, io.BytesIO(changed))
    await client.write_tar(machine.id, posixpath.dirname(path), archive.getvalue(), generation=machine.generation)
    return count


async def listing(client: AsyncClient, machine: Machine, path: str, depth: int) -> str:
    """One entry a line: its size in bytes and its path; / marks a folder, @ a symbolic link. Raises ToolFailed."""
    command = ["sh", "-c", _LIST, "sh", path, str(depth), str(MOST_ENTRIES + 1)]
    done = await client.exec(machine.id, command, generation=machine.generation)
    if done.exit_code == 3:
        raise PathNotFound(f"There is no {path} in the machine.")
    if done.exit_code == 4:
        raise ToolFailed("no_folder", f"{path} is a file. read_file shows it.")
    if done.exit_code != 0 or (done.stderr and not done.stdout):
        raise ToolFailed(
            "not_listed", f"{path} cannot be listed: {done.stderr.strip()[:300] or 'no reason was given'}."
        )
    entries = sorted(_told(path, line) for line in done.stdout.splitlines() if line.count("|") > 1)
    lines = [f"{size:>10}  {name}" for name, size in entries[:MOST_ENTRIES]]
    if len(entries) > MOST_ENTRIES or done.truncated:
        lines.append(f"[More than {len(lines)} entries: these are some of them. List a folder below.]")
    return "\n".join(lines) or f"{path} is empty."


def _told(path: str, line: str) -> tuple[str, str]:
    kind, size, name = line.split("|", 2)
    below = name.removeprefix(f"{path}/.").removeprefix("/")
    return posixpath.join(path, below) + _MARKS.get(kind, ""), size
