"""The door for agents by MCP, where the settings open it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.http.access.callers import Callers
from worker_orchestrator.http.server.streamed_response import ServiceEnd
from worker_orchestrator.settings.settings import Settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp

__all__ = ["with_agents"]

_EVERYWHERE = frozenset({"", "0.0.0.0", "::", "localhost"})  # noqa: S104 # it is called there, and listens where it is told to


def with_agents(v1: ASGIApp, settings: Settings, callers: Callers, service_end: ServiceEnd) -> ASGIApp:
    """/v1 with this door, or as it is. Raises InvalidSetting if what it needs is not installed."""
    if not settings.mcp:
        return v1
    if find_spec("mcp") is None:
        raise InvalidSetting(
            "--mcp needs a package that is not installed: run `pip install 'worker-orchestrator[mcp]'`."
        )
    from worker_orchestrator.http.mcp_door import McpDoor  # noqa: PLC0415 # few services need it

    host = "127.0.0.1" if settings.host in _EVERYWHERE else settings.host
    url = f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
    return McpDoor(v1, url, callers, settings.mcp_max_machines, service_end)
