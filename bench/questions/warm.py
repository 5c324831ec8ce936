"""Warm machines: pairs of assign and release per second, and the time of an assign, compared with Express and peers.

The pools are full and cannot grow, so nothing is created meanwhile. Everything else goes on as in production: listings,
probes, the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from bench import load
from bench.peers.installed import PEERS, PeerStoppedError, a_peer
from bench.questions.limits import cycle, pair
from bench.run import Run
from bench.subjects import Subject, express, service

__all__ = ["crowded", "peers", "power", "warm"]

MACHINES = 20
RATE = 250.0


def _closed(run: Run, name: str, subject: Subject, connections: int, seconds: float) -> None:
    before_s = subject.cpu_s()
    found = load.closed(subject.port, connections, seconds, cycle)
    run.book.add(f"{name}.pairs", found.rate("assign"))
    run.book.add_times(name, found.took_ms["assign"])
    run.book.add(f"{name}.cpu_percent", (subject.cpu_s() - before_s) / found.seconds * 100)
    run.book.add(f"{name}.cpu_us", (subject.cpu_s() - before_s) / len(found.took_ms["assign"]) * 1e6)
    run.book.add(f"{name}.memory_mib", subject.memory_mib())
    run.book.add(f"{name}.failed", len(found.failed))


def _opened(run: Run, name: str, subject: Subject, seconds: float) -> None:
    before_s = subject.cpu_s()
    found = load.opened(subject.port, RATE, seconds, pair)
    run.book.add_times(name, found.took_ms["assign"])
    if found.took_ms["release"]:  # empty on a computer so busy that each assign was answered after its release was due
        run.book.add_times(f"{name}.release", found.took_ms["release"])
    run.book.add(f"{name}.cpu_percent", (subject.cpu_s() - before_s) / found.seconds * 100)
    run.book.add(f"{name}.memory_mib", subject.memory_mib())
    run.book.add(f"{name}.failed", len(found.failed))


def warm(run: Run) -> None:
    """1, 10 and 16 connections that do not pause, and 250 assigns a second on a clock."""
    with ExitStack() as open_ones:
        sides = [
            ("service", open_ones.enter_context(service(machines=MACHINES))),
            ("express", open_ones.enter_context(express(MACHINES))),
        ]
        sides[0][1].await_idle(MACHINES)
        _warm_up(sides)
        for connections in (16,) if run.share < 0.5 else (1, 10, 16):
            for name, subject in run.interleaved(7, sides, least=5):
                _closed(run, f"warm.{connections}.{name}", subject, connections, run.seconds(3.0))
        for name, subject in run.interleaved(18, sides, least=5):
            _opened(run, f"open.{name}", subject, run.seconds(10.0, 3.0))


def crowded(run: Run) -> None:
    """100 connections, on pools of 100."""
    with service(machines=100) as ours, express(100) as theirs:
        ours.await_idle(100)
        sides = [("service", ours), ("express", theirs)]
        _warm_up(sides)
        for name, subject in run.interleaved(5, sides):
            _after_a_rest(run, f"rested.100.{name}", subject, 100)
            _closed(run, f"warm.100.{name}", subject, 100, run.seconds(3.0))


def _after_a_rest(run: Run, name: str, subject: Subject, connections: int) -> None:
    """All at once on machines that rested while the other side was measured, so that this service asks each first.

    Without this, the figures of a round would depend on how long it is: so many of its assigns come after a rest.
    """
    found = load.closed(subject.port, connections, 0.0, cycle)
    run.book.add_times(name, found.took_ms["assign"])


def power(run: Run) -> None:
    """What it costs to survive a power cut as well."""
    flags = ("--durability", "power")
    with service(*flags, machines=MACHINES) as ours, express(MACHINES) as theirs:
        ours.await_idle(MACHINES)
        sides = [("power", ours), ("express", theirs)]
        _warm_up(sides)
        for name, subject in run.interleaved(5, sides):
            suffix = name if name == "power" else "power-express"
            _closed(run, f"warm.16.{suffix}", subject, 16, run.seconds(3.0))
        for name, subject in run.interleaved(5, sides):
            suffix = name if name == "power" else "power-express"
            _opened(run, f"open.{suffix}", subject, run.seconds(8.0, 3.0))


def _warm_up(sides: Sequence[tuple[str, Subject]]) -> None:
    for _, subject in sides:
        load.closed(subject.port, 16, 1.0, cycle)


def peers(run: Run) -> None:
    """Peers that keep containers warm. They are libraries, called in their own process without HTTP: their best case."""
    for name, package in PEERS.items():
        if not package.has_pool:
            continue
        try:
            with a_peer(name) as peer:
                for _ in range(run.rounds(3)):
                    for clients in (1, 16):
                        found = peer.do("warm", clients=clients, seconds=run.seconds(3.0), machines=MACHINES)
                        run.book.add(f"warm.{clients}.{name}.pairs", found["pairs"] / found["seconds"])
                        run.book.add_times(f"warm.{clients}.{name}", found["took_ms"])
        except PeerStoppedError as stopped:
            run.book.note(f"warm.{name}", str(stopped))
            run.say(str(stopped))
