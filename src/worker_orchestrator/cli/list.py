"""`orchestrator list`: the machines, once or watched."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from worker_orchestrator.cli.completion_candidates import complete_project
from worker_orchestrator.cli.output_option import output_option
from worker_orchestrator.cli.service_connection import open_patient_client, with_client
from worker_orchestrator.cli.signal_handling import exit_on_signals, new_threads_without_signals
from worker_orchestrator.cli.terminal_display import console, is_interactive, print_table, styled_table
from worker_orchestrator.cli.text_formats import age, columns, json_document, json_line, printable
from worker_orchestrator.errors import EventsLost, MachineNotFound, OrchestratorError

if TYPE_CHECKING:
    from worker_orchestrator.client import Client
    from worker_orchestrator.wire.v1 import Machine

__all__ = ["COMMANDS"]

STATES: Final = ("idle", "starting", "assigned", "restarting", "stopping", "failed")
OLDEST_LIST_S: Final = 5.0
"""A watched list is never older, even if the stream of events missed something."""
_PAUSE_S: Final = 0.2
"""Between two lists, however many events come."""
_HEADERS: Final = ("MACHINE", "PROJECT", "STATE", "URL", "MADE", "CHANGED")
_WIDE_HEADERS: Final = ("POOL", "GENERATION", "CONTAINER", "TEMPLATE", "REASON")


@click.command("list", short_help="List machines.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES), help="Only those in this state. May be repeated."
)
@click.option("--project", metavar="PROJECT", shell_complete=complete_project, help="Only the machine of this project.")
@click.option("-w", "--watch", is_flag=True, help="Continue, and show what changes.")
@output_option("table", "wide", "json", "name")
@with_client
def list_(client: Client, *, states: tuple[str, ...], project: str | None, watch: bool, output: str) -> None:
    """List machines. `orchestrator ls` and `orchestrator ps` are the same.

    With --watch a terminal shows a table that is kept up to date; a pipe gets the machines that there are, and then a line
    for each machine that changed.
    """

    def fetch() -> list[Machine]:
        return client.machines(states=states, project=project)

    if not watch:
        _print(fetch(), output)
    elif is_interactive(sys.stdout) and output in {"table", "wide"}:
        _watch_table(fetch, wide=output == "wide")
    else:
        _watch_lines(client, fetch, output)


def _print(machines: Sequence[Machine], output: str) -> None:
    if output == "json":
        click.echo(json_document(machines))
    elif output == "name":
        for machine in machines:
            click.echo(machine.id)
    elif machines:
        print_table(_headers(wide=output == "wide"), [_row(machine, wide=output == "wide") for machine in machines])
    else:
        click.echo("No machines.", err=True)


def _headers(*, wide: bool) -> tuple[str, ...]:
    return _HEADERS + _WIDE_HEADERS if wide else _HEADERS


def _row(machine: Machine, *, wide: bool) -> tuple[str, ...]:
    times = (f"{age(machine.created_at)} ago", f"{age(machine.changed_at)} ago")
    row = (machine.id, machine.project or "-", machine.state, machine.url or "-", *times)
    if not wide:
        return row
    container = (machine.container_id or "-")[:12]
    more = (machine.pool, str(machine.generation), container, machine.template)
    return (*row, *more, printable(machine.reason) or "-")


# watching


def _watch_table(fetch: Callable[[], list[Machine]], *, wide: bool) -> None:
    """A table on a screen of its own, drawn again after each event."""
    from rich.live import Live  # noqa: PLC0415 # only to watch on a terminal

    screen = console()
    with exit_on_signals(), Live(console=screen, screen=True, auto_refresh=False) as live:
        for _ in _changes():
            rows = [_row(machine, wide=wide) for machine in fetch()]
            live.update(styled_table(_headers(wide=wide), rows), refresh=True)


def _watch_lines(client: Client, fetch: Callable[[], list[Machine]], output: str) -> None:
    """The machines that there are, and then a line for each one that changed or left the list."""
    known: dict[str, Machine] = {}
    for is_first in _changes():
        machines = {machine.id: machine for machine in fetch()}
        changed = [machine for machine in machines.values() if known.get(machine.id) != machine]
        left = [_state_now(client, machine) for machine in known.values() if machine.id not in machines]
        _print_lines([*changed, *left], output, header=is_first)
        known = machines


def _state_now(client: Client, machine: Machine) -> Machine:
    """A machine that left the list, as it is now: it has another state or project, or is gone."""
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
    """True at once, and then False whenever the list may differ from the last one."""
    happened, client = threading.Event(), open_patient_client()

    def listen() -> None:
        while True:
            try:
                for _ in client.events(follow=True):
                    happened.set()
            except EventsLost:
                happened.set()  # the next list shows what the lost events told
            except OrchestratorError:
                return  # from now on the list is fetched by the clock, and its own error says what is wrong

    with new_threads_without_signals():
        threading.Thread(target=listen, name="events", daemon=True).start()
    yield True
    while True:
        happened.wait(OLDEST_LIST_S)
        happened.clear()
        yield False
        time.sleep(_PAUSE_S)


COMMANDS: Final[tuple[Any, ...]] = (list_,)
