"""One file out of a tar archive, or into one, while it is streamed: engines speak tar, callers mostly want one file."""

from __future__ import annotations

import tarfile
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from worker_orchestrator.engines.archive import Reader, content_of, first_entry
from worker_orchestrator.http.server.streamed_response import ClosableStream

__all__ = ["archive_of_file", "file_in_archive"]

_BLOCK: Final = tarfile.BLOCKSIZE


async def file_in_archive(source: AsyncIterator[bytes]) -> ClosableStream | None:
    """The content of the first entry of an archive; None if that is not a file.

    Raises EngineUnavailable, and what the source raises.
    """
    reader = Reader(source)
    try:
        entry, parts = await first_entry(reader)
    except BaseException:
        await reader.aclose()
        raise
    if entry.isreg():
        return ClosableStream(content_of(reader, entry.size, parts), reader.aclose)
    await reader.aclose()
    return None


async def archive_of_file(
    name: str, size: int, content: AsyncIterator[bytes], *, mode: int = 0o644, owner: tuple[int, int] = (0, 0)
) -> AsyncGenerator[bytes, None]:
    """An archive of one file of this size, which everyone in the worker may read unless `mode` says otherwise.

    `owner`: the numbers of its user and its group.

    It is as new as it is, to the fraction of a second: else it may look older than what was made of it in this second, and a
    server for development, or `make`, does not see the change.
    """
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, mode, time.time()
    entry.uid, entry.gid = owner
    yield entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    async for part in content:
        if part:
            yield part
    yield bytes(-size % _BLOCK + 2 * _BLOCK)
