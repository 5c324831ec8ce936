"""Runs a coroutine for a command that works where the service runs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["run_on_event_loop"]

_T = TypeVar("_T")


def run_on_event_loop(work: Coroutine[Any, Any, _T]) -> _T:
    """Run it to its end, on uvloop where there is one, since that is the fastest."""
    try:
        import uvloop  # noqa: PLC0415 # not on Windows
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
