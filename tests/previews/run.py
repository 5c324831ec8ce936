"""Says what the door costs, and fails if that is too much.   SLOW: how many visitors that do not read; GIB: of each body."""

from __future__ import annotations

import asyncio
import os
import sys

from tests.previews import memory
from tests.previews.assigns import compared

MOST_PER_READER_MIB = 0.15
MOST_FOR_A_BODY_MIB = 10.0
MOST_RATIO = 1.2


def main() -> int:
    count, size = int(os.environ.get("SLOW") or 200), int(float(os.environ.get("GIB") or 1) * memory.GIB)
    slow = asyncio.run(memory.slow_readers(count, 10))
    bodies = [asyncio.run(way(size)) for way in (memory.down, memory.up)]
    assigns = compared(count)
    for measured in (slow, *bodies, assigns):
        print(measured, flush=True)
    holds = (
        slow.grown_mib <= MOST_PER_READER_MIB * count,
        *(body.grown_mib <= MOST_FOR_A_BODY_MIB for body in bodies),
        assigns.ratio <= MOST_RATIO,
    )
    print("all of it holds" if all(holds) else "that is too much", flush=True)
    return 0 if all(holds) else 1


if __name__ == "__main__":
    sys.exit(main())
