"""Reads what a container wrote, in whole lines (`lines`). The output of a terminal is passed on as Docker gives it.

Source: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach (stream format)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from typing import Final

import aiodocker
import aiohttp

from worker_orchestrator.engines.docker.calls import reading
from worker_orchestrator.engines.docker.environment import given_environment
from worker_orchestrator.engines.docker.lines import Begin, LastLines, Lines, Piece, Seen
from worker_orchestrator.engines.docker.reach import (
    STALL_LIMIT_S,
    DockerReach,
    pieces_of,
    send_request,
    while_it_runs,
)
from worker_orchestrator.engines.last_words import without_values
from worker_orchestrator.errors import EngineUnavailable, NotRunning

__all__ = ["DockerLogs"]

EVIDENCE_BYTES: Final = 8192
_HEADER_BYTES: Final = 8
_LOOKED_THROUGH_BYTES: Final = 64 * 1024
_PARAMS: Final = {"stdout": "1", "stderr": "1", "timestamps": "1"}
_MEANWHILE: Final = (1000, 100_000)
"""So many pieces may be written between the search for the beginning and the reading: few at first, then many."""


class DockerLogs(DockerReach):
    """The output of containers."""

    async def last_lines(self, machine_id: str, count: int) -> str:
        with reading():
            own = [it for it in await self._of_machine(machine_id) if self._is_own(it, machine_id)]
        if not own:
            return ""
        try:
            text = await self._last_by_time(machine_id, count)
        except NotRunning:  # somebody is removing it at this moment
            return ""
        # Values of variables are removed before the text is cut, since the cut might leave half of one.
        # They are those that it was made with, which its pool may have no more: only Docker knows them.
        given = await given_environment(self._client, own[0].id)
        if given is None:
            return ""
        lines = without_values(text.decode(errors="replace"), given).strip()
        return lines if len(lines) <= EVIDENCE_BYTES else f"…{lines[1 - EVIDENCE_BYTES :]}"

    async def logs(
        self, machine_id: str, *, tail: int | None = None, follow: bool = False, timestamps: bool = False
    ) -> AsyncIterator[bytes]:
        native_id = await self._own(machine_id, running=False)
        path = f"/containers/{native_id}/logs"
        async with self._aside() as client:
            with while_it_runs(machine_id):
                if await self._has_terminal(native_id):
                    asked_for = {**_PARAMS, "follow": str(int(follow)), "timestamps": str(int(timestamps))}
                    asked_for |= {} if tail is None else {"tail": str(tail)}
                    async with send_request(client, "GET", path, params=asked_for) as response:
                        async for text in pieces_of(response.content, None if follow else STALL_LIMIT_S):
                            yield text
                    return
                async with aclosing(_told(client, path, tail, follow=follow, timestamps=timestamps)) as told:
                    async for lines, piece in told:
                        for text in lines.texts(piece):
                            yield text

    async def _has_terminal(self, native_id: str) -> bool:
        return bool((await self._client.containers.get(native_id))["Config"]["Tty"])

    async def _last_by_time(self, machine_id: str, count: int) -> bytes:
        """The last lines; a terminal has one stream, and its output is in order as it is."""
        native_id = await self._own(machine_id, running=False)
        with while_it_runs(machine_id):
            if await self._has_terminal(native_id):
                written = bytearray()
                async for text in self.logs(machine_id, tail=count):
                    written += text
                    del written[:-_LOOKED_THROUGH_BYTES]
                return bytes(written)
            last = LastLines(count, _LOOKED_THROUGH_BYTES)
            async with self._aside() as client:
                path = f"/containers/{native_id}/logs"
                async with aclosing(_told(client, path, 2 * count, follow=False, timestamps=True)) as told:
                    async for lines, piece in told:
                        for part, begins in lines.parts(piece):
                            last.add(part, begins=begins)
        return last.text()


async def _told(
    client: aiodocker.Docker, path: str, tail: int | None, *, follow: bool, timestamps: bool
) -> AsyncGenerator[tuple[Lines, Piece], None]:
    """Each piece with what puts it in its line. Another one comes only after those of a try that found no beginning."""
    begin = await _begin(client, path, _PARAMS, tail) if tail else None
    for lines, count in _tries(begin, tail, follow=follow, timestamps=timestamps):
        asked_for = {**_PARAMS, "follow": str(int(follow))} | ({} if count is None else {"tail": str(count)})
        async with send_request(client, "GET", path, params=asked_for) as response:
            async for piece in _pieces(response.content, None if follow else STALL_LIMIT_S):
                yield lines, piece
                if lines.is_over:
                    break
        if lines.has_begun:
            return


def _tries(
    begin: Begin | None, tail: int | None, *, follow: bool, timestamps: bool
) -> Iterator[tuple[Lines, int | None]]:
    """How to read from `begin` on, and how many pieces to ask for: more in the second try, if many were written meanwhile.

    The last try takes Docker's own count: the beginning is not kept any more, or too much came after it.
    """
    most = None if follow else tail
    if begin is not None:
        for meanwhile in _MEANWHILE:
            count = begin.pieces + begin.twins + meanwhile
            yield Lines(timestamps=timestamps, begin=begin, within=count, most=most), count
    yield Lines(timestamps=timestamps, most=most), tail


async def _begin(client: aiodocker.Docker, path: str, params: Mapping[str, str], lines: int) -> Begin | None:
    """Where the last lines begin; None if they are all that there is."""
    count = lines + 1
    while True:
        seen = Seen()
        async with send_request(client, "GET", path, params={**params, "tail": str(count)}) as response:
            async for piece in _pieces(response.content, STALL_LIMIT_S):
                seen.add(piece)
        if len(seen) < count:
            return seen.begin(lines, all_of_them=True)
        if begin := seen.begin(lines, all_of_them=False):
            return begin
        count *= 4


async def _pieces(stream: aiohttp.StreamReader, stall_s: float | None) -> AsyncIterator[Piece]:
    async for number, data in _frames(stream, stall_s):
        yield Piece.of(number, data)


async def _frames(stream: aiohttp.StreamReader, stall_s: float | None) -> AsyncIterator[tuple[int, bytes]]:
    """The stream and the bytes of each frame: a header with the length, then the bytes. Terminals have no frames."""
    while True:
        try:
            async with asyncio.timeout(stall_s):
                header = await stream.readexactly(_HEADER_BYTES)
            async with asyncio.timeout(STALL_LIMIT_S):
                frame = await stream.readexactly(int.from_bytes(header[4:], "big"))
            yield header[0], frame
        except asyncio.IncompleteReadError as error:
            if error.partial or error.expected != _HEADER_BYTES:
                raise EngineUnavailable("What the engine kept of the output ends in the middle.") from error
            return
