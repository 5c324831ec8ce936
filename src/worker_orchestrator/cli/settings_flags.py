"""A flag for each setting, for the commands that work where the service runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from worker_orchestrator.settings.loading import load
from worker_orchestrator.settings.settings import Setting, Settings, settings

__all__ = ["flag_values", "load_settings", "with_settings"]


def with_settings(*shown: str) -> Callable[[Any], Any]:
    """Give a command a flag for each setting, and --config. Its help shows the named settings, or all if none is named."""

    def add_options(command: Any) -> Any:
        for setting in reversed([setting for setting in settings() if setting.flag]):
            command = _option(setting, hidden=bool(shown) and setting.name not in shown)(command)
        where = "TOML file with settings. Default: orchestrator.toml, if there is one."
        return click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help=where)(command)

    return add_options


def _option(setting: Setting, *, hidden: bool) -> Any:
    shown = setting.default if isinstance(setting.default, str | int | float | Path) and setting.default != "" else None
    text = setting.help + (f" [{shown}]" if shown is not None and not isinstance(shown, bool) else "")
    if isinstance(setting.default, bool):
        return click.option(setting.flag, setting.name, is_flag=True, default=None, hidden=hidden, help=text)
    return click.option(
        setting.flag,
        setting.name,
        default=None,
        multiple=setting.repeatable,
        metavar=f"[{setting.values}]" if "|" in setting.values else setting.values,
        hidden=hidden,
        help=text,
    )


def flag_values(flags: dict[str, Any]) -> dict[str, Any]:
    """Flags by setting name as `settings` takes them: a list for a flag that may be repeated."""
    return {name: list(value) if isinstance(value, tuple) and value else value for name, value in flags.items()}


def load_settings(config: Path | None, flags: dict[str, Any]) -> Settings:
    """Raises InvalidSetting."""
    return load(flag_values(flags), os.environ, config)
