"""The end of the service, which must come soon after it was asked for, whatever it waits for: an engine, a disk, a thread.

Each part ends within a limit of its own. What is here is for the causes that nobody thought of: the process ends all the
same, as by `kill -9`, which loses nothing that a reply has told (`docs/design.md`, invariant 9).
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Final

import structlog

__all__ = ["END_S", "end_in_time"]

_log = structlog.get_logger(__name__)

END_S: Final = 14.0
"""From the signal on. Requests have 5 s of that (`limits.STOP_S`), what is in the background 4 s."""
_TOLD_S: Final = 0.5
_FAILED: Final = 1


def end_in_time(limit_s: float = END_S, end: Callable[[int], object] = os._exit) -> Callable[[], None]:
    """Return at once, and end this process in `limit_s` seconds if it still runs then. Called on the event loop.

    Returns what calls it off, for what ends within the process.
    """
    loop = asyncio.get_running_loop()

    def give_up() -> None:
        telling = threading.Thread(target=_tell, args=(loop, limit_s), daemon=True)
        telling.start()  # beside: whoever reads the log may not
        telling.join(_TOLD_S)
        end(_FAILED)

    timer = threading.Timer(limit_s, give_up)
    timer.daemon = True  # it keeps nobody from ending
    timer.start()
    return timer.cancel


def _tell(loop: asyncio.AbstractEventLoop, limit_s: float) -> None:
    waits_for: list[str] = []
    try:
        waits_for = sorted(task.get_name() for task in asyncio.all_tasks(loop))
    except RuntimeError:
        pass  # they change just now
    finally:
        _log.error(
            "the service did not end by itself",
            within_s=limit_s,
            waits_for=waits_for,
            why="it is ended as by kill -9: nothing that a reply has told is lost",
        )
