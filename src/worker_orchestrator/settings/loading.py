"""Reads the settings: flags, then ORCHESTRATOR_* environment variables, then orchestrator.toml, then the defaults.

What is unknown or not allowed is refused at the start. The message names the setting, its value and what is allowed, and the
line of a file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.settings.late import LATE, unfolded
from worker_orchestrator.settings.named_ports import without_displaced
from worker_orchestrator.settings.pool import DEFAULT_ENV, DEFAULT_POOL, PoolSettings
from worker_orchestrator.settings.pool_tables import POOLS, PoolTable, read_pool_tables
from worker_orchestrator.settings.setting import ENV_PREFIX, Inherited, Setting
from worker_orchestrator.settings.settings import Settings, settings
from worker_orchestrator.settings.toml_file import TomlFile, printable, read_toml
from worker_orchestrator.settings.values import Value, parsed, suggestion

__all__ = ["Reading", "config_file", "file_with_token", "load", "read", "sources"]

CONFIG_FILE: Final = "orchestrator.toml"
_INHERITED: Final = (Inherited.ALWAYS, Inherited.WITH_IMAGE)
_NOT_SETTINGS: Final = frozenset({ENV_PREFIX + "CONFIG", ENV_PREFIX + "URL"})
"""Variables that other parts of the command line read."""
_NOT_INHERITED: Final = "default, since no pool inherits the image in [pools.default]"
_LIMIT: Final = "max_machines"
"""In `[pools.default]` it is the limit of that pool, and outside of it that of all pools."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The settings, and where each one that was given came from: its flag, its variable, or its key and file.

    `sources` has those of the service and of the pool `default` by name. `pool_sources` has, by pool and name, those of the
    other pools, with what they inherited, and the limit of `default` itself.
    """

    settings: Settings
    sources: Mapping[str, str]
    pool_sources: Mapping[str, Mapping[str, str]]


def load(flags: Mapping[str, Any], environ: Mapping[str, str], config: Path | None = None) -> Settings:
    """Settings from flags (by setting name; None means that it was not given), the environment and a TOML file.

    `config` must exist if it is named; otherwise orchestrator.toml in the working directory is read if it exists.
    Raises InvalidSetting with one sentence that names the setting, its value and what is allowed.
    """
    return read(flags, environ, config).settings


def sources(flags: Mapping[str, Any], environ: Mapping[str, str], config: Path | None = None) -> dict[str, str]:
    """Where each setting that was given came from: its flag, its variable, or its key and file. Raises InvalidSetting."""
    return dict(read(flags, environ, config).sources)


def read(flags: Mapping[str, Any], environ: Mapping[str, str], config: Path | None = None) -> Reading:
    """As `load`, with the sources."""
    known = {setting.name: setting for setting in settings()}
    file = _file(environ, config)
    given = _from_flags(known, flags)
    given = {**without_displaced(_from_environment(known, environ, given), given), **given}
    in_file = {} if file is None else _from_file(known, file, given)
    tables = {} if file is None else read_pool_tables(file, known)
    default = tables.pop(DEFAULT_POOL, PoolTable())
    outside = {**without_displaced(in_file, given), **given}
    pools = {name: table.over(outside, known, *_INHERITED) for name, table in tables.items()}
    of_default = without_displaced(_of_default(default, in_file, known), given)
    flat = {**of_default, **_of_service(outside, known), **given}
    limit = default.values.get(_LIMIT)
    without_image = tuple(name for name, found in pools.items() if "image" in default.values and "image" not in found)
    return Reading(
        Settings(
            **_values(flat),
            own_max_machines=None if limit is None else limit.value,
            other_pools={name: PoolSettings(**_values(found)) for name, found in pools.items()},
            without_image=without_image,
        ),
        {name: each.source for name, each in flat.items()},
        {
            **({} if limit is None else {DEFAULT_POOL: {_LIMIT: limit.source}}),
            **{
                name: _sources(found, tables[name]) | ({"image": _NOT_INHERITED} if name in without_image else {})
                for name, found in pools.items()
            },
        },
    )


def file_with_token(environ: Mapping[str, str], config: Path | None = None) -> Path | None:
    """The TOML file that the token or the webhook's secret comes from; None if both do not. Raises InvalidSetting."""
    file = _file(environ, config)
    if file is None:
        return None
    secret = {each.replace("-", "_") for each in file.table} & {each.name for each in settings() if each.secret}
    return file.path if any(ENV_PREFIX + name.upper() not in environ for name in secret) else None


