"""Copies files out of a pod and into it, by `tar` of the worker's image, as the user of the worker.

Where a path leads is found out name by name, as on Docker (`docker/walk`), so that the answers are the same. What is sent is
told again in a plain form first (`engines/retold`): then it is our words that say what is wrong with it, and every `tar`
does the same with it.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
import re
import shlex
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from typing import Final

from worker_orchestrator.engines.archive import printable
from worker_orchestrator.engines.docker.paths import Mounts, in_the_way, name_too_long, no_place, not_whole, unpackable
from worker_orchestrator.engines.docker.walk import Kind, Walk, as_named
from worker_orchestrator.engines.kubernetes.channels import STDERR, STDOUT, Channels
from worker_orchestrator.engines.kubernetes.commands import KubernetesCommands
from worker_orchestrator.engines.kubernetes.file_scripts import LOOK, NO_DD, NO_TAR, PACK, UNPACK, escaped
from worker_orchestrator.engines.kubernetes.frames import Frames
from worker_orchestrator.engines.retold import renamed
from worker_orchestrator.errors import (
    EngineRejected,
    EngineUnavailable,
    InvalidInput,
    NotSupported,
    OrchestratorError,
    PathOutOfReach,
    WorkerReadOnly,
)
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["KubernetesFiles"]

STALL_LIMIT_S: Final = 30.0
_SAID_BYTES: Final = 4096
_LONGEST_NAME_BYTES: Final = 255
_AT_ONCE: Final = 32
"""So many paths fit into the URL of one command, however long they are."""
_KINDS: Final = {"d": Kind.FOLDER, "o": Kind.OTHER, "m": Kind.MISSING}
_HARMLESS: Final = re.compile(rb"file changed as we read it|removed before we read it|socket ignored|file shrank by")
"""What `tar` says of a worker that goes on meanwhile, and of what no archive has."""
_READ_ONLY: Final = "Read-only file system"


class KubernetesFiles(KubernetesCommands):
    """The files of pods whose worker runs."""

    async def read_files(self, machine_id: str, path: str, *, follow: bool = False) -> AsyncGenerator[bytes, None]:
        await self._own(machine_id, running=True)
        walk = await self._walk(machine_id, path)
        way = await walk.to(path, follow=follow)
        if way.hidden_by:
            raise _hidden(machine_id, path, f"{machine_id} -- cat {shlex.quote(printable(path))}")
        named = way.path if follow else await as_named(walk, path, way.path)
        bare = named.rstrip("/")
        if named.endswith("/") and bare and await walk.kind_of(bare) is Kind.LINK:  # which `tar` would pack itself
            packed = renamed(self._packed(machine_id, f"{way.path}/."), posixpath.basename(bare))
        else:
            packed = self._packed(machine_id, named)
        async with aclosing(packed) as archive:
            async for piece in archive:
                yield piece

    async def place_of(self, machine_id: str, path: str) -> str:
        await self._own(machine_id, running=True)
        return await self._place(machine_id, path, may_be_new=True)

    async def write_files(self, machine_id: str, path: str, archive: AsyncIterator[bytes]) -> None:
        await self._own(machine_id, running=True)
        place = await self._place(machine_id, path, may_be_new=False)
        frames = Frames(archive, place)
        command = ["sh", "-c", UNPACK, "sh", escaped(place)]
        started = await self._start(machine_id, command, env=None, user="", workdir="", stdin=True)
        is_over = False
        try:
            code, told, said = await _unpack(started.channels, frames)
            is_over = True
        except EngineUnavailable:
            await self._own(machine_id, running=True)
            raise
        finally:
            await (started.channels.aclose() if is_over else self._end(machine_id, started))
        if frames.trouble:
            raise unpackable(machine_id, path, f"{frames.trouble}.")
        if told:
            name = os.fsdecode(told[1:].rstrip(b"\n"))
            raise in_the_way(machine_id, path, name, is_folder=told.startswith(b"f"))
        if frames.broken:
            raise not_whole(path, frames.broken)
        if code:
            raise _refusal(machine_id, path, code, said)

    async def _place(self, machine_id: str, path: str, *, may_be_new: bool) -> str:
        """Where this path leads: to a folder, unless it may be new. Raises PathOutOfReach if nothing is kept there."""
        walk = await self._walk(machine_id, path)
        way = await walk.to(path, follow=True, may_be_new=may_be_new)
        if way.hidden_by:
            raise _hidden(machine_id, path, f"-i {machine_id} -- sh -c 'cat >{way.hidden_by}/FILE' <FILE")
        if not may_be_new and way.path != "/" and await walk.kind_of(way.path) is not Kind.FOLDER:
            raise no_place(machine_id, path)
        return way.path

    async def _walk(self, machine_id: str, path: str) -> Walk:
        """For ways in this pod. What lies on the way of this path, without links, is asked for at once."""
        looked: dict[str, str] = {}

        async def look(wanted: Iterable[str]) -> None:
            new = [each for each in dict.fromkeys(wanted) if each not in looked]
            looked.update(zip(new, await self._look(machine_id, new), strict=True))

        async def kind_of(there: str) -> Kind:
            await look([] if there in looked else [there])
            if looked[there].startswith(("l", "?")):
                return Kind.LINK
            if looked[there] == "p":
                raise PathOutOfReach(
                    f"{printable(there)} of {machine_id} cannot be copied: the worker's user may not look into its folder."
                )
            return _KINDS[looked[there]]

        async def target_of(there: str) -> str:
            if looked[there] == "?":
                raise NotSupported(f"The image of {machine_id} has no readlink, which says where links lead: add it.")
            target = looked[there][1:]
            await look(_on_the_way(posixpath.join(posixpath.dirname(there), target)))
            return target

        if any(len(os.fsencode(name)) > _LONGEST_NAME_BYTES for name in path.split("/")):
            raise name_too_long(machine_id, path)
        await look(_on_the_way(path))
        return Walk(machine_id, Mounts.of_the_kernel(), kind_of, target_of)

    async def _look(self, machine_id: str, paths: list[str]) -> list[str]:
        """A letter for each of these, and where a link leads. Raises NotSupported, NotRunning, EngineError."""
        found: list[str] = []
        for begin in range(0, len(paths), _AT_ONCE):
            some = paths[begin : begin + _AT_ONCE]
            code, output = await self._ask(machine_id, "look for files in a pod", LOOK, *map(escaped, some))
            told = os.fsdecode(output).split("\0")[:-1]
            if code or len(told) != len(some):
                unread = EngineUnavailable("What a shell of the worker says of paths cannot be read.")
                raise _lacking(machine_id, code) or unread
            found += told
        return found

    async def _packed(self, machine_id: str, named: str) -> AsyncGenerator[bytes, None]:
        """The archive of this place. Raises EngineRejected at its end if `tar` could not read all of it."""
        folder, name = posixpath.split(named.rstrip("/"))
        name += "/" if name and named.endswith("/") else ""
        command = ["sh", "-c", PACK, "sh", escaped(folder or "/"), escaped(name)]
        started = await self._start(machine_id, command, env=None, user="", workdir="", stdin=False)
        said, is_over = bytearray(), False
        try:
            while True:
                async with asyncio.timeout(STALL_LIMIT_S):
                    piece = await started.channels.read()
                if piece is None:
                    break
                if piece[0] == STDOUT:
                    yield piece[1]
                elif len(said) < _SAID_BYTES:
                    said += piece[1]
            is_over = True
        except TimeoutError:
            raise EngineUnavailable(f"The tar of {machine_id} said nothing for {STALL_LIMIT_S:g} s.") from None
        finally:
            await (started.channels.aclose() if is_over else self._end(machine_id, started))
        lines = [line for line in bytes(said).splitlines() if not _HARMLESS.search(line)]
        if started.channels.code and lines:
            raise EngineRejected(f"The tar of the worker could not read all of it: {plain(os.fsdecode(lines[0]), 300)}")


async def _unpack(channels: Channels, frames: Frames) -> tuple[int | None, bytes, bytes]:
    """The exit code, what stands in the way, and what `tar` says. Raises EngineUnavailable, and what the source raises."""
    sending = asyncio.create_task(_send(channels, frames))
    hearing = asyncio.create_task(_hear(channels))
    try:
        await asyncio.wait({sending, hearing}, return_when=asyncio.FIRST_COMPLETED)
        if not hearing.done():
            sending.result()
        async with asyncio.timeout(STALL_LIMIT_S):
            told, said = await hearing
    except TimeoutError:
        raise EngineUnavailable(f"The tar of the worker took nothing for {STALL_LIMIT_S:g} s.") from None
    finally:
        sending.cancel()
        hearing.cancel()
        await asyncio.wait({sending, hearing})
    return channels.code, told, said


async def _send(channels: Channels, frames: Frames) -> None:
    async with aclosing(frames.pieces()) as pieces:
        async for piece in pieces:
            async with asyncio.timeout(STALL_LIMIT_S):
                await channels.write(piece)


async def _hear(channels: Channels) -> tuple[bytes, bytes]:
    heard = {STDOUT: bytearray(), STDERR: bytearray()}
    while (piece := await channels.read()) is not None:
        if len(heard[piece[0]]) < _SAID_BYTES:
            heard[piece[0]] += piece[1]
    return bytes(heard[STDOUT]), bytes(heard[STDERR])


def _on_the_way(path: str) -> list[str]:
    """The path and what is above it, if no name is a link: the kernel has its own."""
    names = [name for name in posixpath.normpath(path).split("/") if name]
    every = ["/" + "/".join(names[: count + 1]) for count in range(len(names))]
    return [each for each in every if not Mounts.of_the_kernel().over(each)]


def _lacking(machine_id: str, code: int | None) -> OrchestratorError | None:
    """What the image lacks if a script ended so; None if it is something else."""
    if code in {NO_TAR, NO_DD}:
        program = "tar" if code == NO_TAR else "dd that knows iflag=fullblock"
        return NotSupported(f"The image of {machine_id} has no {program}, with which files are copied in pods: add it.")
    if code in {126, 127}:
        return NotSupported(f"The image of {machine_id} has no shell sh, with which files are copied in pods: add it.")
    return None


def _refusal(machine_id: str, path: str, code: int, said: bytes) -> OrchestratorError:
    """What is wrong if `tar` ended so, and says this."""
    lines = [line for line in os.fsdecode(said).splitlines() if "Exiting with failure" not in line]
    message = plain(printable("; ".join(lines)), 300) or f"tar ended with {code}"
    if _READ_ONLY in message:
        return WorkerReadOnly(
            f"Nothing can be copied to {printable(path)}: the file system of {machine_id} is read-only (--read-only) there. "
            f"Its /tmp is not: `orchestrator exec -i {machine_id} -- sh -c 'cat >/tmp/FILE' <FILE`."
        )
    return _lacking(machine_id, code) or unpackable(machine_id, path, message)


def _hidden(machine_id: str, path: str, instead: str) -> InvalidInput:
    return PathOutOfReach(
        f"{printable(path)} of {machine_id} cannot be copied: it is shown by the kernel, and is no file. A command reaches "
        f"it: `orchestrator exec {instead}`."
    )
