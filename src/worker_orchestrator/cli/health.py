"""`orchestrator health`: whether the service can hand out machines, and what is wrong."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from worker_orchestrator.cli.exit_codes import FAILED
from worker_orchestrator.cli.output_option import output_option
from worker_orchestrator.cli.service_connection import with_client
from worker_orchestrator.cli.terminal_display import console, is_interactive
from worker_orchestrator.cli.text_formats import columns, duration, json_document, printable

if TYPE_CHECKING:
    from worker_orchestrator.client import Client
    from worker_orchestrator.wire.v1 import ServiceHealth

__all__ = ["COMMANDS"]


@click.command(short_help="Print the health of the service.")
@output_option("text", "json")
@with_client
def health(client: Client, *, output: str) -> None:
    """Print the health of the service. The exit code is 1 if it is down: it cannot hand out any machine, as /readyz says."""
    health_now = client.health()
    if output == "json":
        click.echo(json_document(health_now))
    else:
        _print(health_now)
    if health_now.status == "down":
        sys.exit(FAILED)


def _print(health: ServiceHealth) -> None:
    counted = {state: getattr(health.machines, state) for state in health.machines.__struct_fields__}
    machines = ", ".join(f"{count} {state}" for state, count in counted.items() if count) or "none"
    listed = health.engine.last_listing_age_seconds
    engine = "connected" if health.engine.connected else "not connected"
    rows = [
        ("Service:", f"{health.status}, version {health.version}, up {duration(health.uptime_seconds)}"),
        ("Engine:", f"{health.engine.kind}, {engine}" + ("" if listed is None else f", listed {duration(listed)} ago")),
        ("Machines:", machines),
        ("Waiting:", str(health.waiting)),
    ]
    if health.strays or health.foreign:
        lists = "`orchestrator recover` lists them, with --state-dir and --docker-host of the service"
        rows.append(("Not ours:", f"{health.strays} strays, {health.foreign} foreign ({lists})"))
    for line in columns(rows):
        _print_line(line, {"ok": "green", "degraded": "yellow", "down": "red"}.get(health.status, ""))
    for problem in [*filter(None, [health.engine.problem]), *health.problems]:
        _print_line(f"! {printable(problem)}", "red")


def _print_line(line: str, style: str) -> None:
    if style and is_interactive(sys.stdout) and line.startswith(("Service:", "!")):
        console().print(line, style=style, soft_wrap=True)
    else:
        click.echo(line)


COMMANDS: Final[tuple[Any, ...]] = (health,)
