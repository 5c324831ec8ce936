"""What a container wrote, as Docker kept it.

Docker keeps a line of more than 16 KiB in pieces: with time stamps, an engine may put one before each of them.
Source: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach (stream format)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import aiohttp

from worker_orchestrator.engines.docker_calls import reading
from worker_orchestrator.engines.docker_reach import STALL_LIMIT_S, DockerReach, asked, flowing, while_it_runs
from worker_orchestrator.engines.evidence import without_values
from worker_orchestrator.errors import EngineUnavailable

__all__ = ["DockerLogs"]

EVIDENCE_BYTES: Final = 4096
_HEADER_BYTES: Final = 8


class DockerLogs(DockerReach):
    """The output of containers."""

    async def last_lines(self, machine_id: str, count: int) -> str:
        with reading():
            for container in await self._of_machine(machine_id):
                if not self._is_own(container, machine_id):
                    continue
                lines = await container.log(stdout=True, stderr=True, tail=count)
                return without_values("".join(lines), self._options.env or {})[-EVIDENCE_BYTES:].strip()
        return ""

    async def logs(
        self, machine_id: str, *, tail: int | None = None, follow: bool = False, timestamps: bool = False
    ) -> AsyncIterator[bytes]:
        native_id = await self._own(machine_id, running=False)
        params = {"stdout": "1", "stderr": "1", "follow": str(int(follow)), "timestamps": str(int(timestamps))}
        if tail is not None:
            params["tail"] = str(tail)
        async with self._aside() as client:
            with while_it_runs(machine_id):
                has_terminal = (await self._client.containers.get(native_id))["Config"]["Tty"]
                async with asked(client, "GET", f"/containers/{native_id}/logs", params=params) as response:
                    stall_s = None if follow else STALL_LIMIT_S
                    pieces = flowing(response.content, stall_s) if has_terminal else _frames(response.content, stall_s)
                    async for piece in pieces:
                        yield piece


async def _frames(stream: aiohttp.StreamReader, stall_s: float | None) -> AsyncIterator[bytes]:
    """What is written without a terminal comes in frames, each of one stream: a header with its length, and its bytes."""
    while True:
        try:
            async with asyncio.timeout(stall_s):
                header = await stream.readexactly(_HEADER_BYTES)
            async with asyncio.timeout(STALL_LIMIT_S):
                frame = await stream.readexactly(int.from_bytes(header[4:], "big"))
            yield frame
        except asyncio.IncompleteReadError as error:
            if error.partial or error.expected != _HEADER_BYTES:
                raise EngineUnavailable("What Docker kept of the output ends in the middle.") from error
            return
