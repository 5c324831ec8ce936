"""The counts of `bench.counts`, as figures beside the others. tests/bench asserts them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import uvloop

from bench.counts import watched
from bench.run import Run
from bench.subjects import BUILD

__all__ = ["counts"]


def counts(run: Run) -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        uvloop.run(_count(run, Path(folder)))


async def _count(run: Run, folder: Path) -> None:
    book = run.book
    async with watched(folder) as seen:
        with seen.counting() as assigning:
            reply = await seen.assign()
        with seen.counting() as releasing:
            await seen.release()
        book.add("counts.statements_assign", len(assigning.statements))
        book.add("counts.statements_release", len(releasing.statements))
        book.add("counts.engine_calls", assigning.engine.total())
        book.add("counts.reply_bytes", len(reply))
        with seen.counting_calls() as calling:
            await seen.assign()
            await seen.release()
        book.add("counts.python_calls_pair", calling.calls)
        with seen.counting_memory() as remembering:
            await seen.assign()
            await seen.release()
        book.add("counts.peak_bytes_pair", remembering.peak_bytes)
