"""How the cost of assigns, listings and ticks grows with the number of machines, without the growing cost of Docker."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from typing import Final

from bench import load
from bench.questions.limits import cycle, pair
from bench.run import Run
from bench.subjects import ROOT, express, in_memory

__all__ = ["assigns", "listings", "tick", "ticks"]

SIZES: Final = (10, 10_000, 100, 1000)
"""The two sizes that are compared are next to each other, since the load of a shared computer changes within seconds."""
LISTED: Final = 1000


def assigns(run: Run) -> None:
    """One connection, and 250/s, with 10 to 10,000 machines."""
    sizes = (10, 10_000) if run.share < 0.5 else SIZES
    with ExitStack() as open_ones:
        sides = [(size, open_ones.enter_context(in_memory(size))) for size in sizes]
        for size, subject in sides:
            subject.await_idle(size)
            load.closed(subject.port, 16, 1.0, cycle)
        for size, subject in run.interleaved(24, sides, least=5):
            before_s = subject.cpu_s()
            found = load.closed(subject.port, 1, run.seconds(1.2, 0.5), cycle)
            run.book.add_times(f"scale.{size}", found.took_ms["assign"])
            run.book.add(f"scale.{size}.pairs", found.rate("assign"))
            run.book.add(f"scale.{size}.cpu_us", (subject.cpu_s() - before_s) / len(found.took_ms["assign"]) * 1e6)
            run.book.add(f"scale.{size}.memory_mib", subject.memory_mib())
        if run.share < 0.5:
            return
        for size, subject in run.interleaved(3, sides):
            found = load.opened(subject.port, 250, run.seconds(12.0, 3.0), pair)
            run.book.add_times(f"scale.{size}.open", found.took_ms["assign"])


def listings(run: Run) -> None:
    """GET /machines/list with 1,000 machines, one connection."""

    def listing(_: int) -> list[tuple[str, bytes]]:
        return [("list", load.request("GET", "/machines/list"))]

    with in_memory(LISTED) as ours, express(LISTED) as theirs:
        ours.await_idle(LISTED)
        sides = [("service", ours), ("express", theirs)]
        for _, subject in sides:
            load.closed(subject.port, 1, 0.5, listing)
        for name, subject in run.interleaved(7, sides, least=5):
            before_s = subject.cpu_s()
            found = load.closed(subject.port, 1, run.seconds(2.0), listing)
            run.book.add(f"list.{name}.cpu_us", (subject.cpu_s() - before_s) / len(found.took_ms["list"]) * 1e6)
            run.book.add_times(f"list.{name}", found.took_ms["list"])
            run.book.add(f"list.{name}.rate", found.rate("list"))


def ticks(run: Run) -> None:
    """Each in a process of its own, since the heap of a process adds to a tick what the garbage collector takes."""
    sizes = (1000, 10_000) if run.share < 0.5 else SIZES
    for size in run.interleaved(5, sizes):
        tick(run, f"tick.{size}", "memory", str(size))


def tick(run: Run, name: str, *words: str) -> None:
    command = [sys.executable, "-m", "bench.tick", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    found = json.loads(done.stdout)
    for what in ("wall_ms", "cpu_ms", "longest_ms"):
        run.book.add(f"{name}.{what}", found[what])
