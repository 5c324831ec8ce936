"""A command to print for the operator, to be pasted as it is: it leads to the same database and the same engine."""

from __future__ import annotations

import shlex
from typing import Final

from worker_orchestrator.settings import Settings, settings

__all__ = ["PLACES", "command_line"]

PLACES: Final = ("state_dir", "engine", "docker_host")
"""The settings that say which fleet a command is about."""


def command_line(chosen: Settings, words: str) -> str:
    """`orchestrator WORDS`, and a flag for each place that is not the default one, wherever it was chosen."""
    flags = []
    for setting in settings():
        value = getattr(chosen, setting.name)
        if setting.name in PLACES and value != setting.default:
            flags += [setting.flag, str(value.absolute() if setting.name == "state_dir" else value)]
    return " ".join(["orchestrator", words, *map(shlex.quote, flags)])
