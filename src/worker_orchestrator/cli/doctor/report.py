"""Runs all checks of `orchestrator doctor`, and prints what is wrong and how to fix it.

It must work where nothing else does, and changes nothing.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any, Final

import click

from worker_orchestrator.cli.doctor.engine_checks import EngineFacts, check_engine
from worker_orchestrator.cli.doctor.finding import Finding, wrong
from worker_orchestrator.cli.doctor.host_checks import check_host, check_service, url_of
from worker_orchestrator.cli.exit_codes import FAILED
from worker_orchestrator.cli.terminal_display import console, is_interactive, spinner
from worker_orchestrator.cli.text_formats import json_document
from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.settings.loading import load
from worker_orchestrator.settings.settings import Settings

__all__ = ["run"]

_MARKS: Final = {
    "ok": ("\N{CHECK MARK}", "ok  ", "green"),
    "warning": ("!", "!   ", "yellow"),
    "wrong": ("\N{BALLOT X}", "FAIL", "red"),
}


def run(url: str | None, config: Path | None, flags: dict[str, Any], *, output: str) -> None:
    """Print the findings. Exits with 1 if something is wrong."""
    with spinner("Checking"):
        findings = _findings(url, config, flags)
    if output == "json":
        click.echo(json_document(findings))
    else:
        _print(findings)
    if any(finding.verdict == "wrong" for finding in findings):
        sys.exit(FAILED)


def _findings(url: str | None, config: Path | None, flags: dict[str, Any]) -> list[Finding]:
    findings = []
    try:
        settings = load(flags, os.environ, config)
    except InvalidSetting as error:
        findings.append(wrong("settings", error.message, "correct it; the other checks are for the defaults"))
        settings = Settings()
    service, is_running = check_service(settings, url_of(settings, url))
    engine = EngineFacts()
    if settings.engine == "docker":
        findings += asyncio.run(check_engine(settings, engine))
    findings += check_host(settings, engine, running=is_running)
    return [*findings, service]


def _print(findings: list[Finding]) -> None:
    """A line for each, and below it its fix: with colours and signs on a terminal, else in ASCII."""
    pretty = is_interactive(sys.stdout) and (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    screen = console() if pretty else None
    for finding in findings:
        sign, word, style = _MARKS[finding.verdict]
        says = finding.says.replace("\n", "\n      ")
        lines = [(f"{sign if pretty else word} {finding.check}: {says}", style)]
        lines += [(f"      {'fix: ' if finding.verdict != 'ok' else ''}{finding.fix}", "")] if finding.fix else []
        for line, look in lines:
            if screen is None:
                click.echo(line)
            else:
                screen.print(line, style=look, soft_wrap=True)
    wrong_count = sum(finding.verdict == "wrong" for finding in findings)
    warning_count = sum(finding.verdict == "warning" for finding in findings)
    if wrong_count or warning_count:
        click.echo(f"\n{wrong_count} wrong, {warning_count} to look at.", err=True)
    else:
        click.echo("\nAll is well.", err=True)
