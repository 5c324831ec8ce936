"""`show`, `logs`, `events` and `health`: what is there, what was said, what happened."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from worker_orchestrator.cli.completion_candidates import names, projects
from worker_orchestrator.cli.exit_codes import FAILED
from worker_orchestrator.cli.service_connection import calls, find, follower, output_option
from worker_orchestrator.cli.terminal_display import console, is_person
from worker_orchestrator.cli.text_formats import age, as_json, columns, duration, json_line, printable, quantity, when

if TYPE_CHECKING:
    from collections.abc import Iterable

    from worker_orchestrator.client import Client
    from worker_orchestrator.wire.v1 import Event, Machine, ServiceHealth, Usage

__all__ = ["COMMANDS"]

_FOLLOWED_FROM: Final = 10
"""Events that `events -f` shows of what was before."""


@click.command(short_help="Show one machine.")
@click.argument("name", metavar="PROJECT_OR_ID", shell_complete=names)
@click.option("--usage", is_flag=True, help="Also what it uses now: processors, memory, network.")
@output_option("text", "json")
@calls
def show(client: Client, name: str, *, usage: bool, output: str) -> None:
    """Show one machine, by its project, its id or the id of its container."""
    machine = find(client, name)
    used = client.stats(machine.id) if usage else None
    if output == "json":
        click.echo(as_json(machine if used is None else {"machine": machine, "usage": used}))
        return
    facts = _facts(machine) + ([] if used is None else _used(used))
    width = max(len(fact) for fact, _ in facts) + 2
    for fact, value in facts:
        click.echo(f"{fact + ':':<{width}}{printable(value)}")
    if machine.evidence:
        click.echo("Last lines of its output:")
        for line in machine.evidence.splitlines():
            click.echo(f"  {printable(line)}")


def _facts(machine: Machine) -> list[tuple[str, str]]:
    facts = {
        "Machine": machine.id,
        "State": machine.state,
        "Project": machine.project,
        "URL": machine.url,
        "Generation": str(machine.generation),
        "Container": machine.container_id,
        "Address": machine.address,
        "Pool": machine.pool,
        "Template": machine.template,
        "Created": f"{when(machine.created_at)} ({age(machine.created_at)} ago)",
        "Changed": f"{when(machine.changed_at)} ({age(machine.changed_at)} ago)",
        "Reason": machine.reason,
        "Metadata": " ".join(f"{key}={value}" for key, value in machine.metadata.items()),
    }
    return [(fact, value) for fact, value in facts.items() if value]


def _used(used: Usage) -> list[tuple[str, str]]:
    limit = "" if used.memory_limit_bytes is None else f" of {quantity(used.memory_limit_bytes)}"
    facts = [
        ("Processor", "-" if used.cpu_percent is None else f"{used.cpu_percent:.1f} %"),
        ("Processor time", f"{used.cpu_seconds:.1f} s"),
        ("Memory", quantity(used.memory_bytes) + limit),
    ]
    if used.processes is not None:
        facts.append(("Processes", str(used.processes)))
    if used.received_bytes is not None and used.sent_bytes is not None:
        facts.append(("Network", f"{quantity(used.received_bytes)} in, {quantity(used.sent_bytes)} out"))
    return facts


@click.command(short_help="Print what a worker wrote.")
@click.argument("name", metavar="PROJECT_OR_ID", shell_complete=names)
@click.option("-f", "--follow", is_flag=True, help="Go on until the worker ends.")
@click.option("-n", "--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines.")
@click.option("-t", "--timestamps", is_flag=True, help="Begin each line with its time.")
@calls
def logs(client: Client, name: str, *, follow: bool, tail: int | None, timestamps: bool) -> None:
    """Print what a worker wrote to its standard output and error."""
    out = sys.stdout.buffer
    for part in client.logs(find(client, name).id, tail=tail, follow=follow, timestamps=timestamps):
        out.write(part)
        out.flush()


@click.command(short_help="Tell what happened to machines.")
@click.option("-f", "--follow", is_flag=True, help="Go on, and tell what happens.")
@click.option("-n", "--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N. With -f: 10.")
@click.option("--after", type=click.IntRange(min=0), metavar="ID", help="Only what came after the event of this id.")
@click.option("--project", metavar="PROJECT", shell_complete=projects, help="Only those of this project.")
@click.option("--machine", metavar="ID", help="Only those of this machine.")
@output_option("text", "json")
@calls
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
    """Tell what happened to machines: one line for each event, oldest first. With -o json, one JSON document a line."""
    wanted = {"project": project, "machine": machine}
    if follow:
        kept, last = _past(client, after, **wanted)
    else:
        kept, last = list(client.events(after=after, **wanted, follow=False)), 0
    shown = tail if tail is not None else _FOLLOWED_FROM if follow and after is None else len(kept)
    _tell(kept[len(kept) - min(shown, len(kept)) :], output)
    if follow:
        with follower() as patient:
            for event in patient.events(after=last, **wanted, follow=True):
                _tell([event], output)


def _past(client: Client, after: int | None, project: str | None, machine: str | None) -> tuple[list[Event], int]:
    """What is kept and asked for, and the place to go on from: that of the last event of all, so that none is missed."""
    past = list(client.events(after=after, follow=False))
    kept = [one for one in past if project in {None, one.project} and machine in {None, one.machine}]
    return kept, past[-1].id if past else after or 0


def _tell(found: Iterable[Event], output: str) -> None:
    for event in found:
        click.echo(json_line(event) if output == "json" else _line(event))


def _line(event: Event) -> str:
    words = [
        when(event.at),
        f"#{event.id}",
        f"{event.cause:<9}",
        event.machine,
        event.project or "-",
        event.state or "gone",
    ]
    return "  ".join([*words, printable(event.reason)]).rstrip()


@click.command(short_help="Say how the service is.")
@output_option("text", "json")
@calls
def health(client: Client, *, output: str) -> None:
    """Say how the service is. The exit code is 1 where it is down: it can hand out nothing, as /readyz says."""
    found = client.health()
    if output == "json":
        click.echo(as_json(found))
    else:
        _say(found)
    if found.status == "down":
        sys.exit(FAILED)


def _say(found: ServiceHealth) -> None:
    counted = {state: getattr(found.machines, state) for state in found.machines.__struct_fields__}
    machines = ", ".join(f"{count} {state}" for state, count in counted.items() if count) or "none"
    listed = found.engine.last_listing_age_seconds
    engine = "connected" if found.engine.connected else "not connected"
    rows = [
        ("Service:", f"{found.status}, version {found.version}, up {duration(found.uptime_seconds)}"),
        ("Engine:", f"{found.engine.kind}, {engine}" + ("" if listed is None else f", listed {duration(listed)} ago")),
        ("Machines:", machines),
        ("Waiting:", str(found.waiting)),
    ]
    if found.strays or found.foreign:
        lists = "`orchestrator recover` with the --state-dir and --docker-host of the service lists them"
        rows.append(("Not ours:", f"{found.strays} strays, {found.foreign} foreign; {lists}"))
    for line in columns(rows):
        _coloured(line, {"ok": "green", "degraded": "yellow", "down": "red"}.get(found.status, ""))
    for problem in [*filter(None, [found.engine.problem]), *found.problems]:
        _coloured(f"! {printable(problem)}", "red")


def _coloured(line: str, style: str) -> None:
    if style and is_person(sys.stdout) and line.startswith(("Service:", "!")):
        console().print(line, style=style, soft_wrap=True)
    else:
        click.echo(line)


COMMANDS: Final[tuple[Any, ...]] = (show, logs, events, health)
