"""`orchestrator doctor`: look at everything that the service needs, and say what is wrong and how to mend it.

It works where nothing else does, and changes nothing.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any, Final

import click

from worker_orchestrator.cli.check_engine import Engine, check_engine
from worker_orchestrator.cli.check_host import check_host, check_service, url_of
from worker_orchestrator.cli.failed import FAILED
from worker_orchestrator.cli.findings import Finding, bad
from worker_orchestrator.cli.formats import as_json
from worker_orchestrator.cli.pretty import console, is_person, waiting
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
    """Exit with 1 where something is wrong."""
    with waiting("Looking"):
        found = list(_look(url, config, flags))
    if output == "json":
        click.echo(as_json(found))
    else:
        _print(found)
    if any(finding.verdict == "wrong" for finding in found):
        sys.exit(FAILED)


def _look(url: str | None, config: Path | None, flags: dict[str, Any]) -> list[Finding]:
    found = []
    try:
        settings = load(flags, os.environ, config)
    except InvalidSetting as error:
        found.append(bad("settings", error.message, "mend it; what follows is for the defaults"))
        settings = Settings()
    service, runs = check_service(settings, url_of(settings, url))
    engine = Engine()
    if settings.engine == "docker":
        found += asyncio.run(check_engine(settings, engine))
    found += check_host(settings, engine, running=runs)
    return [*found, service]


def _print(found: list[Finding]) -> None:
    """A line for each, and below it what mends it: in colours and signs where somebody looks, else in ASCII."""
    person = is_person(sys.stdout) and (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    screen = console() if person else None
    for finding in found:
        sign, word, style = _MARKS[finding.verdict]
        says = finding.says.replace("\n", "\n      ")
        lines = [(f"{sign if person else word} {finding.check}: {says}", style)]
        lines += [(f"      {'fix: ' if finding.verdict != 'ok' else ''}{finding.fix}", "")] if finding.fix else []
        for line, look in lines:
            if screen is None:
                click.echo(line)
            else:
                screen.print(line, style=look, soft_wrap=True)
    wrong = sum(finding.verdict == "wrong" for finding in found)
    odd = sum(finding.verdict == "warning" for finding in found)
    if wrong or odd:
        click.echo(f"\n{wrong} wrong, {odd} to look at.", err=True)
    else:
        click.echo("\nAll is well.", err=True)
