"""`orchestrator cp`: files and folders into a worker or out of it, as `docker cp` does it."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, cast

import click

from worker_orchestrator.cli.completion_candidates import paths
from worker_orchestrator.cli.exit_codes import FAILED, NOT_FOUND, USAGE, Failed
from worker_orchestrator.cli.service_connection import calls, find
from worker_orchestrator.cli.terminal_display import progress

if TYPE_CHECKING:
    from worker_orchestrator.client import Client

__all__ = ["COMMANDS"]


class Inside(NamedTuple):
    """A path in a worker."""

    name: str
    path: str


@click.command("cp", short_help="Copy files into a worker or out of it.")
@click.argument("source", shell_complete=paths)
@click.argument("target", shell_complete=paths)
@click.option("-a", "--archive", is_flag=True, help="Into a worker: keep the numbers of owner and group, else root's.")
@calls
def cp(client: Client, source: str, target: str, *, archive: bool) -> None:
    """Copy a file or a folder; the one of SOURCE and TARGET that is in a worker is PROJECT_OR_ID:/path.

    \b
    orchestrator cp my-project:/srv/files ./files
    orchestrator cp ./app my-project:/srv/app
    orchestrator cp my-project:/srv - | tar t    as a tar archive, on standard output or (as SOURCE) input

    Where TARGET is a folder that exists, the copy is put into it; else it gets that name. `folder/.` copies what is in it.
    """  # noqa: D301 # click reads the backspace
    there, here = _inside(source), _inside(target)
    if there and not here:
        _copy_out(client, there, target)
    elif here and not there:
        _copy_in(client, source, here, keep_owner=archive)
    else:
        raise Failed("Exactly one of the two must be in a worker: PROJECT_OR_ID:/path.", USAGE)


def _inside(text: str) -> Inside | None:
    """What is in a worker, in `text`; None for a path of this computer. A path with / before its colon is here."""
    name, colon, _ = text.partition(":")
    if not colon or not name or "/" in name or name == ".":
        return None
    # A project may hold a colon itself, so it is the last one before a slash that counts.
    before, found, after = text.partition(":/")
    if found:
        return Inside(before, f"/{after}")
    raise Failed(f"{text} names no absolute path in a worker: PROJECT_OR_ID:/path.", USAGE)


def _copy_out(client: Client, source: Inside, target: str) -> None:
    from worker_orchestrator.cli.tar_archives import Stream, unpack  # noqa: PLC0415 # only what is used

    machine = find(client, source.name)
    only_content = source.path.endswith("/.")
    path = source.path.removesuffix("/.").rstrip("/") or "/"
    if target == "-":
        if sys.stdout.isatty():
            raise Failed("A tar archive is nothing for a terminal: send it into a pipe or a file.", USAGE)
        for part in client.read_tar(machine.id, path):
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
        return
    with progress(f"{source.name}:{path}", None) as copied:
        stream = Stream(client.read_tar(machine.id, path), copied)
        left_out = unpack(stream, Path(target), only_content=only_content, as_folder=target.endswith("/"))
    for entry in left_out:
        click.echo(f"orchestrator: left out {entry}", err=True)
    if left_out:
        sys.exit(FAILED)


def _copy_in(client: Client, source: str, target: Inside, *, keep_owner: bool) -> None:
    from worker_orchestrator.cli.tar_archives import Counted, packed  # noqa: PLC0415 # only what is used

    machine = find(client, target.name)
    if source == "-":
        client.write_tar(machine.id, target.path, sys.stdin.buffer, generation=machine.generation)
        return
    path = Path(source)
    if not path.exists() and not path.is_symlink():
        raise Failed(f"There is no {source} on this computer.", FAILED)
    folder, name = _place(client, machine.id, target.path, path, only_content=source.endswith("/."))
    with packed(path, name, keep_owner=keep_owner) as (archive, size), progress(source, size) as copied:
        content = cast("BinaryIO", Counted(archive, copied))
        client.write_tar(machine.id, folder, content, generation=machine.generation)


def _place(client: Client, machine_id: str, path: str, source: Path, *, only_content: bool) -> tuple[str, str]:
    """The folder in the worker that the archive is unpacked into, and the name of the copy in it."""
    bare = path.rstrip("/") or "/"
    kind, found = _kind(client, machine_id, bare)
    is_folder = source.is_dir()
    if kind == "folder":
        return bare, "." if is_folder and only_content else source.resolve().name
    if kind == "file" and (is_folder or path.endswith("/")):
        raise Failed(f"{path} is a file in the worker, so nothing can be put into it.", FAILED)
    if not kind and path.endswith("/") and not is_folder:
        message = f"There is no folder {path} in the worker: make it first, or leave the / at its end out."
        raise Failed(message, NOT_FOUND)
    parent, _, name = found.rpartition("/")
    return parent or "/", name


def _kind(client: Client, machine_id: str, path: str) -> tuple[str, str]:
    """`folder` or `file` for what is at this path in the worker, links at its end followed, and its path without them.

    Empty where nothing is: a link may lead to what is not there yet.
    `folder` where it is out of reach: what is written there is refused, with this path and what to do instead.
    """
    from worker_orchestrator.cli.tar_archives import Stream  # noqa: PLC0415 # only what is used
    from worker_orchestrator.errors import PathNotFound, PathOutOfReach  # noqa: PLC0415

    for _ in range(_MOST_LINKS):
        try:
            with tarfile.open(fileobj=Stream(client.read_tar(machine_id, path)), mode="r|") as archive:
                first = archive.next()
        except PathNotFound:
            return "", path
        except PathOutOfReach:
            return "folder", path
        if first is None or not first.issym():
            return "folder" if first is None or first.isdir() else "file", path
        base = path.rpartition("/")[0]
        path = first.linkname if first.linkname.startswith("/") else f"{base}/{first.linkname}"
    raise Failed(f"{path} leads from link to link in the worker.", FAILED)


_MOST_LINKS: Final = 40

COMMANDS: Final[tuple[Any, ...]] = (cp,)
