"""What the computer itself can do: the client against an empty server, and a bare SQLite commit."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from bench import load
from bench.bare import BareStore
from bench.run import Run
from bench.subjects import BUILD, empty, express

__all__ = ["client", "commit", "floor"]

COMMITS = 2000
MACHINES = 20
FSYNCS = 500


def cycle(number: int) -> list[tuple[str, bytes]]:
    """The requests of one connection, which assigns and releases a machine for a project of its own."""
    return [("assign", load.request("GET", f"/p{number}")), ("release", load.request("DELETE", f"/p{number}"))]


def pair(number: int) -> tuple[bytes, bytes]:
    """The requests of an open load: each assign is for another project."""
    return load.request("GET", f"/q{number}"), load.request("DELETE", f"/q{number}")


def client(run: Run) -> None:
    """A raw echo over loopback: the ceiling of client and kernel together."""
    with empty() as server:
        for _ in range(run.rounds(5)):
            for connections in (1, 16, 100):
                found = load.closed(server.port, connections, run.seconds(3.0), cycle)
                run.book.add(f"echo.{connections}.pairs", found.rate("assign"))
                run.book.add_times(f"echo.{connections}", found.took_ms["assign"])
            found = load.opened(server.port, 250, run.seconds(8.0, 3.0), pair)
            run.book.add_times("echo.open", found.took_ms["assign"])
            run.book.add_times("echo.client_late", found.late_ms)


def floor(run: Run) -> None:
    """What a warm assign costs if nothing is decided, checked, logged or counted: one commit and one reply."""
    with empty(stores=True) as bare, express(MACHINES) as theirs:
        sides = [("bare", bare), ("bare-express", theirs)]
        for _, subject in sides:
            load.closed(subject.port, 1, 1.0, cycle)
        for name, subject in run.interleaved(7, sides, least=5):
            found = load.opened(subject.port, 250, run.seconds(8.0, 3.0), pair)
            run.book.add_times(f"open.{name}", found.took_ms["assign"])


def commit(run: Run) -> None:
    """One transaction with the least that an assign writes."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        for _ in range(run.rounds(5)):
            for mode in ("NORMAL", "FULL"):
                run.book.add_times(f"sqlite.{mode.lower()}", _commits(Path(folder, f"{mode}.db"), mode))
            run.book.add_times("fdatasync", _syncs(Path(folder, "synced")))


def _commits(path: Path, mode: str) -> list[float]:
    store = BareStore(path, mode)
    took_ms = []
    for number in range(COMMITS):
        begun = time.perf_counter()
        store.commit(number)
        took_ms.append((time.perf_counter() - begun) * 1000)
    store.close()
    return took_ms


def _syncs(path: Path) -> list[float]:
    """How long the disk takes to confirm that a page is safe."""
    took_ms = []
    with path.open("wb") as file:
        for _ in range(FSYNCS):
            begun = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fdatasync(file.fileno())
            took_ms.append((time.perf_counter() - begun) * 1000)
    return took_ms
