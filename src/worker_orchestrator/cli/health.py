"""`orchestrator health`: whether the service can hand out machines, and what is wrong."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from worker_orchestrator.cli.exit_codes import FAILED
from worker_orchestrator.cli.output_option import output_option
from worker_orchestrator.cli.pools import state_of_pool
from worker_orchestrator.cli.service_connection import with_client
from worker_orchestrator.cli.terminal_display import console, is_interactive
from worker_orchestrator.cli.text_formats import columns, counted, duration, json_document, output_line, printable

if TYPE_CHECKING:
    from worker_orchestrator.client import Client
    from worker_orchestrator.wire.v1 import Pool, ServiceHealth

__all__ = ["COMMANDS"]

LINES_SHOWN: Final = 10


@click.command(short_help="Print the health of the service.")
@output_option("text", "json")
@with_client
def health(client: Client, *, output: str) -> None:
    """Print the health of the service. The exit code is 1 if it is down: it cannot hand out any machine, as /readyz says.

    If new machines do not come up, the last log lines of the last one follow.
    """
    health_now = client.health()
    if output == "json":
        click.echo(json_document(health_now))
    else:
        pools = client.pools()
        _print(health_now, pools)
        _print_last_lines(pools)
    if health_now.status == "down":
        sys.exit(FAILED)


def _print(health: ServiceHealth, pools: list[Pool]) -> None:
    listed = health.engine.last_listing_age_seconds
    engine = "connected" if health.engine.connected else "not connected"
    rows = [
        ("Service:", f"{health.status}, version {health.version}, up {duration(health.uptime_seconds)}"),
        ("Engine:", f"{health.engine.kind}, {engine}" + ("" if listed is None else f", listed {duration(listed)} ago")),
        ("Machines:", counted(health.machines)),
        ("Waiting:", str(health.waiting)),
        *_pool_rows(pools),
    ]
    if health.strays or health.foreign:
        lists = "`orchestrator recover` lists them, with --state-dir and --docker-host of the service"
        rows.append(("Not ours:", f"{health.strays} strays, {health.foreign} foreign ({lists})"))
    for line in columns(rows):
        _print_line(line, {"ok": "green", "degraded": "yellow", "down": "red"}.get(health.status, ""))
    for problem in [*filter(None, [health.engine.problem]), *health.problems]:
        _print_line(f"! {printable(problem)}", "red")


def _pool_rows(pools: list[Pool]) -> list[tuple[str, str]]:
    """How each pool is, where there are several."""
    if len(pools) == 1:
        return []
    return [(f"Pool {pool.name}:", f"{state_of_pool(pool)}, {counted(pool.machines)}") for pool in pools]


def _print_last_lines(pools: list[Pool]) -> None:
    """What workers wrote that do not come up: the cause most often stands there."""
    for pool in pools:
        if pool.back_off is not None and pool.back_off.evidence:
            click.echo(f"Last log lines of {pool.image}:")
            for line in pool.back_off.evidence.splitlines()[-LINES_SHOWN:]:
                click.echo(f"  {output_line(line)}")


def _print_line(line: str, style: str) -> None:
    if style and is_interactive(sys.stdout) and line.startswith(("Service:", "!")):
        console().print(line, style=style, soft_wrap=True)
    else:
        click.echo(line)


COMMANDS: Final[tuple[Any, ...]] = (health,)
