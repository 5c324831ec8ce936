"""`orchestrator list`: the machines, once or watched."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from worker_orchestrator.cli.completion_candidates import complete_pool, complete_project
from worker_orchestrator.cli.deadlines import short_expiry
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

STATES: Final = ("idle", "parked", "starting", "assigned", "restarting", "sleeping", "stopping", "failed")
OLDEST_LIST_S: Final = 5.0
"""A watched list is never older, even if the stream of events missed something."""
_PAUSE_S: Final = 0.2
"""Between two lists, however many events come."""
_HEADERS: Final = ("MACHINE", "PROJECT", "STATE", "URL", "MADE", "CHANGED")
_WIDE_HEADERS: Final = ("PORTS", "POOL", "GENERATION", "CONTAINER", "TEMPLATE", "REASON")


@click.command("list", short_help="List machines.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES), help="Only those in this state. May be repeated."
)
@click.option("--project", metavar="PROJECT", shell_complete=complete_project, help="Only the machine of this project.")
@click.option(
    "--pool",
    "pools",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_pool,
    help="Only machines of this pool. May be repeated.",
)
@click.option("-w", "--watch", is_flag=True, help="Continue, and show what changes.")
@output_option("table", "wide", "json", "name")
@with_client
def list_(  # one argument for each option
    client: Client, *, states: tuple[str, ...], project: str | None, pools: tuple[str, ...], watch: bool, output: str
) -> None:
    """List machines. `orchestrator ls` and `orchestrator ps` are the same.

    With --watch a terminal shows a table that is kept up to date; a pipe gets the machines that there are, and then a line
    for each machine that changed.
    """

    def fetch() -> list[Machine]:
        return client.machines(states=states, project=project, pool=pools)

    headers = _headers(client, output)
    if not watch:
        _print(fetch(), output, headers)
    elif is_interactive(sys.stdout) and headers:
        _watch_table(fetch, headers)
    else:
        _watch_lines(client, fetch, output, headers)


def _headers(client: Client, output: str) -> tuple[str, ...]:
    """The headers of the table; empty if the output is none. The pool is shown where there is more than one."""
    if output == "wide":
        return _HEADERS + _WIDE_HEADERS
    if output != "table":
        return ()
    return (*_HEADERS[:1], "POOL", *_HEADERS[1:]) if len(client.pools()) > 1 else _HEADERS


def _print(machines: Sequence[Machine], output: str, headers: tuple[str, ...]) -> None:
    if output == "json":
        click.echo(json_document(machines))
    elif output == "name":
        for machine in machines:
            click.echo(machine.id)
    elif machines:
        headers = _with_more(headers, machines)
        print_table(headers, [_row(machine, headers) for machine in _past_last(machines)])
    else:
        click.echo("No machines.", err=True)


def _with_more(headers: tuple[str, ...], machines: Sequence[Machine]) -> tuple[str, ...]:
    """These headers, with one more where some project has its machine for a limited time, and where one takes values."""
    more = [("EXPIRES", any(machine.lease is not None for machine in machines))]
    more += [("CONFIGURED", any(machine.configured is not None for machine in machines))]
    if not headers:
        return headers
    place = headers.index("CHANGED") + 1
    return (*headers[:place], *(header for header, is_shown in more if is_shown), *headers[place:])


def _past_last(machines: Sequence[Machine]) -> list[Machine]:
    """For readers: what is left of machines that failed for nobody comes after the machines that there are."""
    return sorted(machines, key=lambda one: one.state == "failed" and one.project is None and one.url is None)


def _row(machine: Machine, headers: tuple[str, ...]) -> tuple[str, ...]:
    cells = {
        "MACHINE": machine.id,
        "PROJECT": machine.project or "-",
        "STATE": machine.state,
        "URL": machine.url or "-",
        "MADE": f"{age(machine.created_at)} ago",
        "CHANGED": f"{age(machine.changed_at)} ago",
        "EXPIRES": "-" if machine.lease is None else short_expiry(machine.lease),
        "CONFIGURED": {None: "-", True: "yes", False: "no"}[machine.configured],
        "PORTS": ",".join(f"{name}:{port.port}" for name, port in machine.ports.items()) or "-",
        "POOL": machine.pool,
        "GENERATION": str(machine.generation),
        "CONTAINER": (machine.container_id or "-")[:12],
        "TEMPLATE": machine.template,
        "REASON": printable(machine.reason) or "-",
    }
    return tuple(cells[header] for header in headers)


# watching


def _watch_table(fetch: Callable[[], list[Machine]], headers: tuple[str, ...]) -> None:
    """A table on a screen of its own, drawn again after each event."""
    from rich.live import Live  # noqa: PLC0415 # only to watch on a terminal

    screen = console()
    with exit_on_signals(), Live(console=screen, screen=True, auto_refresh=False) as live:
        for _ in _changes():
            machines = _past_last(fetch())
            shown = _with_more(headers, machines)
            live.update(styled_table(shown, [_row(machine, shown) for machine in machines]), refresh=True)


def _watch_lines(client: Client, fetch: Callable[[], list[Machine]], output: str, headers: tuple[str, ...]) -> None:
    """The machines that there are, and then a line for each one that changed or left the list.

    That a project keeps its machine, or uses it, is no change.
    """
    known: dict[str, Machine] = {}
    for is_first in _changes():
        machines = {machine.id: machine for machine in fetch()}
        if is_first:
            headers = _with_more(headers, list(machines.values()))
        changed = [machine for machine in machines.values() if _differs(known.get(machine.id), machine)]
        left = [_state_now(client, machine) for machine in known.values() if machine.id not in machines]
        _print_lines([*changed, *left], output, headers, with_headers=is_first)
        known = machines


def _differs(before: Machine | None, machine: Machine) -> bool:
    if before is None or before.lease is None or machine.lease is None:
        return before != machine
    lease = msgspec.structs.replace(
        before.lease, expires_at=machine.lease.expires_at, last_active_at=machine.lease.last_active_at
    )
    return msgspec.structs.replace(before, lease=lease) != machine


def _state_now(client: Client, machine: Machine) -> Machine:
    """A machine that left the list, as it is now: it has another state or project, or is gone."""
    try:
        return client.get(machine.id)
    except MachineNotFound:
        return msgspec.structs.replace(machine, state="gone", url=None)


def _print_lines(machines: Sequence[Machine], output: str, headers: tuple[str, ...], *, with_headers: bool) -> None:
    if output in {"json", "name"}:
        for machine in machines:
            click.echo(json_line(machine) if output == "json" else machine.id)
        return
    rows = [headers, *(_row(machine, headers) for machine in machines)]
    for line in columns(rows)[0 if with_headers else 1 :]:
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
