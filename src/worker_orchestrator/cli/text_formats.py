"""Results as text: tables of plain columns, JSON that never changes its shape, and times and sizes for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from worker_orchestrator.wire.v1 import Counted, Event, Setup

__all__ = [
    "age",
    "columns",
    "counted",
    "duration",
    "json_document",
    "json_line",
    "milliseconds",
    "output_line",
    "printable",
    "quantity",
    "setup_in_words",
    "state_word",
    "table",
    "time_left",
    "utc_time",
]

_GAP: Final = "  "
_SPANS: Final = ((86400, "d"), (3600, "h"), (60, "m"))
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def json_document(value: Any) -> str:
    """Readable JSON, with keys in the order of the API's documents."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def json_line(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Aligned columns under their headers, in plain text and never cut short."""
    return "\n".join(columns([headers, *rows]))


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [_GAP.join(map(str.ljust, row, widths)).rstrip() for row in rows]


def counted(machines: Counted) -> str:
    """How many machines are in each state; what is left of those that failed for no project is no machine any more."""
    counts = {state: getattr(machines, state) for state in machines.__struct_fields__}
    past = counts.pop("past_failures")
    counts["failed"] -= past
    words = [f"{count} {state}" for state, count in counts.items() if count]
    failures = f"{past} past {'failure' if past == 1 else 'failures'}"
    return ", ".join(words + ([failures] if past else [])) or "none"


def printable(text: str) -> str:
    """In one line, and without control characters, since workers wrote some of it and could steer the terminal by them."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


def output_line(text: str) -> str:
    """A line of a worker's output as `printable`, with its indentation."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text.rstrip().expandtabs())


def age(then: datetime, now: datetime | None = None) -> str:
    """How long ago, in the largest unit of which there are at least two: 12s, 5m, 3h, 2d."""
    return duration(((now or datetime.now(UTC)) - then).total_seconds())


def duration(seconds: float) -> str:
    whole = max(0, int(seconds))
    for span, unit in _SPANS:
        if whole >= 2 * span:
            return f"{whole // span}{unit}"
    return f"{whole}s"


def time_left(moment: datetime) -> str:
    """How long it is until then, as `age` writes it."""
    return duration((moment - datetime.now(UTC)).total_seconds())


def utc_time(moment: datetime) -> str:
    """RFC 3339 in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def milliseconds(value: float) -> str:
    return f"{value / 1000:.1f} s" if value >= 10_000 else f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def quantity(count: int) -> str:
    """Bytes, as 12.5 MiB."""
    size, unit = float(count), _UNITS[0]
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            break
        size /= 1024
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def setup_in_words(setup: Setup) -> str:
    """How long a set-up took, and how its hook ended: `120 ms, hook ended with exit code 0`."""
    hook = "" if setup.exit_code is None else f", hook ended with exit code {setup.exit_code}"
    return milliseconds(setup.ms) + hook


_GIVES_UP_PROJECT: Final = frozenset({"released", "withdrawn", "destroyed", "expired"})
_WORDS: Final = {"ready": ("idle", "assigned"), "starting": ("starting", "restarting")}


def state_word(event: Event) -> str:
    """The state of the machine after this event, in the words of `list`.

    An event names its state as it is recorded, whoever has the machine; one that ends an assignment names whose it was.
    """
    if event.state is None:
        return "gone"
    has_project = event.project is not None and event.cause not in _GIVES_UP_PROJECT
    free, assigned = _WORDS.get(event.state, (event.state, event.state))
    return assigned if has_project else free
