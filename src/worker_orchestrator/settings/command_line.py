"""Commands that are printed for the operator to paste into a shell: they use the same database and the same engine."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

from worker_orchestrator.settings.settings import Settings, settings

__all__ = ["PLACES", "command_line", "program"]

_NAME: Final = "orchestrator"

PLACES: Final = ("state_dir", "engine", "docker_host", "namespace", "kube_context", "kubeconfig", "store", "owner")
"""The settings that say which fleet a command is about."""


def program() -> str:
    """How a shell starts this program from any folder: by its name, or by its path if the name leads elsewhere."""
    this = Path(sys.argv[0])
    if this.name != _NAME or not this.is_file():
        return _NAME
    path = shutil.which(_NAME)
    return _NAME if path is not None and this.samefile(path) else shlex.quote(str(this.absolute()))


def command_line(chosen: Settings, words: str) -> str:
    """`orchestrator WORDS` with a flag for each of `PLACES` that is not at its default, however it was set."""
    flags = []
    for setting in settings():
        value = getattr(chosen, setting.name)
        if setting.name in PLACES and value != setting.default:
            flags += [setting.flag, str(value.absolute() if isinstance(value, Path) else value)]
    return " ".join([program(), words, *map(shlex.quote, flags)])
