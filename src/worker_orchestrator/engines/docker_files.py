"""Files out of and into a container, through Docker's archives: of one that has ended, too.

What they do not reach (docker_paths) is refused: Docker itself would say that nothing is there, or write it to nowhere.
Source: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerArchive
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiodocker
from aiodocker.containers import DockerContainer

from worker_orchestrator.engines.docker_calls import NOT_FOUND, is_missing, reading, said_by
from worker_orchestrator.engines.docker_paths import is_read_only, out_of_reach, refusal
from worker_orchestrator.engines.docker_reach import STALL_LIMIT_S, DockerReach, asked, flowing
from worker_orchestrator.errors import EngineRejected, OrchestratorError, PathNotFound, PathOutOfReach, WorkerReadOnly

__all__ = ["DockerFiles"]

_ROOT_READ_ONLY: Final = "container rootfs is marked read-only"


class DockerFiles(DockerReach):
    """The files of containers."""

    async def read_files(self, machine_id: str, path: str) -> AsyncIterator[bytes]:
        native_id = await self._own(machine_id, running=False)
        container = await self._inspected(machine_id, native_id, path)
        if mount := out_of_reach(container, path):
            raise _hidden(machine_id, path, mount, f"{machine_id} -- cat {shlex.quote(path)}")
        async with (
            self._aside() as client,
            self._at_path(machine_id, path),
            asked(client, "GET", _archive(native_id), params={"path": path}) as response,
        ):
            async for piece in flowing(response.content):
                yield piece

    async def write_files(self, machine_id: str, path: str, archive: AsyncIterator[bytes]) -> None:
        native_id = await self._own(machine_id, running=False)
        container = await self._inspected(machine_id, native_id, path)
        if mount := out_of_reach(container, path):
            if is_read_only(container):
                raise _read_only(machine_id, path)
            raise _hidden(machine_id, path, mount, f"-i {machine_id} -- sh -c 'cat >{mount}/FILE' <FILE")
        params = {"path": path, "noOverwriteDirNonDir": "true"}
        sent = _Sent(archive)
        try:
            async with self._aside() as client, self._at_path(machine_id, path):
                # Asked first, for Docker would hang up on whoever still sends when it refuses.
                await _look(client, native_id, path)
                put = asked(client, "PUT", _archive(native_id), params=params, data=sent.pieces(), limit_s=None)
                async with sent.limit, put:
                    pass
        except Exception:
            if sent.failure is not None:
                raise sent.failure from None
            raise

    async def _inspected(self, machine_id: str, native_id: str, path: str) -> DockerContainer:
        async with self._at_path(machine_id, path):
            return await self._client.containers.get(native_id)

    @asynccontextmanager
    async def _at_path(self, machine_id: str, path: str) -> AsyncIterator[None]:
        """Around calls that name a path. Raises what `refusal` and `_read_only` make of what Docker says.

        What is missing may also be the container, which was there a moment ago.
        """
        try:
            with reading():
                yield
        except EngineRejected as error:
            if is_missing(error):
                await self._own(machine_id, running=False)
                raise PathNotFound(f"There is no {path} in the container of {machine_id}.") from error
            if _ROOT_READ_ONLY in said_by(error):
                raise _read_only(machine_id, path) from error
            raise refusal(machine_id, path, f"Docker says: {said_by(error)}") from error


class _Sent:
    """An archive under way, which remembers what its source raised: that is no fault of Docker's.

    `limit` ends the block in which it is sent when Docker neither takes the next piece nor answers for so long. Its source
    has all the time that it wants.
    """

    def __init__(self, archive: AsyncIterator[bytes]) -> None:
        self._archive = archive
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


async def _look(client: aiodocker.Docker, native_id: str, path: str) -> None:
    """Raises DockerError where this path cannot be. Only a GET says why, but it would read a whole folder."""
    try:
        async with asked(client, "HEAD", _archive(native_id), params={"path": path}):
            return
    except aiodocker.DockerError as error:
        if error.status == NOT_FOUND:
            raise
    async with asked(client, "GET", _archive(native_id), params={"path": path}):
        pass


def _hidden(machine_id: str, path: str, mount: str, instead: str) -> OrchestratorError:
    return PathOutOfReach(
        f"{path} of {machine_id} cannot be copied: Docker does not reach what is mounted at {mount}. A command does: "
        f"`orchestrator exec {instead}`."
    )


def _read_only(machine_id: str, path: str) -> OrchestratorError:
    return WorkerReadOnly(
        f"Nothing can be copied to {path}: the file system of {machine_id} is read-only (--read-only), and Docker writes to "
        f"its volumes only. A command reaches its /tmp: `orchestrator exec -i {machine_id} -- sh -c 'cat >/tmp/FILE' <FILE`."
    )


def _archive(native_id: str) -> str:
    return f"/containers/{native_id}/archive"
