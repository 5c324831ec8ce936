"""How a signal ends a command that has changed the terminal: its screen, cursor and keys are restored first."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

__all__ = ["exit_on_signals", "new_threads_without_signals"]

_EXIT_SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Without SIGINT, which Python turns into an exception by itself."""
_ENDING_SIGNALS: Final = (*_EXIT_SIGNALS, signal.SIGINT)


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """In this block a signal ends the process by SystemExit (128 + its number), so that every `finally` runs.

    A signal that is ignored stays so, as SIGHUP under nohup. For the main thread.
    """
    before = {number: signal.getsignal(number) for number in _EXIT_SIGNALS}
    handled = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in handled:
        signal.signal(number, _exit)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])


@contextmanager
def new_threads_without_signals() -> Iterator[None]:
    """Threads that are started in this block get no signal that ends the process: the main thread gets it.

    The kernel may deliver a signal to any thread, but Python handles it in the main thread only. If that waits in a system
    call and another thread got the signal, it would not be handled before the system call returns.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    for each in _EXIT_SIGNALS:  # a terminal that closes sends more than one, and this one is already being handled
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)
