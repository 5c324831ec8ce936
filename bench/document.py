"""Makes docs/benchmarks.md and its charts from the results of the last run: python -m bench.document

The text is in `bench/words.md`, the figures are in build/bench/results.json. This puts the figures into the text, so that no
figure on the page is typed by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from bench import sizes
from bench.book import Book, read
from bench.charts import Bar, bars
from bench.claims import CLAIMS
from bench.peers.installed import PEERS
from bench.subjects import BUILD, ROOT
from bench.table import number, verdict

__all__ = ["document"]

WORDS: Final = ROOT / "bench" / "words.md"
PAGE: Final = ROOT / "docs" / "benchmarks.md"
CHARTS: Final = ROOT / "docs" / "benchmarks"

_NAMES: Final = {
    "raw": "raw Docker API",
    "plain": "raw, unprotected",
    "service": "this service",
    "express": "Express",
    "power": "this, power-safe",
}
_PARALLEL: Final = (1, 4, 10, 20)
_SIZES: Final = (10, 100, 1000, 10_000)


def document(book: Book) -> str:
    """The page, as Markdown."""
    page = WORDS.read_text(encoding="utf-8")
    for name, make in _PARTS.items():
        page = page.replace(f"<!-- {name} -->", make(book))
    return page


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join([_row(*head), _row(*["---"] * len(head)), *(_row(*row) for row in rows)])


def _value(book: Book, name: str) -> str:
    return number(book.median(name)) if name in book else "-"


def _machine(book: Book) -> str:
    return _table(("", ""), [(name, text) for name, text in book.about.items() if name != "share"])


def _claims(book: Book) -> str:
    rows = []
    for claim in CLAIMS:
        value, said = claim.value(book), verdict(claim, book)
        measured = "-" if value is None else f"{number(value)} {claim.unit}".strip()
        rows.append((claim.what, claim.wanted, measured, f"**{said}**" if said == "MISSED" else said))
    return _table(("what", "must be", "measured", ""), rows)


def _limits(book: Book) -> str:
    rows = [
        (f"loopback HTTP echo, {count} connection{'s' if count > 1 else ''}: pairs/s", f"echo.{count}.pairs")
        for count in (1, 16, 100)
    ]
    rows += [
        ("the same, 1 connection, p50 (ms)", "echo.1.p50"),
        ("echo at 250/s, p50 and p99 (ms)", "echo.open.p50 echo.open.p99"),
        ("lateness of the client itself at 250/s, p50 and p99 (ms)", "echo.client_late.p50 echo.client_late.p99"),
        ("the same with a bare SQLite commit for each request, p50 and p99 (ms)", "open.bare.p50 open.bare.p99"),
        ("bare SQLite commit, NORMAL, p50 and p99 (ms)", "sqlite.normal.p50 sqlite.normal.p99"),
        ("bare SQLite commit, FULL, p50 and p99 (ms)", "sqlite.full.p50 sqlite.full.p99"),
        ("fdatasync of 4 KiB, p50 and p99 (ms)", "fdatasync.p50 fdatasync.p99"),
    ]
    measured = [(what, " · ".join(_value(book, name) for name in names.split())) for what, names in rows]
    if "open.bare.p50" in book:
        ratio = number(book.ratio("open.bare.p50", "open.bare-express.p50"))
        measured.append(("an echo with a bare commit at 250/s against Express, p50", f"{ratio} ×"))
    return _table(("what the computer can do", "measured"), measured)


def _cold(book: Book) -> str:
    rows = []
    for name in ("raw", "service", "plain", *PEERS):
        times = [f"cold.{parallel}.{name}" for parallel in _PARALLEL]
        rows.append((_NAMES.get(name, name), *(_value(book, time) for time in times)))
    return _table(("ms until all are served", *(f"{parallel} at once" for parallel in _PARALLEL)), rows)


def _parked(book: Book) -> str:
    rows = [
        (what, *(_value(book, f"parked.{parallel}.{name}") for parallel in (1, 20)))
        for what, name in (
            ("raw create, start, first answer", "start"),
            ("raw unpause", "unpause"),
            ("raw unpause, first answer", "wake"),
            ("this service, nothing idle and so many parked", "service"),
        )
    ]
    return _table(("ms until all are served", "one", "20 at once"), rows)


def _warm(book: Book) -> str:
    rows = []
    for count in (1, 10, 16, 100):
        for name in ("service", "express", "power", *PEERS):
            key = f"warm.{count}.{name}"
            if f"{key}.pairs" in book:
                figures = (_value(book, f"{key}.{what}") for what in ("pairs", "p50", "p99", "p999", "cpu_us"))
                rows.append((str(count), _NAMES.get(name, name), *figures))
    return _table(("clients", "who", "pairs/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU µs per pair"), rows)


def _opened(book: Book) -> str:
    rows = []
    for name in ("service", "express", "power"):
        key = f"open.{name}"
        if f"{key}.p50" in book:
            figures = [_value(book, f"{key}.{what}") for what in ("p50", "p99", "p999", "longest")]
            used = [_value(book, f"{key}.{what}") for what in ("cpu_percent", "memory_mib")]
            rows.append((_NAMES[name], *figures, *used))
    return _table(("250/s", "p50 ms", "p99 ms", "p99.9 ms", "longest ms", "CPU %", "memory MiB"), rows)


def _previews(book: Book) -> str:
    rows = []
    figures = ("rate", "cpu_us", "p99", "open.p50", "open.p99", "down", "up", "down.cpu_ms", "up.cpu_ms")
    for name, who in (
        ("worker", "the worker itself"),
        ("door", "this service"),
        ("caddy", "Caddy"),
        ("asking", "Caddy, asking /v1/route"),
    ):
        if f"previews.{name}.rate" in book:
            rows.append((who, *(_value(book, f"previews.{name}.{figure}") for figure in figures)))
    head = ("requests/s", "CPU µs", "p99 ms", "p50 ms at 250/s", "p99 ms at 250/s")
    return _table(("", *head, "down MiB/s", "up MiB/s", "CPU ms per MiB down", "and up"), rows)


def _life(book: Book) -> str:
    rows = [
        ("refill: all ten idle machines taken, ten idle again", "refill.full_ms"),
        ("an assign on the pool that was just drained", "refill.drained_ms"),
        ("idle container killed: Docker's own event", "death.event_ms"),
        ("… no longer listed", "death.unlisted_ms"),
        ("… another one listed in its place", "death.replaced_ms"),
        ("100 at once on 100 machines that rested, each asked first: p50", "rested.100.service.p50"),
        ("… the last one", "rested.100.service.longest"),
        ("… Express, which asks nobody: the last one", "rested.100.express.longest"),
        ("assign at 100/s in /v1, p99, nobody else", "beside.quiet.p99"),
        ("… beside ten event streams, a log follower and a stuck command", "beside.busy.p99"),
        ("assign at 100/s beside 10,000 idle connections, p99", "idle.p99"),
    ]
    return _table(("", "ms"), [(what, _value(book, name)) for what, name in rows])


def _starts(book: Book) -> str:
    rows = []
    for count in (0, 10, 100, 300):
        figures = [f"start.{count}.first_ms", f"start.{count}.ready_s"]
        rest = [f"rest.{count}.memory_mib", f"rest.{count}.cpu_percent"]
        ticks = [f"tick.docker.{count}.{what}" for what in ("wall_ms", "cpu_ms", "longest_ms")]
        rows.append((f"{count:,} containers", *(_value(book, name) for name in (*figures, *rest, *ticks))))
    for count in (0, 1000, 10_000):
        first, whole = (f"start.memory.{count}.{what}" for what in ("first_ms", "ready_ms"))
        whole_s = number(book.median(whole) / 1000) if whole in book else "-"
        rows.append((f"{count:,} in memory", _value(book, first), whole_s, "", "", "", "", ""))
    head = (
        "to adopt",
        "first answer ms",
        "all ready s",
        "MiB at rest",
        "CPU % at rest",
        "tick ms",
        "its CPU ms",
        "longest block ms",
    )
    return _table(head, rows)


def _scale(book: Book) -> str:
    rows = []
    for size in _SIZES:
        key = f"scale.{size}"
        assigns = [f"{key}.p50", f"{key}.p99", f"{key}.cpu_us", f"{key}.open.p999", f"{key}.memory_mib"]
        ticks = [f"tick.{size}.{what}" for what in ("wall_ms", "longest_ms")]
        rows.append((f"{size:,}", *(_value(book, name) for name in (*assigns, *ticks))))
    return _table(
        (
            "machines",
            "assign p50 ms",
            "p99 ms",
            "CPU µs per pair",
            "p99.9 at 250/s",
            "MiB",
            "tick ms",
            "longest block ms",
        ),
        rows,
    )


def _lists(book: Book) -> str:
    rows = [
        (_NAMES[name], *(_value(book, f"list.{name}.{what}") for what in ("p50", "p99", "rate")))
        for name in ("service", "express")
    ]
    return _table(("1,000 machines", "p50 ms", "p99 ms", "lists/s"), rows)


def _counts(book: Book) -> str:
    rows = [
        (
            "SQL statements of an assign, of a release, and of each a moment after its reply",
            "counts.statements_assign counts.statements_release counts.statements_later",
        ),
        ("engine calls of an assign", "counts.engine_calls"),
        ("bytes of its reply, head and body", "counts.reply_bytes"),
        ("Python functions that a pair calls", "counts.python_calls_pair"),
        ("bytes of memory that an assign needs meanwhile", "counts.peak_bytes_assign"),
        ("blocks of memory that a pair leaves to the collector", "counts.blocks_left_pair"),
    ]
    return _table(
        ("counted", ""), [(what, " · ".join(_value(book, name) for name in names.split())) for what, names in rows]
    )


def _stopped(book: Book) -> str:
    told = sorted(set(book.notes.values()))
    return "\n".join(f"* {text}" for text in told) if told else "In this run all of them were measured."


_PARTS: Final[dict[str, Callable[[Book], str]]] = {
    "machine": _machine,
    "claims": _claims,
    "limits": _limits,
    "cold": _cold,
    "parked": _parked,
    "warm": _warm,
    "open": _opened,
    "previews": _previews,
    "life": _life,
    "starts": _starts,
    "scale": _scale,
    "lists": _lists,
    "sizes": lambda _book: sizes.table(),
    "counts": _counts,
    "stopped": _stopped,
}


# charts


def _kind(name: str) -> str:
    return {"raw": "limit", "echo": "limit", "service": "ours", "power": "ours"}.get(name, "theirs")


def _group(book: Book, names: Sequence[str], key: str) -> list[Bar]:
    """A bar for each of these that was measured; its name stands for the braces in `key`."""
    found = [(name, key.format(name)) for name in names]
    return [Bar(_NAMES.get(name, name), book.median(value), _kind(name)) for name, value in found if value in book]


def charts(book: Book) -> Iterator[tuple[str, str]]:
    """Names and drawings, as far as they were measured."""
    cold = [(f"{count} at once", _group(book, ("raw", "service", *PEERS), f"cold.{count}.{{}}")) for count in (1, 20)]
    yield "cold", _drawn("Cold: until all are served", "ms", cold)
    sides = ("service", "power", "express")
    pairs = [("", _group(book, sides, "warm.16.{}.pairs"))]
    yield "pairs", _drawn("Warm assign and release, 16 connections", "pairs/s, more is better", pairs)
    quantiles = (("p50", "p50"), ("p99", "p99"), ("p99.9", "p999"))
    slow = [(label, _group(book, sides, f"open.{{}}.{name}")) for label, name in quantiles]
    yield "latency", _drawn("Warm assign at 250/s", "ms", slow, logarithmic=True)
    ticks = [(f"{size:,} machines", f"tick.{size}.wall_ms") for size in _SIZES]
    bars_of_ticks = [Bar(label, book.median(name), "ours") for label, name in ticks if name in book]
    yield "ticks", _drawn("A tick, by the number of machines", "ms", [("", bars_of_ticks)], logarithmic=True)


def _drawn(title: str, unit: str, groups: Sequence[tuple[str, Sequence[Bar]]], *, logarithmic: bool = False) -> str:
    there = [(name, group) for name, group in groups if group]
    return bars(title, unit, there, logarithmic=logarithmic) if there else ""


def main() -> int:
    book = Book.merged(read(BUILD / "results.json"))
    CHARTS.mkdir(parents=True, exist_ok=True)
    for name, drawing in charts(book):
        if drawing:
            (CHARTS / f"{name}.svg").write_text(drawing, encoding="utf-8")
    PAGE.write_text(document(book), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
