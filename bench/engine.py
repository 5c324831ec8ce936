"""Measure how fast the service is on the engine that DOCKER_HOST names: python -m bench.engine [--rounds 9]

Cold assigns, 1 and 20 at once on an empty pool, in turns with the same by the engine's own API and with the same options.
Every assign must be answered with 200. What counts is the median of the pairs of rounds. On a computer that does much else,
only the shortest round of each side says how much is the service's own.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from typing import Final

from bench.book import Book
from bench.questions.cold import cold
from bench.raw_docker import raw_docker
from bench.run import Run

LIMITS: Final = {1: 1.05, 20: 1.10}
"""How much longer than the engine's own API the service may take, by the number of assigns at once."""


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # containers are removed on the way out
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="of 20 at once; three times as many of one")
    rounds = parser.parse_args().rounds
    run = Run(Book(about={}))
    cold(run, {1: 3 * rounds, 20: rounds})
    print(asyncio.run(_engine()))
    is_met = True
    for parallel, limit in LIMITS.items():
        names = [f"cold.{parallel}.{side}" for side in ("service", "raw")]
        service, raw = (run.book.median(name) for name in names)
        ratio = run.book.ratio(*names)
        is_met = is_met and ratio <= limit
        best = run.book.best(names[0]) / run.book.best(names[1])
        figures = f"service {service:.0f} ms, raw {raw:.0f} ms: {ratio:.3f} of {limit:.2f}"
        print(f"{parallel:>3} at once: {figures}; the shortest rounds {best:.3f}")
    return int(not is_met)


async def _engine() -> str:
    async with raw_docker() as raw:
        return raw.engine


if __name__ == "__main__":
    sys.exit(main())
