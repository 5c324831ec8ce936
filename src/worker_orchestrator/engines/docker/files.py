"""Copies files out of and into a container, also one that has ended, through Docker's archives.

A path that they do not reach (`paths`) is refused: Docker itself would say that nothing is there, or lose what is written.
Where a path leads is found out here (`walk`), so that Docker gets a path without links on the way.
Source: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerArchive
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

import aiodocker
from aiodocker.containers import DockerContainer

from worker_orchestrator.engines.archive import Reader, first_entry, in_large_pieces, link_alone, printable
from worker_orchestrator.engines.docker.calls import NOT_FOUND, docker_message, is_missing, reading
from worker_orchestrator.engines.docker.dialect import Dialect
from worker_orchestrator.engines.docker.paths import Mounts, is_read_only, lost_link, refusal, unpackable
from worker_orchestrator.engines.docker.reach import STALL_LIMIT_S, DockerReach, pieces_of, send_request
from worker_orchestrator.engines.docker.stat import SPECIAL, Stat, archive_call, stat_of
from worker_orchestrator.engines.docker.walk import Kind, Walk, as_named
from worker_orchestrator.errors import (
    EngineError,
    EngineRejected,
    OrchestratorError,
    PathNotFound,
    PathOutOfReach,
    WorkerReadOnly,
)

__all__ = ["DockerFiles"]

_LOST: Final = "\ufffd"
"""What stands in JSON for a byte that is no text."""
_EMPTY_ARCHIVE: Final = bytes(1024)
_ROOT_READ_ONLY: Final = re.compile(r"container rootfs is marked read-only|copier: put: .*: read-only file system")


class DockerFiles(DockerReach):
    """The files of containers."""

    async def read_files(self, machine_id: str, path: str, *, follow: bool = False) -> AsyncIterator[bytes]:
        native_id = await self._own(machine_id, running=False)
        async with self._aside() as client, self._at_path(machine_id, path):
            container = await self._client.containers.get(native_id)
            walk = await self._walk(client, container, machine_id)
            way = await walk.to(path, follow=follow)
            if way.hidden_by:
                raise _hidden(machine_id, path, way.hidden_by, f"{machine_id} -- cat {shlex.quote(printable(path))}")
            named = way.path if follow else await as_named(walk, path, way.path)
            if self._dialect.archives_follow_links and not named.endswith(("/", "/.")):
                stat = await stat_of(client, native_id, named, self._dialect)
                if stat.is_link:
                    yield link_alone(named, _target(stat, machine_id, named))
                    return
            async for piece in _packed(client, native_id, machine_id, named, self._dialect):
                yield piece

    async def place_of(self, machine_id: str, path: str) -> str:
        native_id = await self._own(machine_id, running=False)
        async with self._aside() as client, self._at_path(machine_id, path):
            return await self._place(client, native_id, machine_id, path, may_be_new=True)

    async def write_files(self, machine_id: str, path: str, archive: AsyncIterator[bytes]) -> None:
        native_id = await self._own(machine_id, running=False)
        sent, place = _Sent(archive), ""
        try:
            async with self._aside() as client, self._at_path(machine_id, path):
                # This is done first, since Docker hangs up when it refuses while the archive is still being sent.
                place = await self._place(client, native_id, machine_id, path)
                params = {"noOverwriteDirNonDir": "true"}
                put = send_request(
                    client,
                    "PUT",
                    archive_call(native_id, place, self._dialect),
                    params=params,
                    data=sent.pieces(),
                    limit_s=None,
                )
                try:
                    async with sent.limit, put:
                        pass
                except aiodocker.DockerError as error:
                    # Newer engines say that the place is missing if anything in the archive names what is not there.
                    if error.status == NOT_FOUND and await _is_there(client, native_id, place, self._dialect):
                        raise lost_link(machine_id, path) from error
                    raise
        except Exception as error:
            if sent.failure is not None:
                raise sent.failure from None
            if type(error) is EngineRejected and place and await self._takes_archives(native_id, place):
                raise unpackable(machine_id, path, error.message) from error
            raise

    async def _takes_archives(self, native_id: str, place: str) -> bool:
        """Whether Docker takes an archive of nothing there: then what it refused is wrong in itself, whatever it says."""
        params = {"noOverwriteDirNonDir": "true"}
        try:
            with reading():
                async with send_request(
                    self._client,
                    "PUT",
                    archive_call(native_id, place, self._dialect),
                    params=params,
                    data=_EMPTY_ARCHIVE,
                ):
                    return True
        except EngineError:
            return False

    async def _place(
        self, client: aiodocker.Docker, native_id: str, machine_id: str, path: str, *, may_be_new: bool = False
    ) -> str:
        """Where this path leads. Raises WorkerReadOnly or PathOutOfReach if Docker could write nothing there."""
        container = await self._client.containers.get(native_id)
        walk = await self._walk(client, container, machine_id)
        way = await walk.to(path, follow=True, may_be_new=may_be_new)
        if not way.hidden_by:
            return way.path
        if is_read_only(container):
            raise _read_only(machine_id, path)
        raise _hidden(machine_id, path, way.hidden_by, f"-i {machine_id} -- sh -c 'cat >{way.hidden_by}/FILE' <FILE")

    async def _walk(self, client: aiodocker.Docker, container: DockerContainer, machine_id: str) -> Walk:
        """For ways in this container. `container`: as Docker inspects it."""
        follows = self._dialect.archives_follow_links

        async def kind_of(path: str) -> Kind:
            try:
                stat = await stat_of(client, container.id, path, self._dialect)
            except aiodocker.DockerError as error:
                if error.status == NOT_FOUND:
                    return Kind.MISSING
                raise
            return Kind.LINK if stat.is_link else Kind.FOLDER if stat.is_folder else Kind.OTHER

        async def target_of(path: str) -> str:
            if follows:
                return _target(await stat_of(client, container.id, path, self._dialect), machine_id, path)
            # Beside an archive Docker does not say where a link leads, but what Docker itself resolves it to.
            async with aclosing(_packed(client, container.id, machine_id, path, self._dialect)) as archive:
                entry, _ = await first_entry(Reader(archive))
                return entry.linkname

        walk = Walk(machine_id, Mounts.of(container), kind_of, target_of)
        await walk.place_mounts()
        return walk

    @asynccontextmanager
    async def _at_path(self, machine_id: str, path: str) -> AsyncIterator[None]:
        """Wraps calls that name a path. Raises what `refusal` and `_read_only` make of Docker's message.

        If Docker says that something is missing, it may also be the container, which was there a moment ago.
        """
        if self._dialect.takes_patterns and "*" in path:
            raise PathOutOfReach(
                f"{printable(path)} of {machine_id} cannot be copied by itself: {self._dialect.name} takes no * in a path. "
                "Copy the folder that it is in."
            )
        try:
            with reading():
                yield
        except PathNotFound:
            await self._own(machine_id, running=False)
            raise
        except EngineRejected as error:
            if is_missing(error):
                await self._own(machine_id, running=False)
                raise PathNotFound(f"There is no {printable(path)} in the container of {machine_id}.") from error
            if _ROOT_READ_ONLY.search(docker_message(error)):
                raise _read_only(machine_id, path) from error
            raise refusal(machine_id, path, f"{self._dialect.name} says: {docker_message(error)}") from error


class _Sent:
    """An archive that is being sent in large pieces. It remembers what its source raised, since that is not Docker's error.

    `limit` ends the block in which it is sent if Docker neither takes the next piece nor answers in time. The source may
    take as long as it likes.
    """

    def __init__(self, archive: AsyncIterator[bytes]) -> None:
        self._archive = in_large_pieces(archive)
        self.failure: Exception | None = None
        self.limit = asyncio.timeout(STALL_LIMIT_S)

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            self._waits_for_docker(is_waiting=False)
            async for piece in self._archive:
                self._waits_for_docker(is_waiting=True)
                yield piece
                self._waits_for_docker(is_waiting=False)
            self._waits_for_docker(is_waiting=True)
        except Exception as failure:
            self.failure = failure
            raise

    def _waits_for_docker(self, *, is_waiting: bool) -> None:
        with contextlib.suppress(RuntimeError):  # it is over already
            self.limit.reschedule(asyncio.get_running_loop().time() + STALL_LIMIT_S if is_waiting else None)


async def _packed(
    client: aiodocker.Docker, native_id: str, machine_id: str, path: str, dialect: Dialect
) -> AsyncGenerator[bytes, None]:
    """The archive of a path. Raises PathOutOfReach if Docker packs nothing: some engines lose a name that is not UTF-8."""
    begun = False
    async with send_request(client, "GET", archive_call(native_id, path, dialect), params={}) as response:
        async for piece in pieces_of(response.content):
            if not begun and piece.startswith(b"\0"):
                if printable(path) == path:
                    raise PathNotFound(f"There is no {path} in the container of {machine_id} any more.")
                raise PathOutOfReach(
                    f"{printable(path)} of {machine_id} cannot be copied by itself: its name is not UTF-8, and "
                    f"{dialect.name} loses it. Copy the folder that it is in."
                )
            begun = True
            yield piece


def _target(link: Stat, machine_id: str, path: str) -> str:
    """Where this link leads, as Podman says it: in JSON, and not if it had to take a character of the path as it is."""
    if _LOST in link.link_target or SPECIAL.search(path):
        raise PathOutOfReach(
            f"{printable(path)} of {machine_id} cannot be copied by itself: Podman does not tell where this link leads if a "
            "name is not UTF-8, or the link's path has one of \\ ? [ in it. Copy the folder that the link leads to."
        )
    return link.link_target


async def _is_there(client: aiodocker.Docker, native_id: str, path: str, dialect: Dialect) -> bool:
    """Whether something is at this path. Raises DockerError if Docker cannot tell."""
    try:
        await stat_of(client, native_id, path, dialect)
    except aiodocker.DockerError as error:
        if error.status == NOT_FOUND:
            return False
        raise
    return True


def _hidden(machine_id: str, path: str, mount: str, instead: str) -> OrchestratorError:
    return PathOutOfReach(
        f"{printable(path)} of {machine_id} cannot be copied: the engine does not reach what is mounted at {mount}. A "
        f"command does: `orchestrator exec {instead}`."
    )


def _read_only(machine_id: str, path: str) -> OrchestratorError:
    return WorkerReadOnly(
        f"Nothing can be copied to {printable(path)}: the file system of {machine_id} is read-only (--read-only), and "
        "the engine writes to its volumes only. A command reaches its /tmp: "
        f"`orchestrator exec -i {machine_id} -- sh -c 'cat >/tmp/FILE' <FILE`."
    )
