"""Removes a container, and waits until it is gone."""

from __future__ import annotations

import asyncio
from typing import Final

import aiodocker
from aiodocker.containers import DockerContainer

from worker_orchestrator.engines.docker.calls import CONFLICT, is_missing, reading, status_of, writing
from worker_orchestrator.engines.docker.dialect import Dialect
from worker_orchestrator.engines.docker.libpod import remove_container
from worker_orchestrator.errors import EngineRejected

__all__ = ["remove"]

_PAUSE_S: Final = 0.05


async def remove(client: aiodocker.Docker, container: DockerContainer, dialect: Dialect) -> None:
    """Remove it by force, with its anonymous volumes, and return when it is gone. Raises EngineError."""
    try:
        with writing():
            if dialect.removes_slowly:
                await remove_container(client, container.id)
            else:
                await container.delete(force=True, v=True)
    except EngineRejected as error:
        if is_missing(error):
            return
        if status_of(error) != CONFLICT:
            raise
        await _until_gone(container)  # somebody else is removing it


async def _until_gone(container: DockerContainer) -> None:
    while True:
        try:
            with reading():
                await container.show()
        except EngineRejected as error:
            if is_missing(error):
                return
            raise
        await asyncio.sleep(_PAUSE_S)
