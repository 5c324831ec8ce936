"""How values of settings are shown: as JSON and as text, and never a secret."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from worker_orchestrator.settings.values import without_password
from worker_orchestrator.settings.window_tables import as_table

__all__ = ["HIDDEN", "as_json", "as_text"]

HIDDEN: Final = "(hidden)"


def as_json(name: str, value: Any, *, secret: bool = False) -> Any:
    """What may be shown of the value of a setting.

    The environment of workers may contain secrets too: its values are hidden, its names are not.
    """
    if secret:
        return HIDDEN if value else ""
    if name == "pod_template":
        return HIDDEN if value else ""
    if name == "env":
        return dict.fromkeys(value, HIDDEN)
    if name == "ports":
        return dict(value)
    if name == "windows":
        return [as_table(window) for window in value]
    if name == "late_hook":
        return tuple(map(without_password, value))
    return without_password(str(value)) if isinstance(value, str | Path) else value


def as_text(value: Any) -> str:
    """What `as_json` returned, on one line."""
    if isinstance(value, dict):
        return " ".join(f"{key}={text}" for key, text in value.items()) or "-"
    if isinstance(value, list):
        return "; ".join(_window(table) for table in value) or "-"
    if isinstance(value, tuple):
        return " ".join(map(_word, value)) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return "-" if value is None or value == "" else str(value)


def _word(word: Any) -> str:
    """One of several texts, such that a reader sees where it ends."""
    text = str(word)
    return shlex.quote(text) if not text or " " in text else text


def _window(table: Mapping[str, Any]) -> str:
    most = "" if table["max_idle"] is None else f", max_idle {table['max_idle']}"
    return f"min_idle {table['min_idle']}{most} for {table['for']} from `{table['cron']}` ({table['timezone']})"
