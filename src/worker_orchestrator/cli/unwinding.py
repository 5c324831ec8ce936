"""A terminal is left as it was found, also where a signal ends the command: its screen, its cursor, its keys."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

__all__ = ["unwinding"]

_ENDED_BY: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""SIGINT is an exception of Python's own already."""


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


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    for each in _ENDED_BY:  # a terminal that closes sends more than one, and the first is being obeyed
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)
