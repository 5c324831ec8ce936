"""The project of an agent for which nobody named one."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from pathlib import Path

from worker_orchestrator.cli.exit_codes import USAGE, CommandFailed

__all__ = ["project_of"]


def project_of(folder: Path) -> str:
    """The project of agents that work in this folder: no two users, computers or folders have the same one.

    Raises CommandFailed for a folder in which agents of all kinds are started.
    """
    folder = folder.resolve()
    if folder == Path(folder.anchor) or folder == Path.home():
        raise CommandFailed(
            f"{folder} is no folder of one project, and two agents must not share a machine by accident. Name a project: "
            "`orchestrator mcp --project NAME`.",
            USAGE,
        )
    who = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    digest = hashlib.sha256(f"{socket.gethostname()}\0{who}\0{folder}".encode(errors="surrogateescape")).hexdigest()[
        :12
    ]
    name = re.sub(r"[^a-zA-Z0-9]+", "-", folder.name).strip("-").lower()[:40]
    return "-".join(filter(None, ["mcp", name, digest]))
