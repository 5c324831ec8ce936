"""How a signal ends a command that has changed the terminal: its screen, cursor and keys are restored first.

The end is an exception, and Python drops one that is raised in a finalizer or in the callback of a weak reference, such as
the import system has. So the signal is sent again until its exception is on its way.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

__all__ = ["exit_on_signals", "new_threads_without_signals"]

_EXIT_SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Without SIGINT, which Python turns into an exception by itself."""
_ENDING_SIGNALS: Final = (*_EXIT_SIGNALS, signal.SIGINT)
_AGAIN_S: Final = 0.2


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """In this block a signal ends the process by SystemExit (128 + its number), so that every `finally` runs.

    A signal that is ignored stays so, as SIGHUP under nohup. For the main thread.
    """
    before = {number: signal.getsignal(number) for number in _EXIT_SIGNALS}
    handled = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    exit_ = _Exit()
    for number in handled:
        signal.signal(number, exit_.begin)
    try:
        yield
    finally:
        exit_.arrives()
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


class _Exit:
    """The end of the process by the first of these signals. A terminal that closes sends more than one."""

    def __init__(self) -> None:
        self._number = 0
        self._arrived, self._sending = threading.Event(), threading.Lock()

    def begin(self, number: int, _frame: FrameType | None) -> None:
        if self._number not in {0, number} or isinstance(sys.exc_info()[1], SystemExit):
            return  # it is on its way
        if not self._number:
            self._number = number
            if hasattr(signal, "pthread_kill"):
                with new_threads_without_signals():
                    threading.Thread(target=self._insist, args=(threading.get_ident(),), daemon=True).start()
        sys.exit(128 + number)

    def arrives(self) -> None:
        """It leaves the block. From here on the signal would mean what it did before."""
        with self._sending:
            self._arrived.set()

    def _insist(self, thread: int) -> None:
        while not self._arrived.wait(_AGAIN_S):
            with self._sending:
                if not self._arrived.is_set():
                    signal.pthread_kill(thread, self._number)
