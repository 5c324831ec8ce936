"""Reads `[pools.NAME]` of orchestrator.toml, and says what a pool takes over from the settings outside of its table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.settings import parsers
from worker_orchestrator.settings.late import LATE, LATE_SETTINGS, unfolded
from worker_orchestrator.settings.named_ports import without_displaced
from worker_orchestrator.settings.pool import DEFAULT_ENV
from worker_orchestrator.settings.setting import Inherited, Setting
from worker_orchestrator.settings.toml_file import TomlFile
from worker_orchestrator.settings.values import Value, parsed, suggestion
from worker_orchestrator.settings.window_tables import read_windows

__all__ = ["POOLS", "PoolTable", "is_pool_name", "read_pool_tables"]

POOLS: Final = "pools"
"""The key of the tables."""
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_INHERIT: Final = Setting("inherit", "", parsers.yes_no, default=True)


@dataclass(frozen=True, slots=True)
class PoolTable:
    """What a pool's table gives: its settings by name, and whether `env` is added to that outside."""

    values: Mapping[str, Value] = field(default_factory=dict)
    inherit: Value | None = None

    def inherits(self, name: str) -> bool:
        """Whether a setting of this name may come from outside. `inherit = false` concerns `env` alone."""
        return name != "env" or self.inherit is None or self.inherit.value

    def over(self, outside: Mapping[str, Value], known: Mapping[str, Setting], *kinds: Inherited) -> dict[str, Value]:
        """The settings that hold for the pool: those of the table, and those of these kinds from outside of it."""
        found = {name: value for name, value in outside.items() if known[name].inherited in kinds}
        if "image" in self.values:
            found = {name: value for name, value in found.items() if known[name].inherited is not Inherited.WITH_IMAGE}
        found = {**without_displaced(found, self.values), **self.values}
        own = self.values.get("env")
        if self.inherit is not None and not self.inherit.value:
            found["env"] = own or Value({}, self.inherit.source)
        elif own is not None:
            found["env"] = Value({**outside.get("env", Value(DEFAULT_ENV, "")).value, **own.value}, own.source)
        return found


def is_pool_name(name: str) -> bool:
    """Whether a pool may have this name."""
    return _NAME.fullmatch(name) is not None


def read_pool_tables(file: TomlFile, known: Mapping[str, Setting]) -> dict[str, PoolTable]:
    """The tables by the names of their pools; `known` has all settings. Raises InvalidSetting."""
    tables = file.table.get(POOLS, {})
    if not isinstance(tables, Mapping):
        raise InvalidSetting(f"{file.place(POOLS)} must be tables, one for each pool, such as [pools.web].")
    for name, table in tables.items():
        if not is_pool_name(name):
            raise InvalidSetting(
                f"{file.place(POOLS, name)} is not the name of a pool, which has 1 to 40 lower-case letters, digits and "
                "hyphens, and a letter or digit at both ends."
            )
        if not isinstance(table, Mapping):
            raise InvalidSetting(f"{file.place(POOLS, name)} must be a table of settings: [pools.{name}].")
    return {name: _pool_table(file, name, known) for name in tables}


def _pool_table(file: TomlFile, pool: str, known: Mapping[str, Setting]) -> PoolTable:
    values = dict[str, Value]()
    allowed = {name: each for name, each in known.items() if each.inherited is not None} | {_INHERIT.name: _INHERIT}
    if LATE in file.table[POOLS][pool]:
        source = file.source(POOLS, pool, LATE)
        values |= {name: Value(known[name].default, source) for name in LATE_SETTINGS}
    for keys, name, raw in unfolded(file, POOLS, pool):
        if name == "windows":
            values[name] = Value(read_windows(file, pool), file.source(*keys))
            continue
        if name in known.keys() - allowed.keys():
            raise InvalidSetting(
                f"{file.place(*keys)} is a setting of the service and not of a pool. Put it above all tables of the file."
            )
        if name not in allowed:
            meant = suggestion(name, [*allowed, "windows", LATE], "settings of a pool")
            raise InvalidSetting(f"{file.place(*keys)} is not a setting of a pool. {meant}")
        values[name] = parsed(allowed[name], raw, file.source(*keys), partial(file.place, *keys))
    inherit = values.pop(_INHERIT.name, None)
    return PoolTable(values, inherit)
