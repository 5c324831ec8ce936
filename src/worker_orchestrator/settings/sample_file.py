"""An orchestrator.toml to begin with: what was chosen, and all else as comments, with its meaning and its default."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from worker_orchestrator.settings.settings import Setting, settings

__all__ = ["sample_file"]

_WIDTH: Final = 100
_HEAD: Final = (
    "Settings of the orchestrator. `orchestrator serve` reads them from orchestrator.toml in the folder in which it is "
    "started, or from the file that --config names. A flag or an ORCHESTRATOR_<NAME> in the environment wins over what "
    "stands here. `orchestrator config` shows what is in force, and where it comes from."
)
_POOLS: Final = (
    "Pools of other images: one table for each, below all settings that belong to no pool. A pool takes over rights, "
    "limits, the network and env from above, and has sizes of its own. `orchestrator assign my-project --pool NAME` gets "
    "a machine of it. An example, which keeps more machines idle on working days:"
)
_EXAMPLE: Final = """\
[pools.python]
image = "my/python:latest"
min_idle = 2

[[pools.python.windows]]
cron = "0 8 * * 1-5"
for = "10h"
min_idle = 8
timezone = "Europe/Berlin"
"""
_REST: Final = 'All other settings, as they are without this file. To change one, remove the "#" in front of it.'


def sample_file(chosen: Mapping[str, Any], pools: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """The text of the file. `chosen` has the values to begin with, by setting name, in the order of the file.

    `pools` has those of the pools beside `default`, by their names.
    """
    known = {setting.name: setting for setting in settings()}
    lines = [*_comment(_HEAD)]
    for name, value in chosen.items():
        assignment = _assignment(known[name], value)
        lines += ["", *_comment(known[name].help), assignment if _is_set(value) else f"# {assignment}"]
    lines += ["", "", *_comment(_REST)]
    for setting in known.values():
        if setting.name not in chosen:
            lines += ["", *_comment(setting.help), f"# {_assignment(setting, setting.default)}"]
    lines += ["", "", *_comment(_POOLS), "#", *(f"#   {line}".rstrip() for line in _EXAMPLE.splitlines())]
    for name, values in (pools or {}).items():
        lines += ["", f"[pools.{name}]", *(_assignment(known[key], value) for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> Iterator[str]:
    return (f"# {line}" for line in textwrap.wrap(text, _WIDTH - 2, break_long_words=False, break_on_hyphens=False))


def _assignment(setting: Setting, value: Any) -> str:
    """One line of TOML. What is not set is shown as the help shows it, which only a comment may."""
    if _is_set(value):
        return f"{setting.name} = {_value(dict(value) if setting.name == 'ports' else value)}"
    shown = setting.values or "SECRET"
    return f"{setting.name} = {shown if shown == 'N' else _value(shown)}"


def _is_set(value: Any) -> bool:
    return value is not None and value != ""  # 0 and an empty list are values


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return f"{value:g}"
        case Mapping() if not value:
            return "{}"
        case Mapping():
            return f"{{ {', '.join(f'{_key(name)} = {_value(text)}' for name, text in value.items())} }}"
        case str() | Path():
            return json.dumps(str(value), ensure_ascii=False)
        case Iterable():
            return f"[{', '.join(map(_value, value))}]"
    raise AssertionError(f"{value!r} is of no kind that a setting has")


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json.dumps(name)
