"""Reads the settings: flags, then ORCHESTRATOR_* environment variables, then orchestrator.toml, then the defaults.

What is unknown or not allowed is refused at the start. The message names the setting, its value and what is allowed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.settings.settings import DEFAULT_ENV, ENV_PREFIX, Setting, Settings, settings

__all__ = ["file_with_token", "load", "sources"]

CONFIG_FILE: Final = "orchestrator.toml"
_NOT_SETTINGS: Final = frozenset({ENV_PREFIX + "CONFIG", ENV_PREFIX + "URL"})
"""Variables that other parts of the command line read."""
_PASSWORD: Final = re.compile(r"//[^/@\s]+@")
"""The user part of a URL, which may contain a password."""


def load(flags: Mapping[str, Any], environ: Mapping[str, str], config: Path | None = None) -> Settings:
    """Settings from flags (by setting name; None means that it was not given), the environment and a TOML file.

    `config` must exist if it is named; otherwise orchestrator.toml in the working directory is read if it exists.
    Raises InvalidSetting with one sentence that names the setting, its value and what is allowed.
    """
    known = {setting.name: setting for setting in settings()}
    values: dict[str, Any] = {}
    for name, (raw, source) in _raw_values(known, flags, environ, config).items():
        try:
            value = known[name].parse(raw)
        except ValueError as error:
            raise InvalidSetting(f"{source} {_wrong(known[name], raw)}, but must be {error}.") from None
        values[name] = {**DEFAULT_ENV, **value} if name == "env" else value
    return Settings(**values)


def sources(flags: Mapping[str, Any], environ: Mapping[str, str], config: Path | None = None) -> dict[str, str]:
    """Where each setting that was given came from: its flag, its variable, or its key and file. Raises InvalidSetting."""
    known = {setting.name: setting for setting in settings()}
    return {name: source for name, (_, source) in _raw_values(known, flags, environ, config).items()}


def file_with_token(environ: Mapping[str, str], config: Path | None = None) -> Path | None:
    """The TOML file that the token comes from; None if it comes from elsewhere or there is none. Raises InvalidSetting."""
    path = config or _named_config(environ)
    known = {setting.name: setting for setting in settings()}
    is_there = "token" in _from_file(known, path) and ENV_PREFIX + "TOKEN" not in environ
    return path if is_there else None


def _raw_values(
    known: Mapping[str, Setting], flags: Mapping[str, Any], environ: Mapping[str, str], config: Path | None
) -> dict[str, tuple[Any, str]]:
    """By setting name: the raw value that wins, and where it came from."""
    values = _from_file(known, config or _named_config(environ))
    for variable, text in environ.items():
        if variable.startswith(ENV_PREFIX) and variable not in _NOT_SETTINGS:
            name = variable.removeprefix(ENV_PREFIX).lower()
            if name not in known:
                raise InvalidSetting(f"{_printable(variable)} is not a setting. {_hint(name, known, ENV_PREFIX)}")
            values[name] = (text, variable)
    for name, raw in flags.items():
        if raw is not None and raw != ():
            values[name] = (raw, known[name].flag)
    return values


def _named_config(environ: Mapping[str, str]) -> Path | None:
    named = environ.get(ENV_PREFIX + "CONFIG")
    if named:
        return Path(named)
    here = Path(CONFIG_FILE)
    try:
        return here if here.is_file() else None
    except PermissionError:  # `runuser -u orchestrator` in a folder of root: what is there is not for this user
        return None


def _from_file(known: Mapping[str, Setting], path: Path | None) -> dict[str, tuple[Any, str]]:
    if path is None:
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidSetting(f"The configuration file {path} cannot be read: {error.strerror}.") from None
    except RecursionError:
        raise InvalidSetting(f"The configuration file {path} is nested too deeply.") from None
    except ValueError as error:  # wrong TOML, wrong UTF-8, or a number with more digits than Python reads
        raise InvalidSetting(f"The configuration file {path} is not valid TOML: {_printable(str(error))}.") from None
    values: dict[str, tuple[Any, str]] = {}
    for key, raw in table.items():
        name = key.replace("-", "_")
        if name not in known:
            raise InvalidSetting(f"{_printable(key)} in {path} is not a setting. {_hint(name, known, '')}")
        values[name] = (raw, f"{key} in {path}")
    return values


def _hint(name: str, known: Mapping[str, Setting], prefix: str) -> str:
    import difflib  # noqa: PLC0415 # needed only here, and slow to import

    close = difflib.get_close_matches(name, known, n=1)
    names = close or sorted(known)
    shown = ", ".join(prefix + (n.upper() if prefix else n) for n in names)
    return f"Did you mean {shown}?" if close else f"The settings are: {shown}."


def _wrong(setting: Setting, raw: Any) -> str:
    """What is wrong with a value. A secret, or what may be one, is not repeated."""
    if setting.secret:
        return "is not shown here"
    if setting.name == "env":
        return "has an entry that is not allowed"
    if setting.repeatable and isinstance(raw, list):
        raw = next((item for item in raw if not _is_right(setting, [item])), raw)
    try:
        return f"is {_PASSWORD.sub('//***@', repr(raw))}"
    except ValueError:
        return "is a number with more digits than Python shows"


def _is_right(setting: Setting, raw: Any) -> bool:
    try:
        setting.parse(raw)
    except ValueError:
        return False
    return True


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)
