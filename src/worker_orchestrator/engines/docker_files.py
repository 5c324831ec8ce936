"""Files out of and into a container, through Docker's archives: of one that has ended, too.

Docker reads the container's own file system and its volumes, but not what is mounted in memory (a tmpfs).
Source: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerArchive
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from worker_orchestrator.engines.docker_calls import is_missing, reading
from worker_orchestrator.engines.docker_reach import DockerReach, asked
from worker_orchestrator.errors import EngineRejected, PathNotFound

__all__ = ["DockerFiles"]


class DockerFiles(DockerReach):
    """The files of containers."""

    async def read_files(self, machine_id: str, path: str) -> AsyncIterator[bytes]:
        native_id = await self._own(machine_id, running=False)
        async with (
            self._aside() as client,
            self._at_path(machine_id, path),
            asked(client, "GET", _archive(native_id), params={"path": path}) as response,
        ):
            async for piece in response.content.iter_any():
                yield piece

    async def write_files(self, machine_id: str, path: str, archive: AsyncIterator[bytes]) -> None:
        native_id = await self._own(machine_id, running=False)
        params = {"path": path, "noOverwriteDirNonDir": "true"}
        sent = _Sent(archive)
        async with self._aside() as client, self._at_path(machine_id, path):
            # Asked first, for Docker would hang up on whoever still sends when it refuses.
            async with asked(client, "HEAD", _archive(native_id), params={"path": path}):
                pass
            try:
                async with asked(client, "PUT", _archive(native_id), params=params, data=sent.pieces()):
                    pass
            except Exception:
                if sent.failure is not None:
                    raise sent.failure from None
                raise

    @asynccontextmanager
    async def _at_path(self, machine_id: str, path: str) -> AsyncIterator[None]:
        """Around calls that name a path: what is missing may also be the container, which was there a moment ago."""
        try:
            with reading():
                yield
        except EngineRejected as error:
            if not is_missing(error):
                raise
            await self._own(machine_id, running=False)
            raise PathNotFound(f"There is no {path} in the container of {machine_id}.") from error


class _Sent:
    """An archive under way, which remembers what its source raised: that is no fault of Docker's."""

    def __init__(self, archive: AsyncIterator[bytes]) -> None:
        self._archive = archive
        self.failure: Exception | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._archive:
                yield piece
        except Exception as failure:
            self.failure = failure
            raise


def _archive(native_id: str) -> str:
    return f"/containers/{native_id}/archive"
