"""The results as text for a terminal: each limit with its figure, then the median of every figure."""

from __future__ import annotations

from collections.abc import Sequence

from bench.book import Book
from bench.claims import Claim

__all__ = ["number", "table", "verdict"]


def number(value: float) -> str:
    """With three significant digits."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.01 else f"{value:.4f}"


def verdict(claim: Claim, book: Book) -> str:
    match claim.holds(book):
        case True:
            return "holds"
        case False:
            return "MISSED"
        case None:
            return "not measured" if claim.value(book) is None else "not meant here"


def table(book: Book, claims: Sequence[Claim]) -> str:
    rows = [("what", "wanted", "measured", "")]
    for claim in claims:
        value = claim.value(book)
        rows.append((claim.what, claim.wanted, "" if value is None else number(value), verdict(claim, book)))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    figures = [f"  {name}: {number(book.median(name))}" for name in sorted(book.values)]
    notes = [f"  {name}: {text}" for name, text in book.notes.items()]
    return "\n".join([*lines, "", "medians", *figures, *(["", "notes", *notes] if notes else [])])
