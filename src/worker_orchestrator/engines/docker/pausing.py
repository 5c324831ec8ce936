"""Pauses containers, and lets them go on.

A project may wait for a container to go on, so that is one call as a rule: the container is known by the id that the last
listing showed under its machine's id, as ours. Only one that no listing has shown is looked up by its labels.

Docker refuses to pause what is paused (409) and to let go on what runs (500), and so does Podman (500), each in words of its
own. So whoever was refused looks: if it is as it was to be, that is success. But Docker hears of each pause from its runtime
too, a little after it has answered, and takes that for what is. Until all news of earlier calls has come, it may take what
is paused for running, and what runs for paused. So whoever is refused tries again, for half a second.
Seen with 20.10: `findings/docker-pause-is-forgotten-by-old-news.sh`.

Whatever else is done to containers is told as a sign (`watching.py`), so that it is looked at. What was done here is known,
and the event of it is none: else each container that goes on for a project would be doubted just as it is needed.
Sources: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerPause,
https://github.com/moby/moby/blob/v20.10.24/daemon/unpause.go
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Final, NamedTuple

from aiodocker.containers import DockerContainer

from worker_orchestrator.engines.docker.calls import is_missing, reading, writing
from worker_orchestrator.engines.docker.connect import Endpoint
from worker_orchestrator.engines.docker.connector import Client
from worker_orchestrator.engines.docker.dialect import DOCKER, Dialect
from worker_orchestrator.engines.docker.reach import DockerReach
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.errors import EngineRejected

__all__ = ["DockerPausing"]

AGAIN_S: Final = (0.02, 0.1, 0.4)
"""How long is waited before each further try of what Docker refused."""
EVENT_WITHIN_S: Final = 10.0
"""So long the event of a call may take."""


class _Awaited(NamedTuple):
    """An event that is to come of a call, until so many seconds of loop time."""

    native_id: str
    action: str
    until: float


class DockerPausing(DockerReach):
    """Pauses containers, and knows which events come of that."""

    def __init__(
        self,
        endpoint: Endpoint,
        client: Client,
        owner: str,
        options: Mapping[str, DockerOptions],
        dialect: Dialect = DOCKER,
    ) -> None:
        super().__init__(endpoint, client, owner, options, dialect)
        self._own_events: list[_Awaited] = []

    async def pause(self, machine_id: str) -> None:
        await self._switch(machine_id, paused=True)

    async def unpause(self, machine_id: str) -> None:
        await self._switch(machine_id, paused=False)

    async def _switch(self, machine_id: str, *, paused: bool) -> None:
        listed = [native_id for native_id, known in self._listed.items() if known == machine_id]
        if len(listed) == 1:
            try:
                await self._switch_container(listed[0], paused=paused)
            except EngineRejected as error:
                if not is_missing(error):
                    raise
            else:
                return
        with reading():
            containers = await self._of_machine(machine_id)
        if not containers:
            raise EngineRejected(f"{machine_id} has no container that could be {'paused' if paused else 'let go on'}.")
        await self._switch_container(containers[0].id, paused=paused)

    async def _switch_container(self, native_id: str, *, paused: bool) -> None:
        for again_s in (*AGAIN_S, None):
            try:
                await self._ask_to_switch(native_id, paused=paused)
            except EngineRejected as error:
                found = None if is_missing(error) else await self._is_paused(native_id)
                if found is None or (again_s is None and found is not paused):
                    raise
            else:
                return
            if again_s is not None:
                await asyncio.sleep(again_s)

    async def _ask_to_switch(self, native_id: str, *, paused: bool) -> None:
        container = self._client.containers.container(native_id)
        apart = self._programs.pausing(native_id) if paused else nullcontext()
        with apart, self._awaiting_event(native_id, "pause" if paused else "unpause"), writing():
            await (container.pause() if paused else container.unpause())

    async def _let_go_on(self, container: DockerContainer) -> None:
        """Before a container of a listing is stopped: Podman refuses to stop what is paused. Raises EngineError."""
        if container["State"] == "paused":
            with suppress(EngineRejected):  # then whoever stops it hears why
                await self._switch_container(container.id, paused=False)

    async def _is_paused(self, native_id: str) -> bool | None:
        """Whether it is paused; None if it does not run. Raises EngineUnavailable."""
        try:
            with reading():
                state = (await self._client.containers.get(native_id))["State"]
                return bool(state["Paused"]) if state["Running"] else None
        except EngineRejected as error:
            if is_missing(error):
                return None
            raise

    @contextmanager
    def _awaiting_event(self, native_id: str, action: str) -> Iterator[None]:
        """Around a call of which this event comes, unless it is refused."""
        now = asyncio.get_running_loop().time()
        awaited = _Awaited(native_id, action, now + EVENT_WITHIN_S)
        self._own_events = [*(one for one in self._own_events if one.until > now), awaited]
        try:
            yield
        except EngineRejected:
            with suppress(ValueError):
                self._own_events.remove(awaited)
            raise

    def _is_own_event(self, event: Mapping[str, Any]) -> bool:
        """Whether this is the event of a call that was made here. There is one for each call."""
        now, said = asyncio.get_running_loop().time(), ((event.get("Actor") or {}).get("ID"), event.get("Action"))
        for one in self._own_events:
            if (one.native_id, one.action) == said and one.until > now:
                self._own_events.remove(one)
                return True
        return False
