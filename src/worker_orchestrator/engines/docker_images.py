"""The worker image: looked up at every refresh, pulled when it is missing, with the user's own credentials."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, Final

import aiodocker
import aiohttp
import structlog

from worker_orchestrator.engines.docker_calls import NOT_FOUND, reading
from worker_orchestrator.engines.docker_credentials import credentials_for, full_reference
from worker_orchestrator.errors import EngineRejected, EngineUnavailable

__all__ = ["Images"]

INSPECT_TIMEOUT_S: Final = 10.0
PULL_STALLS_S: Final = 300.0

_log = structlog.get_logger(__name__)


class Images:
    """One image by its reference. `progress` says what a pull is doing; empty where none is under way."""

    def __init__(self, client: aiodocker.Docker, reference: str) -> None:
        self._client, self._reference = client, reference
        self.progress = ""

    async def current(self) -> dict[str, Any]:
        """What `docker image inspect` says of it now; pulled first if it is missing.

        Raises EngineRejected where it cannot be pulled, EngineUnavailable.
        """
        try:
            with reading():
                return await self._inspect()
        except EngineRejected as error:
            if not isinstance(error.__cause__, aiodocker.DockerError) or error.__cause__.status != NOT_FOUND:
                raise
        self.progress = f"Pulling the image {self._reference}."
        try:
            await self._pull()
        finally:
            self.progress = ""
        with reading():
            return await self._inspect()

    async def _inspect(self) -> dict[str, Any]:
        async with asyncio.timeout(INSPECT_TIMEOUT_S):
            return dict(await self._client.images.inspect(self._reference))

    async def _pull(self) -> None:
        _log.info("pulling", image=self._reference)
        found = await credentials_for(self._reference, os.environ, Path.home())
        try:
            pull = self._client.images.pull(full_reference(self._reference), auth=found.auth, stream=True)
            async with asyncio.timeout(PULL_STALLS_S) as limit:
                async for step in pull:
                    self._note(step)
                    limit.reschedule(asyncio.get_running_loop().time() + PULL_STALLS_S)
        except TimeoutError as error:
            raise EngineUnavailable(f"The pull of {self._reference} stalled for {PULL_STALLS_S:g} s.") from error
        except aiodocker.DockerError as error:
            note = f" {found.note}" if found.note else ""
            raise EngineRejected(
                f"The image {self._reference} is not here and cannot be pulled: {error.message.strip()}.{note} "
                "Build or pull it yourself, or choose another with --image.",
            ) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:  # the latter: half a line of progress
            raise EngineUnavailable(f"The pull of {self._reference} broke off ({error}).") from error
        _log.info("pulled", image=self._reference)

    def _note(self, step: dict[str, Any]) -> None:
        what = " ".join(str(step[key]) for key in ("id", "status", "progress") if step.get(key))
        self.progress = f"Pulling the image {self._reference}: {what}"
        if step.get("status") in {"Downloading", "Extracting"}:
            return
        _log.info("pulling", image=self._reference, step=what)
