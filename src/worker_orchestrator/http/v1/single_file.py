"""One file out of, or into, a tar archive that flows by: engines speak tar, callers mostly want a file."""

from __future__ import annotations

import tarfile
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from worker_orchestrator.engines.archive import Reader, content_of, first_entry
from worker_orchestrator.http.server.streamed_response import Held

__all__ = ["of_file", "single"]

_BLOCK: Final = tarfile.BLOCKSIZE


async def single(source: AsyncIterator[bytes]) -> Held | None:
    """The content of the first entry of an archive; None where that is no file.

    Raises EngineUnavailable, and what the source raises.
    """
    reader = Reader(source)
    try:
        entry, parts = await first_entry(reader)
    except BaseException:
        await reader.aclose()
        raise
    if entry.isreg():
        return Held(content_of(reader, entry.size, parts), reader.aclose)
    await reader.aclose()
    return None


async def of_file(name: str, size: int, content: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """An archive of one file of this size, for anybody to read."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o644, int(time.time())
    yield entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    async for part in content:
        if part:
            yield part
    yield bytes(-size % _BLOCK + 2 * _BLOCK)
