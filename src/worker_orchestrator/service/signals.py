"""What ends the service from outside, and what has it read its settings again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

__all__ = ["call_on_signal"]


def call_on_signal(stop: Callable[[], None], reload: Callable[[], object]) -> None:
    """`reload` only without a terminal: one that is closed ends what runs in it, by the same signal."""
    loop = asyncio.get_running_loop()
    if os.name != "nt" and not _has_terminal() and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, reload)
    for number in (signal.SIGINT, signal.SIGTERM):
        if os.name == "nt":
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
        else:
            loop.add_signal_handler(number, stop)


def _has_terminal() -> bool:
    """Whether a terminal controls this process."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
