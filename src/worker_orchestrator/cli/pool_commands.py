"""`orchestrator scale`, `pause` and `resume`: change the pool of a running service, also for after its restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from worker_orchestrator.cli.output_option import output_option
from worker_orchestrator.cli.service_connection import with_client
from worker_orchestrator.cli.text_formats import json_document, printable

if TYPE_CHECKING:
    from worker_orchestrator.client import Client
    from worker_orchestrator.wire.v1 import Pool

__all__ = ["COMMANDS"]

CONFIGURED: Final = "default"


def _parse_size(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> int | str | None:
    """A number, or the word by which a size goes back to what the service was started with."""
    if value is None or value == CONFIGURED:
        return value
    if value.isdecimal() and len(value) <= 5:
        return int(value)
    raise click.BadParameter(f"{value!r} is neither a whole number nor `{CONFIGURED}`.")


_pool = click.option("--pool", "name", default="default", metavar="NAME", help="Which pool. [default]")


@click.command(short_help="Change how many machines the pool keeps.")
@click.option("--min-idle", callback=_parse_size, metavar="N", help="Idle machines to keep ready.")
@click.option("--max-idle", callback=_parse_size, metavar="N", help="Idle machines above this are removed.")
@click.option("--limit", callback=_parse_size, metavar="N", help="Hard limit of machines.")
@_pool
@output_option("text", "json")
@with_client
def scale(
    client: Client,
    *,
    name: str,
    output: str,
    min_idle: int | str | None,
    max_idle: int | str | None,
    limit: int | str | None,
) -> None:
    """Change how many machines the pool keeps; without an option, show the pool.

    What is changed here survives a restart of the service. `default` instead of a number goes back to the setting.
    """
    sizes = {"min_idle": min_idle, "max_idle": max_idle, "limit": limit}
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


def _print(pool: Pool, output: str) -> None:
    if output == "json":
        click.echo(json_document(pool))
        return
    click.echo(f"pool {pool.name}{', paused' if pool.paused else ''}: image {pool.image}")
    for title, now, configured in (
        ("min idle", pool.min_idle, pool.configured.min_idle),
        ("max idle", pool.max_idle, pool.configured.max_idle),
        ("limit", pool.limit, pool.configured.limit),
    ):
        changed = "" if now == configured else f"  (the service was started with {_size(configured)})"
        click.echo(f"  {title:<9} {_size(now)}{changed}")
    counted = {state: getattr(pool.machines, state) for state in pool.machines.__struct_fields__}
    click.echo("  machines  " + (", ".join(f"{count} {state}" for state, count in counted.items() if count) or "none"))
    if pool.waiting:
        click.echo(f"  waiting   {pool.waiting}")
    if pool.problem:
        click.echo(f"  problem   {printable(pool.problem)}")
    if pool.back_off:
        click.echo(f"  next try  in {pool.back_off.retry_in_seconds:.0f} s: {printable(pool.back_off.reason)}")


def _size(count: int | None) -> str:
    return "none" if count is None else str(count)


COMMANDS: Final[tuple[Any, ...]] = (scale, pause, resume)
