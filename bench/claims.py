"""The limits that must hold, one line for each, and how each is computed from what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.book import Book

__all__ = ["CLAIMS", "QUICK", "Claim"]


@dataclass(frozen=True, slots=True)
class Claim:
    """`measured` must be at most `limit`; with `at_least` at least. It is unknown if a name in `needs` was not measured."""

    what: str
    limit: float
    unit: str
    needs: Sequence[str]
    measured: Callable[[Book], float]
    at_least: bool = False
    only_if: Callable[[Book], bool] = lambda _: True
    """If this does not hold, the limit does not apply."""

    def value(self, book: Book) -> float | None:
        return self.measured(book) if all(name in book for name in self.needs) else None

    def holds(self, book: Book) -> bool | None:
        """None if it was not measured or does not apply."""
        value = self.value(book)
        if value is None or not self.only_if(book):
            return None
        return value >= self.limit if self.at_least else value <= self.limit

    @property
    def wanted(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g} {self.unit}".strip()


def _ratio(what: str, limit: float, name: str, to: str, *, at_least: bool = False, unit: str = "×") -> Claim:
    return Claim(what, limit, unit, (name, to), lambda book: book.ratio(name, to), at_least=at_least)


def _at_most(what: str, limit: float, unit: str, name: str) -> Claim:
    return Claim(what, limit, unit, (name,), lambda book: book.median(name))


def _longer_by(what: str, limit: float, unit: str, name: str, to: str) -> Claim:
    """How much more it is than the other one, in the same round."""

    def measured(book: Book) -> float:
        return statistics.median(a - b for a, b in zip(book.values[name], book.values[to], strict=False))

    return Claim(what, limit, unit, (name, to), measured)


def _syncs_quickly(book: Book) -> bool:
    return "fdatasync.p50" in book and book.median("fdatasync.p50") < 0.5


CLAIMS: Final = (
    _ratio("cold assign, against raw create + start + ready", 1.03, "cold.1.service", "cold.1.raw"),
    _ratio("20 at once on an empty pool, against 20 raw ones", 1.03, "cold.20.service", "cold.20.raw"),
    _ratio(
        "20 at once, nothing idle and 20 parked, against 20 raw starts", 0.1, "parked.20.service", "parked.20.start"
    ),
    _ratio("one from the parked reserve, against one raw start", 0.1, "parked.1.service", "parked.1.start"),
    _ratio("the same, against a raw unpause and first answer", 1.3, "parked.1.service", "parked.1.wake"),
    _at_most("ten parked workers that each burn 5 % of a core when running", 0.003, "cores", "parked.processor.paused"),
    _ratio(
        "warm pairs/s, 16 connections, against Express, which stores nothing",
        2.0,
        "warm.16.service.pairs",
        "warm.16.express.pairs",
        at_least=True,
    ),
    _ratio(
        "processor time of a pair, 16 connections, against Express",
        0.33,
        "warm.16.service.cpu_us",
        "warm.16.express.cpu_us",
    ),
    _ratio(
        "p99 of an assign, 100 connections on 100 machines, against Express",
        0.5,
        "warm.100.service.p99",
        "warm.100.express.p99",
    ),
    _ratio("warm assign at 250/s against Express, p50", 0.85, "open.service.p50", "open.express.p50"),
    _ratio("warm assign at 250/s against Express, p99", 0.6, "open.service.p99", "open.express.p99"),
    _ratio("warm assign at 250/s against Express, p99.9", 0.5, "open.service.p999", "open.express.p999"),
    Claim(
        "pairs/s with durability = power against Express (where fdatasync p50 < 0.5 ms)",
        1.2,
        "×",
        ("warm.16.power.pairs", "warm.16.power-express.pairs", "fdatasync.p50"),
        lambda book: book.ratio("warm.16.power.pairs", "warm.16.power-express.pairs"),
        at_least=True,
        only_if=_syncs_quickly,
    ),
    _ratio("assign with 10,000 machines against 10, p50", 1.3, "scale.10000.p50", "scale.10.p50"),
    _at_most("tick with 10,000 machines", 30, "ms", "tick.10000.wall_ms"),
    _at_most("longest that a tick with 10,000 machines delays an assign", 30, "ms", "tick.10000.longest_ms"),
    _at_most("listing 1,000 machines, p50", 8, "ms", "list.service.p50"),
    _ratio("listings of 1,000 a second against Express", 5, "list.service.rate", "list.express.rate", at_least=True),
    _ratio(
        "idle container dead → no longer listed, against Docker's own event", 2, "death.unlisted_ms", "death.event_ms"
    ),
    _at_most("ready after start, 300 containers to adopt", 1.5, "s", "start.300.ready_s"),
    _at_most("memory at rest, 300 containers", 90, "MiB", "rest.300.memory_mib"),
    _at_most("the same, 100 of them parked", 75, "MiB", "rest.parked.memory_mib"),
    Claim(
        "memory under load against 0.6 × Express + 40 MiB",
        1.0,
        "×",
        ("warm.16.service.memory_mib", "warm.16.express.memory_mib"),
        lambda book: book.median("warm.16.service.memory_mib") / (0.6 * book.median("warm.16.express.memory_mib") + 40),
    ),
    _at_most("CPU at rest, 300 containers", 2, "% of a core", "rest.300.cpu_percent"),
    Claim(
        "engine calls for a warm assign",
        0,
        "",
        ("counts.engine_calls",),
        lambda book: book.median("counts.engine_calls"),
    ),
    _ratio(
        "create of E2B's client on a warm pool, against a stub that stores nothing",
        1.5,
        "doors.create.service",
        "doors.create.stub",
    ),
    _ratio(
        "a command of E2B's client, against an exec by the engine's own API",
        1.3,
        "doors.command.service",
        "doors.command.raw",
    ),
    _ratio(
        "small requests/s of previews, 16 connections, against Caddy as a plain proxy",
        0.25,
        "previews.door.rate",
        "previews.caddy.rate",
        at_least=True,
    ),
    _ratio("the same at 250/s, p50", 2.0, "previews.door.open.p50", "previews.caddy.open.p50"),
    _ratio("a download of 128 MiB, against Caddy", 0.5, "previews.door.down", "previews.caddy.down", at_least=True),
    _ratio("an upload of 128 MiB, against Caddy", 0.5, "previews.door.up", "previews.caddy.up", at_least=True),
    _longer_by(
        "what Caddy loses at 250/s by asking /v1/route first, p50",
        1.0,
        "ms",
        "previews.asking.open.p50",
        "previews.caddy.open.p50",
    ),
    _ratio(
        "processor time of a pair, previews on without a visitor, against off",
        1.02,
        "preview.on.cpu_us",
        "preview.off.cpu_us",
    ),
)


def _best(what: str, limit: float, name: str, to: str) -> Claim:
    """Compares the quickest rounds, since CI may share its computer."""
    return Claim(what, limit, "×", (name, to), lambda book: book.best(name) / book.best(to))


QUICK: Final = (
    _best("cold assign against the raw API", 1.6, "cold.1.service", "cold.1.raw"),
    _best("20 at once against the raw API", 1.6, "cold.20.service", "cold.20.raw"),
    _best("processor time of a pair, against Express", 0.85, "warm.16.service.cpu_us", "warm.16.express.cpu_us"),
    _best("p50 at 250/s against Express", 2.0, "open.service.p50", "open.express.p50"),
    _best("a pair with 10,000 machines against 10", 1.7, "scale.10000.cpu_us", "scale.10.cpu_us"),
    _best("tick with 10,000 machines against 1,000", 18.0, "tick.10000.cpu_ms", "tick.1000.cpu_ms"),
    _best("processor time of a list of 1,000, against Express", 0.4, "list.service.cpu_us", "list.express.cpu_us"),
)
"""What CI checks: far enough from the measured figures not to fail by chance, near enough to notice what doubles. If
possible, processor time is compared, which a busy computer hardly changes."""
