"""A command to print for the operator, to be pasted as it is: it leads to the same database and the same engine."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

from worker_orchestrator.settings.settings import Settings, settings

__all__ = ["PLACES", "command_line", "program"]

_NAME: Final = "orchestrator"

PLACES: Final = ("state_dir", "engine", "docker_host")
"""The settings that say which fleet a command is about."""


def program() -> str:
    """What runs this program again from any folder: its name, or its path where a shell does not find it by that."""
    this = Path(sys.argv[0])
    if this.name != _NAME or not this.is_file():
        return _NAME
    found = shutil.which(_NAME)
    return _NAME if found is not None and this.samefile(found) else shlex.quote(str(this.absolute()))


def command_line(chosen: Settings, words: str) -> str:
    """`orchestrator WORDS`, and a flag for each place that is not the default one, wherever it was chosen."""
    flags = []
    for setting in settings():
        value = getattr(chosen, setting.name)
        if setting.name in PLACES and value != setting.default:
            flags += [setting.flag, str(value.absolute() if setting.name == "state_dir" else value)]
    return " ".join([program(), words, *map(shlex.quote, flags)])
