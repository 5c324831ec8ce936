"""What a service has from the start of its process to the end, whatever it opens meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from worker_orchestrator.service.tracing import Tracing
from worker_orchestrator.settings.settings import Settings

__all__ = ["Process"]


@dataclass(frozen=True, slots=True)
class Process:
    """The settings of its start, and what else follows from them. `stopping` is called when a signal ends it."""

    settings: Settings
    read_again: Callable[[], Settings]
    sockets: list[socket.socket]
    token: str
    webhook_key: bytes
    tracing: Tracing | None
    stopping: Callable[[], None]
