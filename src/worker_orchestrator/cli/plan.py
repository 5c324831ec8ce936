"""`orchestrator plan`: which sizes of a pool would have been right for the assigns that were recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from worker_orchestrator.cli.asking import ask
from worker_orchestrator.cli.completion_candidates import complete_pool
from worker_orchestrator.cli.output_option import output_option
from worker_orchestrator.cli.service_connection import with_client
from worker_orchestrator.cli.terminal_display import print_table
from worker_orchestrator.cli.text_formats import json_document, printable

if TYPE_CHECKING:
    from worker_orchestrator.client import Client
    from worker_orchestrator.wire.v1 import PlannedSizes, Pool, PoolPlan, ReplayedSizes

__all__ = ["COMMANDS", "plot"]

_HEADERS: Final = ("IDLE", "PARKED", "HITS", "P50", "P99", "IDLE H", "PARKED H", "")
_OF_RESERVE: Final = ("PARKED", "PARKED H")
"""Not shown where nothing is parked in any row."""
_WIDTH: Final = 60
_HEIGHT: Final = 12


@click.command(short_help="Say which sizes would have been right.")
@click.option(
    "--pool", "name", default="default", metavar="NAME", shell_complete=complete_pool, help="Which pool. [default]"
)
@click.option(
    "--target",
    type=click.FloatRange(0.5, 0.9999),
    metavar="RATIO",
    help="Wanted share of assigns that find a machine. Default: that of the settings, 0.99.",
)
@click.option("--days", type=click.IntRange(1, 35), metavar="N", help="How many days count. [7]")
@click.option("--apply", "applies", is_flag=True, help="Give the pool the size that is proposed, as `scale` does.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_option("text", "json")
@with_client
def plan(
    client: Client, *, name: str, target: float | None, days: int | None, applies: bool, yes: bool, output: str
) -> None:
    """Replay the assigns that were recorded against several sizes, and show what each would have been worth.

    HITS is the share of the assigns that would have found a machine, idle or parked (the hit ratio); P50 and P99 are waits
    of all assigns. H are the machine-hours for which machines would have been idle or parked. The last row is a size that
    follows demand, as with `sizing = "adaptive"`. No limit, failure or release is replayed.

    The size is proposed that reaches the target at the least cost, an hour of an idle machine counting as much as two of a
    parked one. It depends on the record, the target and the limits of the pool, and not on its present size.
    """
    found = client.plan(name, target=target, days=days)
    if output == "json":
        click.echo(json_document(found))
    else:
        _print(found)
    if applies:
        _apply(client, found, asks=not yes)


def _print(found: PoolPlan) -> None:
    click.echo(f"pool {found.pool}, target {found.target:g}: {printable(found.sentence)}")
    if not found.arrivals:
        return
    click.echo()
    left_out = () if any(one.parked for one in found.sizes) else _OF_RESERVE
    rows = [dict(zip(_HEADERS, _row(found, one), strict=True)) for one in found.sizes]
    headers = tuple(header for header in _HEADERS if header not in left_out)
    print_table(headers, [tuple(row[header] for header in headers) for row in rows])
    click.echo()
    for line in plot(found):
        click.echo(line)
    click.echo()
    click.echo(_advice(found))


def _row(found: PoolPlan, one: ReplayedSizes) -> tuple[str, ...]:
    most = "max " if one.adaptive else ""
    waits = (f"{_short(seconds)} s" for seconds in (one.p50_wait_seconds, one.p99_wait_seconds))
    hours = (f"{hours:.1f}" if hours < 1000 else f"{hours:.0f}" for hours in (one.idle_hours, one.parked_hours))
    return (f"{most}{one.idle}", f"{most}{one.parked}", f"{one.hit_ratio:.4f}", *waits, *hours, _note(found, one))


def _short(seconds: float) -> str:
    return f"{seconds:.3g}" if seconds < 1000 else f"{seconds:.0f}"


def _note(found: PoolPlan, one: ReplayedSizes) -> str:
    if one.adaptive:
        return "follows demand"
    notes = {"proposed": found.proposed, "now": found.now if found.sizing == "fixed" else None}
    return ", ".join(word for word, sizes in notes.items() if sizes is not None and _is(one, sizes))


def _is(one: ReplayedSizes, sizes: PlannedSizes) -> bool:
    return not one.adaptive and (one.idle, one.parked) == (sizes.idle, sizes.parked)


def plot(found: PoolPlan) -> list[str]:
    """Hit ratio against idle machine-hours, in plain characters: `o` a fixed size, `*` the proposed one, `A` adaptive."""
    most = max([one.idle_hours for one in found.sizes] + [0.1])
    lowest = min([one.hit_ratio for one in found.sizes] + [found.target])
    lowest = max(0.0, lowest - 0.02)
    grid = [[" "] * (_WIDTH + 1) for _ in range(_HEIGHT + 1)]

    def line_of(ratio: float) -> int:
        return round((1 - ratio) / (1 - lowest) * _HEIGHT)

    wanted = line_of(found.target)
    grid[wanted] = ["-"] * (_WIDTH + 1)
    for one in found.sizes:
        is_proposed = found.proposed is not None and _is(one, found.proposed)
        mark = "A" if one.adaptive else "*" if is_proposed else "o"
        grid[line_of(one.hit_ratio)][round(one.idle_hours / most * _WIDTH)] = mark
    labels = {0: "1.00", wanted: f"{found.target:g}", _HEIGHT: f"{lowest:.2f}"}
    lines = [f"{labels.get(number, ''):>6} |{''.join(cells).rstrip()}" for number, cells in enumerate(grid)]
    axis = f"{'':>6} +{'-' * (_WIDTH + 1)}"
    return [
        "hit ratio   o fixed size   * proposed   A follows demand   --- target",
        *lines,
        axis,
        f"{'':>8}0{'idle machine-hours':^{_WIDTH - 10}}{most:>10.1f}",
    ]


def _advice(found: PoolPlan) -> str:
    follows = ""
    if found.sizing == "adaptive":
        follows = f" The pool follows demand, and keeps {_in_words(found.now)} now."
    if not found.enough:
        return f"Too little is on record to propose a size.{follows}"
    if found.proposed is None:
        more = "Allow more with `orchestrator scale --max-machines N`."
        return f"No size that the pool may have reaches {found.target:g}. {more}{follows}"
    return f"The fixed size of least cost that reaches {found.target:g} is {_in_words(found.proposed)}.{follows}"


def _in_words(sizes: PlannedSizes) -> str:
    return f"{sizes.idle} idle and {sizes.parked} parked" if sizes.parked else f"{sizes.idle} idle"


def _apply(client: Client, found: PoolPlan, *, asks: bool) -> None:
    """Set what was proposed, after it was shown."""
    if found.sizing == "adaptive":
        click.echo(f"The pool {found.pool} follows demand by itself, so nothing is set.", err=True)
        return
    if found.proposed is None:
        click.echo("No size is proposed, so nothing is set.", err=True)
        return
    pool = client.pool(found.pool)
    changes = _changes(pool, found.now, found.proposed)
    if not changes:
        click.echo(f"The pool {found.pool} has this size already.", err=True)
        return
    words = ", ".join(f"{size} {before} -> {after}" for size, (before, after) in changes.items())
    click.echo(f"~ pool {found.pool}: {words}", err=True)
    if asks and not ask("Apply?", "Nothing was set."):
        return
    sizes: dict[str, Any] = {size: after for size, (_, after) in changes.items()}
    if sizes.get("parked") == 0 and not pool.configured.parked:
        sizes["parked"] = None  # as the settings say: a 0 here would say that none is ever parked
    client.scale(found.pool, **sizes)
    click.echo("Applied.", err=True)


def _changes(pool: Pool, now: PlannedSizes, to: PlannedSizes) -> dict[str, tuple[int, int]]:
    """What each size is now, without clock windows, and what it becomes."""
    changes = {"min_idle": (now.idle, to.idle), "parked": (now.parked, to.parked)}
    most = pool.changed.get("max_idle", pool.configured.max_idle)
    if most is not None and most < to.idle:
        changes["max_idle"] = (most, to.idle)
    return {size: (before, after) for size, (before, after) in changes.items() if before != after}


COMMANDS: Final[tuple[Any, ...]] = (plan,)
