"""Who it is that listens where this service was to listen: most often another orchestrator, which was forgotten."""

from __future__ import annotations

from typing import Final

from worker_orchestrator.client import Client
from worker_orchestrator.errors import OrchestratorError, PortInUse, StoreRefused, Unauthorized
from worker_orchestrator.http.server.listening import own_url
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.store.lock import Lock

__all__ = ["who_listens"]

_TIMEOUT_S: Final = 2.0


def who_listens(settings: Settings, error: PortInUse) -> PortInUse:
    """The error that says so if an orchestrator answers at this address; else the one that was given. Blocks for seconds."""
    url = own_url(settings.host, settings.port)
    if not _is_orchestrator(url, settings.token):
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


def _is_orchestrator(url: str, token: str) -> bool:
    try:
        with Client(url, token=token or None, timeout_s=_TIMEOUT_S, retries=0) as client:
            client.health()
    except Unauthorized:
        return True  # its token is another one
    except OrchestratorError:
        return False
    return True


def _holder(settings: Settings) -> int | None:
    try:
        return Lock.holder(settings.state_dir)
    except StoreRefused:
        return None
