"""`orchestrator config`: the settings that `serve` would have with these flags, environment and file, and their sources."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from worker_orchestrator.cli.service_connection import open_client, read_token
from worker_orchestrator.cli.terminal_display import print_table
from worker_orchestrator.cli.text_formats import json_document
from worker_orchestrator.errors import OrchestratorError
from worker_orchestrator.settings.loading import load, sources
from worker_orchestrator.settings.settings import Setting, Settings, settings

__all__ = ["SettingValue", "run", "setting_values"]

_HIDDEN: Final = "(hidden)"
_TIMEOUT_S: Final = 1.0
_OF_POOL: Final = {"min_idle": "min_idle", "max_idle": "max_idle", "max_machines": "limit"}
"""The settings that `scale` changes, and what the pool calls them."""


class SettingValue(msgspec.Struct, frozen=True):
    """One setting, never with a secret. `source`: default, changed at run time, or the flag, variable or key it is from."""

    name: str
    value: Any
    source: str


def run(url: str | None, config: Path | None, flags: dict[str, Any], *, output: str, changed: bool) -> None:
    """Raises InvalidSetting."""
    chosen = load(flags, os.environ, config)
    values = setting_values(chosen, sources(flags, os.environ, config), _changed_sizes(url, chosen))
    if changed:
        values = [each for each in values if each.source != "default"]
    if output == "json":
        click.echo(json_document(values))
    elif values:
        print_table(("SETTING", "VALUE", "FROM"), [(each.name, _text(each.value), each.source) for each in values])


def setting_values(chosen: Settings, origins: dict[str, str], changed: dict[str, Any]) -> list[SettingValue]:
    """Every setting with its value and source. `changed`: the sizes that a running service got since it started."""
    values = []
    for setting in settings():
        value = _without_secrets(setting, getattr(chosen, setting.name))
        source = origins.get(setting.name, "default")
        if setting.name in changed:
            value, source = changed[setting.name], "changed at run time"
        values.append(SettingValue(setting.name, value, source))
    return values


def _without_secrets(setting: Setting, value: Any) -> Any:
    """The environment of workers may contain secrets too: its values are hidden, its names are not."""
    if setting.secret:
        return _HIDDEN if value else ""
    if setting.name == "env":
        return dict.fromkeys(value, _HIDDEN)
    return str(value) if isinstance(value, Path) else value


def _changed_sizes(url: str | None, chosen: Settings) -> dict[str, Any]:
    """By setting: the sizes that `scale` gave to a running service. Empty if none runs, or it does not let us ask."""
    try:
        token = chosen.token or (read_token(chosen.token_file) if chosen.token_file is not None else None)
        address = url or os.environ.get("ORCHESTRATOR_URL") or f"http://localhost:{chosen.port}"
        with open_client(address, token or None, timeout_s=_TIMEOUT_S) as client:
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
