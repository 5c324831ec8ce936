"""An archive as lines and counted bytes, for a shell that unpacks it: no connection to a pod can say that there is no more.

The names of entries come before the bytes that hold them, so that the shell can look whether something has their places.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

from worker_orchestrator.engines.archive import in_large_pieces
from worker_orchestrator.engines.decompressed import NotWhole
from worker_orchestrator.engines.retold import NotTaken, Retold

__all__ = ["Frames"]

_MOST_BYTES: Final = 1024 * 1024
_END: Final = b".\n"


class Frames:
    """What is sent. `broken` and `trouble` say in the end why the archive is not whole, or cannot be unpacked."""

    def __init__(self, archive: AsyncIterator[bytes], place: str) -> None:
        self._archive = Retold(archive, place, self._enter)
        self._names = bytearray()
        self.broken, self.trouble = "", ""

    def _enter(self, name: str, is_folder: bool) -> None:  # noqa: FBT001 # as Retold calls it
        line = os.fsencode(name)
        if b"\n" not in line:
            self._names += (b"d" if is_folder else b"f") + line + b"\n"

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Ends early, with the reason kept, if something is wrong with the archive. Raises what its source raises."""
        try:
            async with aclosing(in_large_pieces(self._archive.pieces())) as pieces:
                async for piece in pieces:
                    for begin in range(0, len(piece), _MOST_BYTES):
                        part = piece[begin : begin + _MOST_BYTES]
                        names, self._names = bytes(self._names), bytearray()
                        yield b"%s+%d\n%s" % (names, len(part), part)
        except NotWhole as error:
            self.broken = str(error)
        except NotTaken as error:
            self.trouble = str(error)
        yield _END
