"""`orchestrator config`: what `serve` would do with these flags, this environment and this file, and why."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from worker_orchestrator.cli.calling import connect, read_token
from worker_orchestrator.cli.formats import as_json
from worker_orchestrator.cli.pretty import show_table
from worker_orchestrator.errors import OrchestratorError
from worker_orchestrator.settings.loading import load, sources
from worker_orchestrator.settings.settings import Setting, Settings, settings

__all__ = ["Shown", "run", "shown"]

_HIDDEN: Final = "(hidden)"
_TIMEOUT_S: Final = 1.0
_OF_POOL: Final = {"min_idle": "min_idle", "max_idle": "max_idle", "max_machines": "limit"}
"""The settings that `scale` changes, and what the pool calls them."""


class Shown(msgspec.Struct, frozen=True):
    """One setting as it is, never with a secret. `source`: default, changed at run time, or the name that gave it."""

    name: str
    value: Any
    source: str


def run(url: str | None, config: Path | None, flags: dict[str, Any], *, output: str, changed: bool) -> None:
    """Raises InvalidSetting."""
    chosen = load(flags, os.environ, config)
    found = shown(chosen, sources(flags, os.environ, config), _changed_since(url, chosen))
    if changed:
        found = [each for each in found if each.source != "default"]
    if output == "json":
        click.echo(as_json(found))
    elif found:
        show_table(("SETTING", "VALUE", "FROM"), [(each.name, _text(each.value), each.source) for each in found])


def shown(chosen: Settings, where: dict[str, str], changed: dict[str, Any]) -> list[Shown]:
    """Every setting with its value and its source. `changed`: what a running service was given since it started."""
    found = []
    for setting in settings():
        value = _without_secrets(setting, getattr(chosen, setting.name))
        source = where.get(setting.name, "default")
        if setting.name in changed:
            value, source = changed[setting.name], "changed at run time"
        found.append(Shown(setting.name, value, source))
    return found


def _without_secrets(setting: Setting, value: Any) -> Any:
    """What workers get in their environment may be secret as well: their names are not."""
    if setting.secret:
        return _HIDDEN if value else ""
    if setting.name == "env":
        return dict.fromkeys(value, _HIDDEN)
    return str(value) if isinstance(value, Path) else value


def _changed_since(url: str | None, chosen: Settings) -> dict[str, Any]:
    """By setting: the sizes that `scale` gave to a running service. None where none runs, or none that tells us."""
    try:
        token = chosen.token or (read_token(chosen.token_file) if chosen.token_file is not None else None)
        where = url or os.environ.get("ORCHESTRATOR_URL") or f"http://localhost:{chosen.port}"
        with connect(where, token or None, timeout_s=_TIMEOUT_S) as client:
            pool = client.pool()
    except OrchestratorError:
        return {}
    return {
        name: getattr(pool, of_pool)
        for name, of_pool in _OF_POOL.items()
        if getattr(pool, of_pool) != getattr(pool.configured, of_pool)
    }


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={text}" for key, text in value.items())
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return "-" if value in {None, ""} else str(value)
