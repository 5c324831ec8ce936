"""`orchestrator events`: what happened to machines, once or as it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from worker_orchestrator.cli.completion_candidates import complete_project
from worker_orchestrator.cli.output_option import output_option
from worker_orchestrator.cli.service_connection import open_patient_client, with_client
from worker_orchestrator.cli.text_formats import json_line, printable, state_word, utc_time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from worker_orchestrator.client import Client
    from worker_orchestrator.wire.v1 import Event

__all__ = ["COMMANDS"]

_EARLIER_EVENTS: Final = 10
"""So many earlier events `events -f` prints first."""


@click.command(short_help="Print what happened to machines.")
@click.option("-f", "--follow", is_flag=True, help="Continue with what happens from now on.")
@click.option("-n", "--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N. With -f: 10.")
@click.option("--after", type=click.IntRange(min=0), metavar="ID", help="Only those after the event with this id.")
@click.option("--project", metavar="PROJECT", shell_complete=complete_project, help="Only those of this project.")
@click.option("--machine", metavar="ID", help="Only those of this machine.")
@output_option("text", "json")
@with_client
def events(
    client: Client,
    *,
    follow: bool,
    tail: int | None,
    after: int | None,
    project: str | None,
    machine: str | None,
    output: str,
) -> None:
    """Print what happened to machines: one line for each event, oldest first. With -o json, one JSON document a line."""
    filters = {"project": project, "machine": machine}
    if follow:
        events_so_far, last_id = _past(client, after, **filters)
    else:
        events_so_far, last_id = list(client.events(after=after, **filters, follow=False)), 0
    shown = tail if tail is not None else _EARLIER_EVENTS if follow and after is None else len(events_so_far)
    _print(events_so_far[len(events_so_far) - min(shown, len(events_so_far)) :], output)
    if follow:
        with open_patient_client() as patient:
            for event in patient.events(after=last_id, **filters, follow=True):
                _print([event], output)


def _past(client: Client, after: int | None, project: str | None, machine: str | None) -> tuple[list[Event], int]:
    """The events that match, and the id to continue after: that of the last event of all, so that none is missed."""
    past = list(client.events(after=after, follow=False))
    matches = [event for event in past if project in {None, event.project} and machine in {None, event.machine}]
    return matches, past[-1].id if past else after or 0


def _print(events: Iterable[Event], output: str) -> None:
    for event in events:
        click.echo(json_line(event) if output == "json" else _line(event))


def _line(event: Event) -> str:
    words = [
        utc_time(event.at),
        f"{f'#{event.id}':<6}",
        f"{event.cause:<9}",
        event.machine,
        event.project or "-",
        state_word(event),
    ]
    return "  ".join([*words, printable(event.reason)]).rstrip()


COMMANDS: Final[tuple[Any, ...]] = (events,)