def _of_default(table: PoolTable, in_file: Mapping[str, Value], known: Mapping[str, Setting]) -> dict[str, Value]:
    """What the file says of the pool `default`: also the sizes outside of its table are those of this pool."""
    found = table.over(in_file, known, *Inherited)
    return {name: each for name, each in found.items() if name != _LIMIT}


def _of_service(found: Mapping[str, Value], known: Mapping[str, Setting]) -> dict[str, Value]:
    return {name: each for name, each in found.items() if known[name].inherited is None or name == _LIMIT}


def _values(found: Mapping[str, Value]) -> dict[str, Any]:
    return {name: each.value for name, each in found.items()}


def _sources(found: Mapping[str, Value], table: PoolTable) -> dict[str, str]:
    return {
        name: each.source if name in table.values or not table.inherits(name) else f"inherited: {each.source}"
        for name, each in found.items()
    }


def _parsed(setting: Setting, raw: Any, source: str, place: Callable[[], str] | None = None) -> Value:
    """The environment of workers is added to the default one."""
    found = parsed(setting, raw, source, place)
    return Value({**DEFAULT_ENV, **found.value}, found.source) if setting.name == "env" else found


def _from_flags(known: Mapping[str, Setting], flags: Mapping[str, Any]) -> dict[str, Value]:
    return {
        name: _parsed(known[name], raw, known[name].flag)
        for name, raw in flags.items()
        if raw is not None and raw != ()
    }


def _from_environment(
    known: Mapping[str, Setting], environ: Mapping[str, str], given: Collection[str]
) -> dict[str, Value]:
    """The variables of settings that are not given otherwise."""
    values = dict[str, Value]()
    for variable, text in environ.items():
        if variable.startswith(ENV_PREFIX) and variable not in _NOT_SETTINGS:
            name = variable.removeprefix(ENV_PREFIX).lower()
            if name not in known:
                meant = suggestion(name, known, "settings", lambda meant: known[meant].variable)
                raise InvalidSetting(f"{printable(variable)} is not a setting. {meant}")
            if name not in given:
                values[name] = _parsed(known[name], text, variable)
    return values


def _from_file(known: Mapping[str, Setting], file: TomlFile, given: Collection[str]) -> dict[str, Value]:
    """What stands above all tables, but for settings that are given otherwise."""
    values = dict[str, Value]()
    for keys, name, raw in unfolded(file):
        if name == POOLS:
            continue
        if name not in known:
            meant = suggestion(name, [*known, POOLS, LATE], "settings")
            raise InvalidSetting(f"{file.place(*keys)} is not a setting. {meant}")
        if name not in given:
            values[name] = _parsed(known[name], raw, file.source(*keys), partial(file.place, *keys))
    return values


def _file(environ: Mapping[str, str], config: Path | None) -> TomlFile | None:
    path = config_file(environ, config)
    return None if path is None else read_toml(path)


def config_file(environ: Mapping[str, str], config: Path | None = None) -> Path | None:
    """The TOML file that is read: the named one, else orchestrator.toml where there is one."""
    if config is not None:
        return config
    named = environ.get(ENV_PREFIX + "CONFIG")
    if named:
        return Path(named)
    here = Path(CONFIG_FILE)
    try:
        return here if here.is_file() else None
    except PermissionError:  # `runuser -u orchestrator` in a folder of root: what is there is not for this user
        return None
