"""`orchestrator scale`, `pause` and `resume`: change a pool of a running service, also for after its restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from worker_orchestrator.cli.completion_candidates import complete_pool
from worker_orchestrator.cli.output_option import output_option
from worker_orchestrator.cli.service_connection import with_client
from worker_orchestrator.cli.text_formats import counted, json_document, printable

if TYPE_CHECKING:
    from worker_orchestrator.client import Client
    from worker_orchestrator.wire.v1 import BackOff, Pool

__all__ = ["COMMANDS"]

CONFIGURED: Final = "default"
_TITLES: Final = {
    "min_idle": "min idle",
    "max_idle": "max idle",
    "parked": "parked",
    "max_machines": "own limit",
    "limit": "limit",
}
_UNTOLD: Final = {"parked": 0, "max_machines": None}
"""Sizes of which nothing is said while they are so, and the settings say the same."""


def _parse_size(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> int | str | None:
    """A number, or the word by which a size goes back to what the settings say."""
    if value is None or value == CONFIGURED:
        return value
    if value.isdecimal() and len(value) <= 5:
        return int(value)
    raise click.BadParameter(f"{value!r} is neither a whole number nor `{CONFIGURED}`.")


_pool = click.option(
    "--pool", "name", default="default", metavar="NAME", shell_complete=complete_pool, help="Which pool. [default]"
)


@click.command(short_help="Change how many machines the pool keeps.")
@click.option("--min-idle", callback=_parse_size, metavar="N", help="Idle machines to keep ready.")
@click.option("--max-idle", callback=_parse_size, metavar="N", help="Idle machines above this are removed.")
@click.option(
    "--parked",
    callback=_parse_size,
    metavar="N",
    help="Machines to keep paused for when none is idle; 0: none ever.",
)
@click.option("--max-machines", callback=_parse_size, metavar="N", help="Hard limit of machines of this pool.")
@click.option("--limit", callback=_parse_size, metavar="N", help="Hard limit of machines, of all pools together.")
@_pool
@output_option("text", "json")
@with_client
def scale(  # noqa: PLR0913 # one for each size
    client: Client,
    *,
    name: str,
    output: str,
    min_idle: int | str | None,
    max_idle: int | str | None,
    parked: int | str | None,
    max_machines: int | str | None,
    limit: int | str | None,
) -> None:
    """Change how many machines the pool keeps; without an option, show the pool.

    What is changed here survives a restart of the service. `default` instead of a number goes back to the setting. --limit
    is that of all pools together, whichever pool is named.
    """
    sizes = {
        "min_idle": min_idle,
        "max_idle": max_idle,
        "parked": parked,
        "max_machines": max_machines,
        "limit": limit,
    }
    wanted: dict[str, Any] = {
        size: None if value == CONFIGURED else value for size, value in sizes.items() if value is not None
    }
    _print(client.scale(name, **wanted) if wanted else client.pool(name), output)


@click.command(short_help="Stop making new machines for now.")
@_pool
@output_option("text", "json")
@with_client
def pause(client: Client, *, name: str, output: str) -> None:
    """Make no new machines until `resume`, also after a restart of the service. Existing machines are still handed out."""
    _print(client.pause(name), output)


@click.command(short_help="Make new machines again.")
@_pool
@output_option("text", "json")
@with_client
def resume(client: Client, *, name: str, output: str) -> None:
    """Make new machines again, after `pause`."""
    _print(client.resume(name), output)


def _print_sizes(pool: Pool) -> None:
    if pool.sizing == "adaptive":
        click.echo(f"  sizing    adaptive: they follow demand for a hit ratio of {pool.target:g}")
    for size, title in _TITLES.items():
        now, configured = getattr(pool, size), getattr(pool.configured, size)
        chosen = pool.changed.get(size, configured)
        if size == "parked" and chosen == 0 and pool.sizing == "adaptive":
            click.echo("  parked    0  (none ever, also where demand would ask for it)")
            continue
        if size == "parked":  # where the settings say nothing, demand may ask for some
            configured, chosen = configured or 0, chosen or 0
        if size not in _UNTOLD or {now, configured} != {_UNTOLD[size]}:
            why = "demand asks for it" if size != "max_idle" and pool.sizing == "adaptive" else "a window is open"
            click.echo(f"  {title:<9} {_size(now)}{_why_other(now, configured, chosen, why)}")
    if pool.dropped:
        click.echo(f"  dropped   {printable(pool.dropped)}")


def _print(pool: Pool, output: str) -> None:
    if output == "json":
        click.echo(json_document(pool))
        return
    click.echo(f"pool {pool.name}{', paused' if pool.paused else ''}: {_made_of(pool)}")
    _print_sizes(pool)
    click.echo(f"  machines  {counted(pool.machines)}")
    if pool.waiting:
        click.echo(f"  waiting   {pool.waiting}")
    if pool.wanted_idle not in {None, pool.configured.min_idle} or pool.retired or pool.sizing == "adaptive":
        click.echo(f"  wanted    {pool.wanted_idle} idle: {printable(pool.why)}")
    if pool.problem:
        click.echo(f"  problem   {printable(pool.problem)}")
    if pool.back_off:
        reason = printable(pool.back_off.reason)
        why = "" if reason in printable(pool.problem or "") else f": {reason}"
        click.echo(f"  next try  {_next_try(pool.back_off)}{why}")
    elif pool.held_back and not pool.problem and not pool.paused:
        click.echo(f"  held back {printable(pool.held_back)}")
    if pool.demand is not None:
        click.echo(f"  demand    {printable(pool.demand.sentence)}")


def _made_of(pool: Pool) -> str:
    if pool.retired:
        return "retired"
    return f"image {pool.image}{', ports ' if pool.port_names else ''}{', '.join(pool.port_names)}"


def _why_other(now: int | None, configured: int | None, chosen: int | None, why: str) -> str:
    """Why a size is not as the settings say; `chosen` is what it is while nothing else asks for another one, and `why`."""
    if now != chosen:
        return f"  ({why}; otherwise {_size(chosen)})"
    return "" if now == configured else f"  (the settings say {_size(configured)})"


def _next_try(back_off: BackOff) -> str:
    return "now, with the new image" if back_off.trying_new_image else f"in {back_off.retry_in_seconds:.0f} s"


def _size(count: int | None) -> str:
    return "none" if count is None else str(count)


COMMANDS: Final[tuple[Any, ...]] = (scale, pause, resume)
