"""The worker image: looked up at every refresh, pulled when it is missing, with the user's own credentials."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import aiodocker
import structlog

from worker_orchestrator.engines.docker_calls import NOT_FOUND, reading
from worker_orchestrator.engines.docker_credentials import credentials_for, full_reference
from worker_orchestrator.errors import EngineRejected

__all__ = ["Images"]

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
            return await self._inspect()
        except aiodocker.DockerError as error:
            if error.status != NOT_FOUND:
                with reading():
                    raise
        self.progress = f"Pulling the image {self._reference}."
        try:
            await self._pull()
        finally:
            self.progress = ""
        with reading():
            return await self._inspect()

    async def _inspect(self) -> dict[str, Any]:
        return dict(await self._client.images.inspect(self._reference))

    async def _pull(self) -> None:
        _log.info("pulling", image=self._reference)
        found = await credentials_for(self._reference, os.environ, Path.home())
        try:
            pull = self._client.images.pull(full_reference(self._reference), auth=found.auth, stream=True)
            async for step in pull:
                self._note(step)
        except aiodocker.DockerError as error:
            note = f" {found.note}" if found.note else ""
            raise EngineRejected(
                f"The image {self._reference} is not here and cannot be pulled: {error.message.strip()}.{note} "
                "Build or pull it yourself, or choose another with --image.",
            ) from error
        _log.info("pulled", image=self._reference)

    def _note(self, step: dict[str, Any]) -> None:
        what = " ".join(str(step[key]) for key in ("id", "status", "progress") if step.get(key))
        self.progress = f"Pulling the image {self._reference}: {what}"
        if step.get("status") in {"Downloading", "Extracting"}:
            return
        _log.info("pulling", image=self._reference, step=what)
