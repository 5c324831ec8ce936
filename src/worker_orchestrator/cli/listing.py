"""`orchestrator list`: the machines, once or for as long as somebody watches."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from worker_orchestrator.cli.calling import calls, follower, output_option
from worker_orchestrator.cli.completing import projects
from worker_orchestrator.cli.formats import age, as_json, columns, json_line, printable
from worker_orchestrator.cli.pretty import console, is_person, show_table, styled_table
from worker_orchestrator.cli.unwinding import deaf_threads, unwinding
from worker_orchestrator.errors import EventsLost, MachineNotFound, OrchestratorError

if TYPE_CHECKING:
    from worker_orchestrator.client import Client
    from worker_orchestrator.wire.v1 import Machine

__all__ = ["COMMANDS"]

STATES: Final = ("idle", "starting", "assigned", "restarting", "stopping", "failed")
LATEST_S: Final = 5.0
"""A watched list is never older, even where the stream of events lost one."""
_BREATH_S: Final = 0.2
"""Between two lists, however many events come."""
_HEADERS: Final = ("MACHINE", "PROJECT", "STATE", "URL", "AGE")
_WIDE: Final = ("POOL", "GENERATION", "CONTAINER", "TEMPLATE", "CHANGED", "REASON")


@click.command("list", short_help="List machines.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES), help="Only those in this state. May be repeated."
)
@click.option("--project", metavar="PROJECT", shell_complete=projects, help="Only the machine of this project.")
@click.option("-w", "--watch", is_flag=True, help="Go on, and show what changes.")
@output_option("table", "wide", "json", "name")
@calls
def list_(client: Client, *, states: tuple[str, ...], project: str | None, watch: bool, output: str) -> None:
    """List machines. `orchestrator ls` and `orchestrator ps` are the same.

    With --watch a person sees a table that keeps up; a pipe gets what is there, and then a line for each machine that
    changed.
    """

    def look() -> list[Machine]:
        return client.machines(states=states, project=project)

    if not watch:
        _show(look(), output)
    elif is_person(sys.stdout) and output in {"table", "wide"}:
        _watch_table(look, wide=output == "wide")
    else:
        _watch_lines(client, look, output)


def _show(machines: Sequence[Machine], output: str) -> None:
    if output == "json":
        click.echo(as_json(machines))
    elif output == "name":
        for machine in machines:
            click.echo(machine.id)
    elif machines:
        show_table(_headers(wide=output == "wide"), [_row(machine, wide=output == "wide") for machine in machines])
    else:
        click.echo("No machines.", err=True)


def _headers(*, wide: bool) -> tuple[str, ...]:
    return _HEADERS + _WIDE if wide else _HEADERS


def _row(machine: Machine, *, wide: bool) -> tuple[str, ...]:
    row = (machine.id, machine.project or "-", machine.state, machine.url or "-", age(machine.created_at))
    if not wide:
        return row
    container = (machine.container_id or "-")[:12]
    more = (machine.pool, str(machine.generation), container, machine.template, age(machine.changed_at))
    return (*row, *more, printable(machine.reason) or "-")


# watching


def _watch_table(look: Callable[[], list[Machine]], *, wide: bool) -> None:
    """A table on a screen of its own, drawn anew whenever something happened."""
    from rich.live import Live  # noqa: PLC0415 # only where a person watches

    screen = console()
    with unwinding(), Live(console=screen, screen=True, auto_refresh=False) as live:
        for _ in _changes():
            rows = [_row(machine, wide=wide) for machine in look()]
            live.update(styled_table(_headers(wide=wide), rows), refresh=True)


def _watch_lines(client: Client, look: Callable[[], list[Machine]], output: str) -> None:
    """What is there, and then a line for each machine that changed or went."""
    known: dict[str, Machine] = {}
    for first in _changes():
        machines = {machine.id: machine for machine in look()}
        changed = [machine for machine in machines.values() if known.get(machine.id) != machine]
        left = [_now(client, machine) for machine in known.values() if machine.id not in machines]
        _print_lines([*changed, *left], output, header=first)
        known = machines


def _now(client: Client, machine: Machine) -> Machine:
    """What became of a machine that is not in the list any more: it has another state or project now, or is gone."""
    try:
        return client.get(machine.id)
    except MachineNotFound:
        return msgspec.structs.replace(machine, state="gone", url=None)


def _print_lines(machines: Sequence[Machine], output: str, *, header: bool) -> None:
    if output in {"json", "name"}:
        for machine in machines:
            click.echo(json_line(machine) if output == "json" else machine.id)
        return
    wide = output == "wide"
    rows = [_headers(wide=wide), *(_row(machine, wide=wide) for machine in machines)]
    for line in columns(rows)[0 if header else 1 :]:
        click.echo(line)


def _changes() -> Iterator[bool]:
    """At once (True), and then (False) whenever a list may differ from the last one."""
    happened, client = threading.Event(), follower()

    def listen() -> None:
        while True:
            try:
                for _ in client.events(follow=True):
                    happened.set()
            except EventsLost:
                happened.set()  # whatever they told, the next list shows
            except OrchestratorError:
                return  # the list goes on by the clock, and says itself what is wrong

    with deaf_threads():
        threading.Thread(target=listen, name="events", daemon=True).start()
    yield True
    while True:
        happened.wait(LATEST_S)
        happened.clear()
        yield False
        time.sleep(_BREATH_S)


COMMANDS: Final[tuple[Any, ...]] = (list_,)
