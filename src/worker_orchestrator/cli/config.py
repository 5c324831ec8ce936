"""`orchestrator config`: the settings that `serve` would have with these flags, environment and file, and their sources."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from worker_orchestrator.cli.service_connection import open_client, read_token
from worker_orchestrator.cli.terminal_display import print_table
from worker_orchestrator.cli.text_formats import json_document
from worker_orchestrator.errors import OrchestratorError
from worker_orchestrator.settings.loading import read
from worker_orchestrator.settings.settings import DEFAULT_POOL, PoolSettings, Settings, settings
from worker_orchestrator.settings.showing import as_json, as_text

__all__ = ["SettingValue", "pool_values", "run", "setting_values"]

_TIMEOUT_S: Final = 1.0


class SettingValue(msgspec.Struct, frozen=True):
    """One setting, never with a secret. `source`: default, changed at run time, or the flag, variable or key it is from."""

    name: str
    value: Any
    source: str


def run(url: str | None, config: Path | None, flags: dict[str, Any], *, output: str, changed: bool) -> None:
    """Raises InvalidSetting."""
    found = read(flags, os.environ, config)
    sizes = _changed_sizes(url, found.settings)
    values = [
        *setting_values(found.settings, found.sources, sizes),
        *pool_values(found.settings, found.pool_sources, sizes),
    ]
    if changed:
        values = [each for each in values if each.source != "default"]
    if output == "json":
        click.echo(json_document(values))
    elif values:
        print_table(("SETTING", "VALUE", "FROM"), [(each.name, as_text(each.value), each.source) for each in values])


def setting_values(chosen: Settings, origins: Mapping[str, str], changed: Mapping[str, Any]) -> list[SettingValue]:
    """The settings of the service and of its pool `default`, with their values and sources.

    `changed`: the sizes that a running service got since it started.
    """
    values = []
    for setting in settings():
        value = as_json(setting.name, getattr(chosen, setting.name), secret=setting.secret)
        source = origins.get(setting.name, "default")
        if setting.name in changed:
            value, source = changed[setting.name], "changed at run time"
        values.append(SettingValue(setting.name, value, source))
    if chosen.windows:
        values.append(SettingValue("windows", as_json("windows", chosen.windows), origins["windows"]))
    return values


def pool_values(
    chosen: Settings, origins: Mapping[str, Mapping[str, str]], changed: Mapping[str, Any]
) -> list[SettingValue]:
    """All settings of the other pools by pool and name, and of `default` what the service's do not have: its own limit.

    `changed` is as for `setting_values`.
    """
    values = []
    for pool, of_pool in chosen.pools.items():
        found = origins.get(pool, {})
        for each in fields(PoolSettings):
            name = f"pools.{pool}.{each.name}"
            if name in changed:
                values.append(SettingValue(name, changed[name], "changed at run time"))
            elif pool != DEFAULT_POOL or each.name in found:
                value = as_json(each.name, getattr(of_pool, each.name))
                values.append(SettingValue(name, value, found.get(each.name, "default")))
    return values


def _changed_sizes(url: str | None, chosen: Settings) -> dict[str, Any]:
    """By setting: the sizes that `scale` gave to a running service.

    Empty if none runs, or it does not let us ask.
    Those of `default` have the names of the settings outside of all pools, but for its own limit.
    """
    try:
        token = chosen.token or (read_token(chosen.token_file) if chosen.token_file is not None else None)
        address = url or os.environ.get("ORCHESTRATOR_URL") or f"http://localhost:{chosen.port}"
        with open_client(address, token or None, timeout_s=_TIMEOUT_S) as client:
            pools = [pool for pool in client.pools() if not pool.retired]
    except OrchestratorError:
        return {}
    changed = dict[str, Any]()
    for pool in pools:
        for size, value in pool.changed.items():
            is_outside = pool.name == DEFAULT_POOL and size != "max_machines"
            name = size if is_outside else f"pools.{pool.name}.{size}"
            changed["max_machines" if size == "limit" else name] = value
    return changed
