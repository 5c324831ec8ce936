"""Adds the counts of `bench.counts` to the figures. tests/bench asserts them."""

from __future__ import annotations

from bench.counts import PAIRS, counted
from bench.run import Run

__all__ = ["counts"]


def counts(run: Run) -> None:
    found, book = counted(), run.book
    book.add("counts.statements_assign", len(found["assign"].statements))
    book.add("counts.statements_release", len(found["release"].statements))
    book.add("counts.statements_later", len(found["a moment later"].statements))
    book.add("counts.engine_calls", found["assign"].engine.total())
    book.add("counts.reply_bytes", found["assign"].reply_bytes)
    book.add("counts.python_calls_pair", found["pair"].calls)
    book.add("counts.peak_bytes_assign", found["memory of an assign"].peak_bytes)
    book.add("counts.blocks_left_pair", found[f"memory of {PAIRS} pairs"].blocks / PAIRS)
