"""The few calls of Podman's own API that Docker's API has no words for.

Source: https://docs.podman.io/en/latest/_static/api.html
"""

from __future__ import annotations

from typing import Any, Final

import aiodocker
import msgspec

from worker_orchestrator.engines.docker.reach import send_request

__all__ = ["create_network", "remove_container", "remove_network"]

_API: Final = "/v4.0.0/libpod"
"""The oldest version that Podman 5 still serves."""


async def create_network(client: aiodocker.Docker, body: dict[str, Any]) -> None:
    """Raises DockerError: 409 if there is one of that name."""
    data = msgspec.json.encode(body)
    async with send_request(client, "POST", f"{_API}/networks/create", params={}, data=data) as response:
        await response.read()


async def remove_network(client: aiodocker.Docker, name: str) -> None:
    """Raises DockerError: 404 if there is none, 500 as long as a container is on it."""
    async with send_request(client, "DELETE", f"{_API}/networks/{name}", params={}) as response:
        await response.read()


async def remove_container(client: aiodocker.Docker, native_id: str) -> None:
    """Remove it by force with its anonymous volumes, and without the ten seconds in which it may end. Raises DockerError."""
    params = {"force": "true", "timeout": "0", "volumes": "true"}  # `v` would be ignored
    path = f"{_API}/containers/{native_id}"
    async with send_request(client, "DELETE", path, params=params, limit_s=None) as response:
        await response.read()
