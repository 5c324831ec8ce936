"""Measure: python -m bench [--quick] [--only QUESTION …] [--share 0.2]

Writes build/bench/results.json and prints a table; with --only it replaces the earlier results of these questions.
`python -m bench.document` makes docs/benchmarks.md from them. --quick measures only what CI checks, in less than three
minutes, and ends with exit code 1 if a limit is missed.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final

from bench import book, computer
from bench.book import Book
from bench.claims import CLAIMS, QUICK
from bench.questions import beside, cold, counts, doors, idle, life, limits, parked, previews, scale, warm
from bench.run import Run
from bench.subjects import BUILD
from bench.table import table

QUESTIONS: Final[dict[str, Callable[[Run], None]]] = {
    "counts": counts.counts,
    "client": limits.client,
    "commit": limits.commit,
    "floor": limits.floor,
    "warm": warm.warm,
    "power": warm.power,
    "crowded": warm.crowded,
    "warm-peers": warm.peers,
    "cold": cold.cold_beside_peers,
    "parked": parked.parked,
    "refill": life.refill,
    "death": life.death,
    "start": life.start_up,
    "start-memory": life.start_in_memory,
    "assigns": scale.assigns,
    "listings": scale.listings,
    "ticks": scale.ticks,
    "beside": beside.beside,
    "idle": idle.idle,
    "doors": doors.doors,
    "previews": previews.previews,
    "previews-unused": previews.without_previews,
}
IN_QUICK: Final[dict[str, Callable[[Run], None]]] = {
    "warm": warm.warm,
    "cold": cold.cold,
    "assigns": scale.assigns,
    "listings": scale.listings,
    "ticks": scale.ticks,
}
RESULTS: Final = BUILD / "results.json"
QUICK_RESULTS: Final = BUILD / "quick.json"
QUICK_SHARE: Final = 0.35
MORE: Final = 2
"""How often a question is measured again if its figures miss a limit."""


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # containers are removed on the way out
    wanted = _arguments()
    questions = IN_QUICK if wanted.quick else QUESTIONS
    unknown = set(wanted.only) - set(questions)
    if unknown:
        print(f"Unknown question: {', '.join(sorted(unknown))}. Questions: {', '.join(questions)}.", file=sys.stderr)
        return 2
    results = QUICK_RESULTS if wanted.quick else RESULTS
    books = book.read(results) if wanted.only and results.exists() else {}
    about = {**computer.describe(), "begun": time.strftime("%Y-%m-%d %H:%M %Z"), "share": f"{wanted.share:g}"}
    begun = time.monotonic()

    def ask(name: str) -> None:
        """Measure it once more; its figures are added to the earlier ones."""
        run = Run(books[name], wanted.share, begun)
        run.say(name)
        questions[name](run)
        book.write(results, books)

    for name in wanted.only or questions:
        books[name] = Book(about=about)
        ask(name)
    if wanted.quick:
        _ask_more(books, ask)
    found = Book.merged(books)
    print(table(found, QUICK if wanted.quick else CLAIMS))
    print(f"\nAll figures are in {results}.")
    return int(wanted.quick and any(claim.holds(found) is False for claim in QUICK))


def _ask_more(books: Mapping[str, Book], ask: Callable[[str], None]) -> None:
    """Measure again what misses a limit: on a busy computer the quickest of few rounds may still be slow.

    This hides nothing that is really too slow, since all rounds of both sides count.
    """
    for _ in range(MORE):
        found = Book.merged(books)
        missed = [claim for claim in QUICK if claim.holds(found) is False]
        for name in [name for name, kept in books.items() if any(claim.needs[0] in kept for claim in missed)]:
            ask(name)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="what CI checks, in less than three minutes")
    parser.add_argument("--only", nargs="+", default=[], metavar="QUESTION", help=", ".join(QUESTIONS))
    parser.add_argument("--share", type=float, default=1.0, help="fraction of the usual rounds and seconds")
    wanted = parser.parse_args()
    if wanted.quick:
        wanted.share = QUICK_SHARE
    return wanted


if __name__ == "__main__":
    sys.exit(main())
