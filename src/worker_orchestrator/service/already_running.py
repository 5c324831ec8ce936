"""Who it is that listens where this service was to listen: most often another orchestrator, which was forgotten."""

from __future__ import annotations

import http.client
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import msgspec

from worker_orchestrator.errors import PortInUse, StoreRefused
from worker_orchestrator.http.server.listening import own_url
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.store.lock import Lock
from worker_orchestrator.wire.v1 import Problem, ServiceHealth

__all__ = ["who_listens"]

_TIMEOUT_S: Final = 2.0
_LONGEST_BYTES: Final = 65536


def who_listens(settings: Settings, error: PortInUse) -> PortInUse:
    """The error that says so if an orchestrator answers at this address; else the one that was given. Blocks for seconds."""
    url = own_url(settings.host, settings.port)
    if not _is_orchestrator(url):
        return error
    found, otherwise = (
        f"Another orchestrator already runs at {url}",
        "Use it, stop it, or choose another port with --port.",
    )
    if settings.engine == "memory":
        return PortInUse(f"{found}. {otherwise}")
    pid = _holder(settings)
    if pid is None:
        return PortInUse(f"{found}. It does not use the state directory {settings.state_dir}. {otherwise}")
    return PortInUse(
        f"{found}, and the state directory {settings.state_dir} is in use by the orchestrator with pid {pid}. Use it, stop "
        "it, or choose both another port and another folder with --port and --state-dir."
    )


def _is_orchestrator(url: str) -> bool:
    """It is asked without a token: whatever program has the port, ours is none of its business."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/v1/health")
        reply = connection.getresponse()
        msgspec.json.decode(
            reply.read(_LONGEST_BYTES), type=ServiceHealth if reply.status == HTTPStatus.OK else Problem
        )
    except (OSError, http.client.HTTPException, msgspec.DecodeError):
        return False
    finally:
        connection.close()
    return True


def _holder(settings: Settings) -> int | None:
    try:
        return Lock.holder(settings.state_dir)
    except StoreRefused:
        return None
