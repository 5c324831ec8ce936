"""`orchestrator cp`: files and folders into a worker or out of it, as `docker cp` does it."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, cast

import click

from worker_orchestrator.cli.completion_candidates import complete_path
from worker_orchestrator.cli.exit_codes import FAILED, NOT_FOUND, USAGE, CommandFailed
from worker_orchestrator.cli.service_connection import find_machine, with_client
from worker_orchestrator.cli.terminal_display import progress_bar

if TYPE_CHECKING:
    from worker_orchestrator.client import Client

__all__ = ["COMMANDS"]

_MOST_LINKS: Final = 40


class WorkerPath(NamedTuple):
    """A path in a worker. `name` is a project or an id."""

    name: str
    path: str


@click.command("cp", short_help="Copy files into a worker or out of it.")
@click.argument("source", shell_complete=complete_path)
@click.argument("target", shell_complete=complete_path)
@click.option(
    "-a", "--archive", is_flag=True, help="Into a worker: keep the numbers of owner and group. Default: root's."
)
@with_client
def cp(client: Client, source: str, target: str, *, archive: bool) -> None:
    """Copy a file or a folder. Either SOURCE or TARGET is in a worker, written as PROJECT_OR_ID:/path.

    \b
    orchestrator cp my-project:/srv/files ./files
    orchestrator cp ./app my-project:/srv/app
    orchestrator cp my-project:/srv - | tar t    as a tar archive, on standard output or (as SOURCE) input

    If TARGET is an existing folder, the copy is put into it; else it gets that name. `folder/.` copies the folder's content.
    """  # noqa: D301 # click reads the backspace
    there, here = _worker_path(source), _worker_path(target)
    if there and not here:
        _copy_out(client, there, target)
    elif here and not there:
        _copy_in(client, source, here, keep_owner=archive)
    else:
        raise CommandFailed("Exactly one of SOURCE and TARGET must be in a worker: PROJECT_OR_ID:/path.", USAGE)


def _worker_path(text: str) -> WorkerPath | None:
    """The path in a worker, or None for a path of this computer, as is one with a slash before its first colon."""
    name, colon, _ = text.partition(":")
    if not colon or not name or "/" in name or name == ".":
        return None
    # A project may contain a colon itself, so the name ends at the first colon that a slash follows.
    name, separator, path = text.partition(":/")
    if separator:
        return WorkerPath(name, f"/{path}")
    raise CommandFailed(f"{text} has no absolute path in a worker. Write PROJECT_OR_ID:/path.", USAGE)


def _copy_out(client: Client, source: WorkerPath, target: str) -> None:
    from worker_orchestrator.cli.tar_archives import IterableFile, unpack_archive  # noqa: PLC0415 # only for this direction

    machine = find_machine(client, source.name)
    only_content = source.path.endswith("/.")
    path = source.path.removesuffix("/.").rstrip("/") or "/"
    if target == "-":
        if sys.stdout.isatty():
            raise CommandFailed("A tar archive cannot be shown on a terminal. Send it into a pipe or a file.", USAGE)
        for part in client.read_tar(machine.id, path):
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
        return
    with progress_bar(f"{source.name}:{path}", None) as advance:
        file = IterableFile(client.read_tar(machine.id, path), advance)
        skipped = unpack_archive(file, Path(target), only_content=only_content, as_folder=target.endswith("/"))
    for entry in skipped:
        click.echo(f"orchestrator: left out {entry}", err=True)
    if skipped:
        sys.exit(FAILED)


def _copy_in(client: Client, source: str, target: WorkerPath, *, keep_owner: bool) -> None:
    from worker_orchestrator.cli.tar_archives import CountingFile, packed_archive  # noqa: PLC0415 # only for this direction

    machine = find_machine(client, target.name)
    if source == "-":
        client.write_tar(machine.id, target.path, sys.stdin.buffer, generation=machine.generation)
        return
    path = Path(source)
    if not path.exists() and not path.is_symlink():
        raise CommandFailed(f"There is no {source} on this computer.", FAILED)
    folder, name = _place(client, machine.id, target.path, path, only_content=source.endswith("/."))
    with packed_archive(path, name, keep_owner=keep_owner) as (archive, size), progress_bar(source, size) as advance:
        content = cast("BinaryIO", CountingFile(archive, advance))
        client.write_tar(machine.id, folder, content, generation=machine.generation)


def _place(client: Client, machine_id: str, path: str, source: Path, *, only_content: bool) -> tuple[str, str]:
    """The folder in the worker that the archive is unpacked into, and the name of the copy in it."""
    bare = path.rstrip("/") or "/"
    kind, resolved = _kind_and_path(client, machine_id, bare)
    is_folder = source.is_dir()
    if kind == "folder":
        return bare, "." if is_folder and only_content else source.resolve().name
    if kind == "file" and (is_folder or path.endswith("/")):
        raise CommandFailed(f"{path} is a file in the worker, so nothing can be put into it.", FAILED)
    if not kind and path.endswith("/") and not is_folder:
        message = f"There is no folder {path} in the worker. Make it first, or leave out the / at its end."
        raise CommandFailed(message, NOT_FOUND)
    parent, _, name = resolved.rpartition("/")
    return parent or "/", name


def _kind_and_path(client: Client, machine_id: str, path: str) -> tuple[str, str]:
    """`folder` or `file` for what is at this path in the worker, and its path after links at its end were followed.

    The kind is empty if nothing is there; the path still counts, since a link may lead to what is to be created. A path out
    of reach counts as a folder: the service refuses to write there, and its message has this path and what to do instead.
    """
    from worker_orchestrator.cli.tar_archives import IterableFile  # noqa: PLC0415 # only for this direction
    from worker_orchestrator.errors import PathNotFound, PathOutOfReach  # noqa: PLC0415

    for _ in range(_MOST_LINKS):
        try:
            with tarfile.open(fileobj=IterableFile(client.read_tar(machine_id, path)), mode="r|") as archive:
                first = archive.next()
        except PathNotFound:
            return "", path
        except PathOutOfReach:
            return "folder", path
        if first is None or not first.issym():
            return "folder" if first is None or first.isdir() else "file", path
        base = path.rpartition("/")[0]
        path = first.linkname if first.linkname.startswith("/") else f"{base}/{first.linkname}"
    raise CommandFailed(f"{path} leads from link to link in the worker.", FAILED)


COMMANDS: Final[tuple[Any, ...]] = (cp,)
