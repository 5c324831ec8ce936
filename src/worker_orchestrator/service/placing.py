"""The settings as they are meant where the service runs: an address that only the engine knows stands in them by a word."""

from __future__ import annotations

from dataclasses import replace

from worker_orchestrator.engines import open as engines
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.settings.settings import Settings

__all__ = ["where_published"]


def where_published(settings: Settings, engine: Engine) -> Settings:
    """These settings with the address and the host that are meant by `gateway`, as the open engine found them out."""
    where = engines.published(engine)
    if settings.publish_address != engines.GATEWAY or where is None:
        return settings
    return replace(settings, publish_address=where.addresses[0], advertise_host=where.advertise_host)
