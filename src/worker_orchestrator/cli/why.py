"""`orchestrator why`: how a project got its machine, and how long each stage took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from worker_orchestrator.cli.completion_candidates import complete_project_or_id
from worker_orchestrator.cli.deadlines import expiry_in_words
from worker_orchestrator.cli.exit_codes import FAILED, CommandFailed
from worker_orchestrator.cli.output_option import output_option
from worker_orchestrator.cli.service_connection import find_machine, is_machine_id, with_client
from worker_orchestrator.cli.terminal_display import print_table
from worker_orchestrator.cli.text_formats import json_document, milliseconds, printable, state_word, utc_time
from worker_orchestrator.errors import InvalidInput, MachineNotFound, OrchestratorError, ProjectHasNoMachine

if TYPE_CHECKING:
    from worker_orchestrator.client import Client
    from worker_orchestrator.wire.v1 import Stages, Why

__all__ = ["COMMANDS"]


@click.command(short_help="Explain how a project got its machine.")
@click.argument("name", metavar="PROJECT_OR_ID", shell_complete=complete_project_or_id)
@output_option("text", "json")
@with_client
def why(client: Client, name: str, *, output: str) -> None:
    """Explain how a project got its machine: warm or cold and why, failed probes, and milliseconds for each stage."""
    explanation = _explanation(client, name)
    if output == "json":
        click.echo(json_document(explanation))
    else:
        _print(explanation, _until(client, explanation))


def _until(client: Client, explanation: Why) -> str:
    """Until when the project has it, and by which deadline; empty if none is to come, or if it has lost it meanwhile."""
    try:
        machine = client.get(explanation.machine)
    except MachineNotFound:
        return ""
    is_same = machine.generation == explanation.generation
    return expiry_in_words(machine.lease) if is_same and machine.lease is not None else ""


def _explanation(client: Client, name: str) -> Why:
    try:
        return client.why(name)
    except OrchestratorError as error:
        if not isinstance(error, MachineNotFound | InvalidInput):
            raise
        if isinstance(error, ProjectHasNoMachine) and not is_machine_id(name):
            raise  # it says what an assign would meet
    machine = find_machine(client, name)
    if machine.project is None:
        raise CommandFailed(f"{name} is not assigned to a project: it is {machine.state}.", FAILED)
    return client.why(machine.project)


def _print(explanation: Why, until: str) -> None:
    at = f" at {utc_time(explanation.at)}" if explanation.at else ""
    pool = f" of the pool {explanation.pool}" if explanation.pool not in {"", "default"} else ""
    click.echo(
        f"{explanation.project} has {explanation.machine}{pool} (generation {explanation.generation}){at}: "
        f"{explanation.how}."
    )
    click.echo(printable(explanation.why))
    if until:
        click.echo(f"It has it until {until}, if nobody uses it, asks for it or keeps it until then.")
    if explanation.stages is not None:
        click.echo()
        print_table(("STAGE", "TIME"), _stage_rows(explanation.stages, is_cold=explanation.how == "cold"))
    if explanation.failed_probes:
        click.echo()
        rows = [(probe.machine, printable(probe.detail)) for probe in explanation.failed_probes]
        print_table(("FAILED PROBE", "SAYS"), rows)
    if explanation.events:
        click.echo()
        events = [
            (utc_time(event.at), event.machine, event.cause, state_word(event), printable(event.reason))
            for event in explanation.events
        ]
        print_table(("TIME", "MACHINE", "EVENT", "STATE", "REASON"), events)


def _stage_rows(stages: Stages, *, is_cold: bool) -> list[tuple[str, str]]:
    """What took time in this request, and what its machine had taken: a warm one was made before anybody asked for it."""
    within = (
        ("in line", stages.line_ms),
        ("probe", stages.probe_ms),
        ("commit", stages.commit_ms),
        ("total", stages.total_ms),
    )
    before = (("create", stages.create_ms), ("until ready", stages.ready_ms))
    rows = list[tuple[str, str]]()
    for title, durations_ms in (
        ("in this request", within),
        ("meanwhile, this machine" if is_cold else "beforehand", before),
    ):
        known = [(f"  {stage}", milliseconds(ms)) for stage, ms in durations_ms if ms is not None]
        rows += [(title, ""), *known] if known else []
    return rows


COMMANDS: Final = (why,)
