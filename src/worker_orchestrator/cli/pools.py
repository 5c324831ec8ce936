"""`orchestrator pools`: all pools, what each of them has and wants, and what keeps it from that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from worker_orchestrator.cli.output_option import output_option
from worker_orchestrator.cli.service_connection import with_client
from worker_orchestrator.cli.terminal_display import print_table
from worker_orchestrator.cli.text_formats import json_document, printable, utc_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker_orchestrator.client import Client
    from worker_orchestrator.wire.v1 import Pool

__all__ = ["COMMANDS", "state_of_pool"]

_HEADERS: Final = ("POOL", "IMAGE", "IDLE", "ASSIGNED", "STARTING", "WAITING", "MIN", "MAX", "LIMIT", "STATE")
_EXPIRY_HEADERS: Final = ("TIME", "POOL", "PROJECT", "MACHINE", "BY", "REASON")
_WIDE_HEADERS: Final = (
    "WANTED",
    "SPARE",
    "RESTARTING",
    "SLEEPING",
    "STOPPING",
    "FAILED",
    "TEMPLATE",
    "WHY",
    "HELD BACK",
)


@click.command("pools", short_help="List the pools.")
@click.option("--expiries", is_flag=True, help="Instead, the last assignments of each pool that a deadline ended.")
@output_option("table", "wide", "json", "name")
@with_client
def pools(client: Client, *, expiries: bool, output: str) -> None:
    """List the pools: how many machines each has in each state, its sizes, and how it is.

    LIMIT is the most machines that the pool may have: its own limit, or that of all pools where that is less. A pool that
    the settings no longer name is shown last while it has machines.
    """
    found = client.pools()
    if expiries and output in {"table", "wide"}:
        _print_expiries(found)
        return
    if output == "json":
        click.echo(json_document(found))
    elif output == "name":
        for pool in found:
            click.echo(pool.name)
    else:
        wide, parks = output == "wide", any(pool.parked or pool.machines.parked for pool in found)
        headers = (*_HEADERS[:3], *(("PARKED",) if parks else ()), *_HEADERS[3:], *(_WIDE_HEADERS if wide else ()))
        print_table(headers, [_row(pool, wide=wide, parks=parks) for pool in found])


def _print_expiries(found: Sequence[Pool]) -> None:
    """Newest first, of all pools together."""
    ended = sorted(
        ((one, pool.name) for pool in found for one in pool.expiries), key=lambda pair: pair[0].at, reverse=True
    )
    rows = [
        (utc_time(one.at), name, one.project, one.machine, one.by or "-", printable(one.reason)) for one, name in ended
    ]
    if rows:
        print_table(_EXPIRY_HEADERS, rows)
    else:
        click.echo("No deadline has ended an assignment, as far as events are kept.", err=True)


def _row(pool: Pool, *, wide: bool, parks: bool = False) -> tuple[str, ...]:
    """`parks`: some pool has or wants a reserve, so there is a column for that."""
    machines = pool.machines
    parked = (f"{machines.parked}/{pool.parked}" if pool.parked else str(machines.parked),) if parks else ()
    counts = (machines.idle, *parked, machines.assigned, machines.starting, pool.waiting, pool.min_idle)
    limit = min(pool.limit, pool.limit if pool.max_machines is None else pool.max_machines)
    sizes = ("-" if pool.max_idle is None else str(pool.max_idle), str(limit))
    row = (pool.name, printable(pool.image) or "-", *map(str, counts), *sizes, state_of_pool(pool))
    if not wide:
        return row
    wanted = "-" if pool.wanted_idle is None else str(pool.wanted_idle)
    more = map(str, (machines.restarting, machines.sleeping, machines.stopping, machines.failed))
    words = (pool.template or "-", printable(pool.why) or "-", printable(pool.held_back or "") or "-")
    return (*row, wanted, f"{pool.spare:.0%}" if pool.spare else "-", *more, *words)


def state_of_pool(pool: Pool) -> str:
    """How a pool is, in a word or two.

    * `retired`  the settings no longer name it
    * `paused`   it starts no machines until `orchestrator resume`
    * `failing`  its machines do not come up, or cannot be made
    * `short`    it has fewer machines than it wants, and a limit holds it back
    * `short reserve`  only parked ones are missing: nobody waits, and as many are idle as it wants
    * `ok`       none of these
    """
    if pool.retired:
        return "retired"
    if pool.paused:
        return "paused"
    if pool.back_off is not None or pool.problem is not None:
        return "failing"
    if pool.held_back is None:
        return "ok"
    lacks_idle = pool.waiting or pool.machines.idle < (pool.min_idle if pool.wanted_idle is None else pool.wanted_idle)
    return "short reserve" if pool.machines.parked < pool.parked and not lacks_idle else "short"


COMMANDS: Final = (pools,)
