"""Deadlines of assignments on the command line: as options, as people write them, and in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from worker_orchestrator.cli.durations import seconds_of

if TYPE_CHECKING:
    from worker_orchestrator.wire.v1 import Lease, Machine

__all__ = ["deadline_options", "deadlines_in_words", "expiry_in_words", "short_expiry"]

LONGEST_S: Final = 31_536_000
_OPTIONS: Final = (
    ("--ttl", "Lose it so long after the last assign or keepalive, such as 1h; 0: never."),
    ("--idle-timeout", "Lose it when it has not been used for so long, such as 15m; 0: never."),
    ("--max-age", "Lose it so long after the assignment, whatever happens; 0: never."),
    (
        "--confirm-within",
        "Lose it so long after the assignment if it is not used at all until then; 0: never.",
    ),
)


def deadline_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each deadline; each is seconds then, or None where it is not given."""
    for name, text in reversed(_OPTIONS):
        command = click.option(name, metavar="DURATION", callback=seconds_of(0, LONGEST_S), help=text)(command)
    return command


def short_expiry(lease: Lease) -> str:
    """When it ends and by which deadline, for a table: `in 12m (ttl)`."""
    from worker_orchestrator.cli.text_formats import time_left  # noqa: PLC0415 # as above

    return "-" if lease.expires_at is None else f"in {time_left(lease.expires_at)} ({lease.expires_by})"


def expiry_in_words(lease: Lease) -> str:
    """When it ends, how long that is from now, and by which deadline; empty if none is to come."""
    from worker_orchestrator.cli.text_formats import time_left, utc_time  # noqa: PLC0415 # as above

    if lease.expires_at is None:
        return ""
    return f"{utc_time(lease.expires_at)} (in {time_left(lease.expires_at)}, by {lease.expires_by})"


def deadlines_in_words(machine: Machine) -> str:
    """All its deadlines: `ttl 1h, max_age 1d`."""
    lease: Any = machine.lease
    limits = {name: getattr(lease, name) for name in ("ttl", "idle_timeout", "max_age", "confirm_within")}
    return ", ".join(f"{name} {_written(seconds)}" for name, seconds in limits.items() if seconds is not None)


def _written(seconds: float) -> str:
    """As people write it: 90s, 15m, 1h30m."""
    left, parts = int(seconds), []
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        if left >= length:
            parts.append(f"{left // length}{unit}")
            left %= length
    return "".join(parts) if seconds == int(seconds) else f"{seconds:g}s"
