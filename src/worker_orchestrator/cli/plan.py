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
    from worker_orchestrator.wire.v1 import PlannedSizes, PoolPlan, ReplayedSizes

__all__ = ["COMMANDS", "plot"]

_HEADERS: Final = ("IDLE", "PARKED", "HIT RATIO", "P50 WAIT", "P99 WAIT", "IDLE HOURS", "PARKED HOURS", "")
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

    HIT RATIO is the share of the assigns that would have found a machine, idle or parked; the waits are of all assigns.
    HOURS are the machine-hours for which machines would have been idle or parked. The last row is a size that follows
    demand, as with `sizing = "adaptive"`. No limit, failure or release is replayed.
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
    print_table(_HEADERS, [_row(found, one) for one in found.sizes])
    click.echo()
    for line in plot(found):
        click.echo(line)
    click.echo()
    click.echo(_advice(found))


def _row(found: PoolPlan, one: ReplayedSizes) -> tuple[str, ...]:
    many = "up to " if one.adaptive else ""
    waits = (f"{seconds:.3g} s" for seconds in (one.p50_wait_seconds, one.p99_wait_seconds))
    hours = (f"{hours:.1f}" for hours in (one.idle_hours, one.parked_hours))
    return (f"{many}{one.idle}", f"{many}{one.parked}", f"{one.hit_ratio:.4f}", *waits, *hours, _note(found, one))


def _note(found: PoolPlan, one: ReplayedSizes) -> str:
    if one.adaptive:
        return "follows demand"
    notes = {"proposed": found.proposed, "now": found.now}
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
    if found.proposed is None:
        more = "Allow more with `orchestrator scale --max-machines N`."
        return f"No size that the pool may have reaches {found.target:g}. {more}"
    parked = f" and {found.proposed.parked} parked" if found.proposed.parked else ""
    return f"The smallest fixed size that reaches {found.target:g} is {found.proposed.idle} idle{parked}."


def _apply(client: Client, found: PoolPlan, *, asks: bool) -> None:
    """Set what was proposed, after it was shown."""
    if found.sizing == "adaptive":
        click.echo(f"The pool {found.pool} follows demand by itself, so nothing is set.", err=True)
        return
    if found.proposed is None:
        click.echo("No size is proposed, so nothing is set.", err=True)
        return
    pool = client.pool(found.pool)
    changes: dict[str, Any] = {"min_idle": found.proposed.idle}
    if pool.max_idle is not None and pool.max_idle < found.proposed.idle:
        changes["max_idle"] = found.proposed.idle
    if pool.parked != found.proposed.parked:
        changes["parked"] = found.proposed.parked
    words = ", ".join(f"{size} {getattr(pool, size)} -> {value}" for size, value in changes.items())
    if all(getattr(pool, size) == value for size, value in changes.items()):
        click.echo(f"The pool {found.pool} has this size already.", err=True)
        return
    click.echo(f"~ pool {found.pool}: {words}", err=True)
    if asks and not ask("Apply?", "Nothing was set."):
        return
    client.scale(found.pool, **changes)
    click.echo("Applied.", err=True)


COMMANDS: Final[tuple[Any, ...]] = (plan,)
