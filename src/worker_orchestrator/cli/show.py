"""`orchestrator show`: one machine, and what it uses."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import click

from worker_orchestrator.cli.completion_candidates import complete_project_or_id
from worker_orchestrator.cli.deadlines import deadlines_in_words, expiry_in_words
from worker_orchestrator.cli.output_option import output_option
from worker_orchestrator.cli.service_connection import find_machine, with_client
from worker_orchestrator.cli.text_formats import (
    age,
    columns,
    json_document,
    output_line,
    printable,
    quantity,
    setup_in_words,
    state_word,
    time_left,
    utc_time,
)
from worker_orchestrator.core.reasons import OUTDATED

if TYPE_CHECKING:
    from datetime import datetime

    from worker_orchestrator.client import Client
    from worker_orchestrator.wire.v1 import Lease, Machine, Usage

__all__ = ["COMMANDS"]

EVENTS_SHOWN: Final = 20


@click.command(short_help="Show one machine.")
@click.argument("name", metavar="PROJECT_OR_ID", shell_complete=complete_project_or_id)
@click.option("--usage", is_flag=True, help="Also what it uses now: processors, memory, network.")
@output_option("text", "json")
@with_client
def show(client: Client, name: str, *, usage: bool, output: str) -> None:
    """Show one machine, by its project, its id or the id of its container.

    Below the facts are the last 20 events of its life, and the last lines of its output if it failed or is restarting.
    """
    machine = find_machine(client, name)
    usage_now = client.stats(machine.id) if usage else None
    if output == "json":
        click.echo(json_document(machine if usage_now is None else {"machine": machine, "usage": usage_now}))
        return
    facts = _machine_facts(machine, _image(client, machine)) + ([] if usage_now is None else _usage_facts(usage_now))
    width = max(len(fact) for fact, _ in facts) + 2
    for fact, value in facts:
        click.echo(f"{fact + ':':<{width}}{printable(value)}")
    life = deque(client.events(machine=machine.id, follow=False), maxlen=EVENTS_SHOWN)
    if life:
        click.echo("Its life:")
        rows = [(utc_time(event.at), event.cause, state_word(event), printable(event.reason)) for event in life]
        click.echo("\n".join(f"  {line}" for line in columns(rows)))
    if machine.evidence:
        click.echo("Last lines of its output:")
        for line in machine.evidence.splitlines():
            click.echo(f"  {output_line(line)}")


def _image(client: Client, machine: Machine) -> str:
    """The image that it was made from, if new machines are too; of older ones only the template is on record."""
    of_new = [pool.image for pool in client.pools() if pool.name == machine.pool and pool.template == machine.template]
    return next(iter(of_new), "")


def _machine_facts(machine: Machine, image: str) -> list[tuple[str, str]]:
    facts = {
        "Machine": machine.id,
        "State": machine.state,
        "Project": machine.project,
        "URL": machine.url,
        "Preview": machine.preview_url,
        "Ports": ", ".join(f"{name} {port.url or port.port}" for name, port in machine.ports.items()),
        "Generation": str(machine.generation),
        "Container": machine.container_id,
        "Address": machine.address,
        "Pool": machine.pool,
        "Image": image,
        "Template": machine.template,
        "Outdated": OUTDATED if machine.outdated else "",
        "Configured": _configured(machine),
        "Created": f"{utc_time(machine.created_at)} ({age(machine.created_at)} ago)",
        "Changed": f"{utc_time(machine.changed_at)} ({age(machine.changed_at)} ago)",
        "Reason": machine.reason,
        "Next try": _next_try(machine.next_try_at),
        **({} if machine.lease is None else _lease_facts(machine, machine.lease)),
        "Metadata": " ".join(f"{key}={value}" for key, value in machine.metadata.items()),
    }
    return [(fact, value) for fact, value in facts.items() if value]


def _configured(machine: Machine) -> str:
    """Whether it has the values of its project; empty if its pool takes none."""
    if machine.configured is None:
        return ""
    told = "yes" if machine.configured else "no"
    return told if machine.setup is None else f"{told} ({setup_in_words(machine.setup)})"


def _lease_facts(machine: Machine, lease: Lease) -> dict[str, str]:
    active_at = lease.last_active_at
    return {
        "Deadlines": deadlines_in_words(machine),
        "Expires": expiry_in_words(lease),
        "Last active": "not known" if active_at is None else f"{utc_time(active_at)} ({age(active_at)} ago)",
    }


def _next_try(at: datetime | None) -> str:
    if at is None:
        return ""
    return f"{utc_time(at)} (in {time_left(at)}; `restart` tries at once)"


def _usage_facts(usage: Usage) -> list[tuple[str, str]]:
    limit = "" if usage.memory_limit_bytes is None else f" of {quantity(usage.memory_limit_bytes)}"
    facts = [
        ("Processor", "-" if usage.cpu_percent is None else f"{usage.cpu_percent:.1f} %"),
        ("Processor time", "unknown" if usage.cpu_seconds is None else f"{usage.cpu_seconds:.1f} s"),
        ("Memory", "unknown" if usage.memory_bytes is None else quantity(usage.memory_bytes) + limit),
    ]
    if usage.processes is not None:
        facts.append(("Processes", str(usage.processes)))
    if usage.received_bytes is not None and usage.sent_bytes is not None:
        facts.append(("Network", f"{quantity(usage.received_bytes)} in, {quantity(usage.sent_bytes)} out"))
    return facts


COMMANDS: Final[tuple[Any, ...]] = (show,)
