"""A terminal is left as it was found, also where a signal ends the command: its screen, its cursor, its keys."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

__all__ = ["deaf_threads", "unwinding"]

_ENDED_BY: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""SIGINT is an exception of Python's own already."""
_ENDING: Final = (*_ENDED_BY, signal.SIGINT)


@contextmanager
def unwinding() -> Iterator[None]:
    """While this lasts a signal ends the process by SystemExit (128 + its number), so that every `finally` is passed.

    One that is ignored stays so, as SIGHUP under nohup. For the main thread.
    """
    before = {number: signal.getsignal(number) for number in _ENDED_BY}
    taken = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])


@contextmanager
def deaf_threads() -> Iterator[None]:
    """Threads that are started in this block get no signal that ends the process: the main thread does.

    The kernel may give a signal to any thread. Only the main one obeys it, and one that waits in a system call of its own
    would not hear of it until that returns.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    for each in _ENDED_BY:  # a terminal that closes sends more than one, and the first is being obeyed
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)
