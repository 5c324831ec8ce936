"""Which engine a setting names, and how it is made. Only the modules of the engine that is used are loaded."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Final

from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.docker.template import DockerOptions

__all__ = ["FOLLOW_HOST", "open_engine"]

FOLLOW_HOST: Final = "localhost"
"""As an address to publish on: all loopback addresses that the engine's host has at the moment."""


async def open_engine(  # what makes an engine
    name: str,
    owner: str,
    options: DockerOptions,
    *,
    docker_host: str | None,
    adopted_owners: Collection[str],
    has_ipv6: Callable[[], bool],
) -> Engine:
    """The engine of this name, for this owner, who has also adopted the machines of others.

    `has_ipv6` returns whether this computer has an IPv6 loopback address now. Raises EngineUnavailable, InvalidSetting.
    """
    if name == "memory":
        from worker_orchestrator.engines.memory.engine import MemoryEngine  # noqa: PLC0415 # only what is used is loaded

        return MemoryEngine(owner)
    from worker_orchestrator.engines.docker.connect import connect  # noqa: PLC0415 # as above
    from worker_orchestrator.engines.docker.engine import DockerEngine  # noqa: PLC0415

    endpoint, client = await connect(docker_host)
    follows_host = options.publish_addresses == (FOLLOW_HOST,)

    def host_addresses() -> tuple[str, ...]:
        return ("127.0.0.1", "::1") if endpoint.is_local and has_ipv6() else ("127.0.0.1",)

    if follows_host:
        options = replace(options, publish_addresses=host_addresses())
    engine = DockerEngine(endpoint, client, owner, options, host_addresses if follows_host else None)
    engine.owners.update(adopted_owners)
    return engine
