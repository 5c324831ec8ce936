"""Where values are packed for a worker: large ones in a thread, since meanwhile no other request is served on the loop.

Hundreds of small files take a tenth of a second to pack. Few values take less than the thread itself would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from worker_orchestrator.engines.extras import LateValues

__all__ = ["SMALL_BYTES", "packed"]

SMALL_BYTES: Final = 64 * 1024
"""All values of one request, up to which they are packed on the loop."""
T = TypeVar("T")


async def packed(values: LateValues, pack: Callable[[], T]) -> T:
    """What `pack` makes of these values. It must touch nothing else. Raises what it raises."""
    is_small = _size_of(values) <= SMALL_BYTES
    return pack() if is_small else await asyncio.to_thread(pack)


def _size_of(values: LateValues) -> int:
    """Roughly, in bytes: a character of a text counts as one."""
    texts = (*values.env.values(), *values.secrets.values())
    return len(values.files) + sum(map(len, texts))
