"""A worker image: looked up at every refresh, pulled when it is missing, with the user's own credentials."""

from __future__ import annotations

import asyncio
import os
from typing import Any, Final

import aiodocker
import aiohttp
import structlog

from worker_orchestrator.engines.docker.calls import UNREADABLE, is_missing, is_unanswered, reading
from worker_orchestrator.engines.docker.credentials import (
    credentials_for,
    full_reference,
    home_folder,
)
from worker_orchestrator.engines.docker.joined_work import JoinedWork
from worker_orchestrator.errors import EngineObstructed, EngineRejected
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["Images"]

INSPECT_TIMEOUT_S: Final = 10.0
PULL_STALLS_S: Final = 300.0

_log = structlog.get_logger(__name__)


class Images:
    """One image by its reference, for all pools that use it. `progress` says what its pull is doing; empty if there is none.

    Pulls need `room`: several images may be missing.
    """

    def __init__(self, client: aiodocker.Docker, reference: str, room: asyncio.Semaphore | None = None) -> None:
        self._client, self._reference = client, reference
        self._room = room or asyncio.Semaphore()
        self._pull = JoinedWork(self._pull_in_turn, f"pull of {reference}")
        self.progress = ""

    async def current(self, *, fetch: bool = True) -> dict[str, Any] | None:
        """What `docker image inspect` says of it now. A missing one is pulled first; without `fetch` it is None.

        Raises EngineRejected if it cannot be pulled, EngineObstructed if its pull broke off, EngineUnavailable.
        """
        try:
            with reading():
                return await self._inspect()
        except EngineRejected as error:
            if not is_missing(error):
                raise
        if not fetch:
            return None
        await self._pull.result()
        with reading():
            return await self._inspect()

    async def _pull_in_turn(self) -> None:
        self.progress = f"The image {self._reference} is pulled after others."
        try:
            async with self._room:
                self.progress = f"Pulling the image {self._reference}."
                await self._pull_now()
        finally:
            self.progress = ""

    async def _inspect(self) -> dict[str, Any]:
        async with asyncio.timeout(INSPECT_TIMEOUT_S):
            return dict(await self._client.images.inspect(self._reference))

    async def _pull_now(self) -> None:
        _log.info("pulling", image=self._reference)
        credentials = await credentials_for(self._reference, os.environ, home_folder())
        try:
            pull = self._client.images.pull(full_reference(self._reference), auth=credentials.auth, stream=True)
            async with asyncio.timeout(PULL_STALLS_S) as limit:
                async for step in pull:
                    self._note(step)
                    limit.reschedule(asyncio.get_running_loop().time() + PULL_STALLS_S)
        except TimeoutError as error:
            raise self._broke_off(f"stalled for {PULL_STALLS_S:g} s") from error
        except aiodocker.DockerError as error:
            if is_unanswered(error):
                raise self._broke_off(f"broke off ({plain(error.message)})") from error
            note = f" {credentials.note}" if credentials.note else ""
            raise EngineRejected(
                f"The image {self._reference} is not here and cannot be pulled: {_sentence(error.message)}{note} "
                "Build or pull it yourself, or choose another with --image.",
            ) from error
        except (aiohttp.ClientError, OSError, *UNREADABLE) as error:  # the latter: half a line of progress
            raise self._broke_off(f"broke off ({plain(error)})") from error
        _log.info("pulled", image=self._reference)

    def _broke_off(self, how: str) -> EngineObstructed:
        """A pull that broke off is no verdict on the image, but those who wait for a machine must hear of it."""
        return EngineObstructed(
            f"The image {self._reference} is not here, and its pull {how}. It is tried again within a minute.",
            kind="pull",
        )

    def _note(self, step: dict[str, Any]) -> None:
        what = plain(" ".join(plain(step[key], 80) for key in ("id", "status", "progress") if step.get(key)))
        self.progress = f"Pulling the image {self._reference}: {what}"
        if step.get("status") in {"Downloading", "Extracting"}:
            return
        _log.info("pulling", image=self._reference, step=what)


def _sentence(message: str) -> str:
    """The message of a registry, with one full stop."""
    return f"{plain(message).rstrip('.')}."
