"""Notices at the first sign that a container can serve no longer, and knows when a listing shows it.

There are two kinds of signs: Docker's events, and the end of a container's main process (`main_process.py`). The events come
late where a worker ends by itself or is killed by a process of its host: Docker 20.10 reports that after 0.08 s, Docker 28
and Podman 5.8 after 0.2 s. `docker kill` and `docker stop` are reported at once.

The process of each container is looked up once, when the container starts, or when a listing shows one that is not followed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable, Mapping
from enum import Enum
from typing import Any, Final

import msgspec
from aiodocker.utils import clean_filters

from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.engines.base import INSTANCES, EndOf
from worker_orchestrator.engines.docker.calls import reading
from worker_orchestrator.engines.docker.connect import Endpoint
from worker_orchestrator.engines.docker.connector import Client
from worker_orchestrator.engines.docker.dialect import DOCKER, Dialect
from worker_orchestrator.engines.docker.listing import concerns_us, doubtful_machine, end_awaited_s, started_container
from worker_orchestrator.engines.docker.lost_networks import LostNetworks
from worker_orchestrator.engines.docker.main_process import CAN_SEE_ENDS, MainProcesses
from worker_orchestrator.engines.docker.pausing import DockerPausing
from worker_orchestrator.engines.docker.reach import send_request
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.errors import EngineError

__all__ = ["DockerWatching"]

SHOWN_WITHIN_S: Final = 10.0
"""So long Docker may take on a busy computer until it knows of an end that we know of."""
INSPECTED_WITHIN_S: Final = 2.0
"""So long it may take from then on, until a listing shows it."""
_FIRST_PAUSE_S: Final = 0.01
_LONGEST_PAUSE_S: Final = 0.1
_PARALLEL: Final = 8


class _Over(Enum):
    """The stream of events has ended."""

    OVER = "over"


class DockerWatching(DockerPausing):
    """Tells which containers can serve no longer, or again."""

    def __init__(
        self,
        endpoint: Endpoint,
        client: Client,
        owner: str,
        options: Mapping[str, DockerOptions],
        dialect: Dialect = DOCKER,
    ) -> None:
        super().__init__(endpoint, client, owner, options, dialect)
        self._processes = MainProcesses(self._main_process_ended)
        self._machine_ids: dict[str, str] = {}  # by container id: of those whose processes were looked up
        self._unseen: set[str] = set()  # ids of containers whose processes are not visible from here
        self._alive: dict[str, str] = {}  # machine ids by container id: what the last listing showed alive of ours
        self._awaited: dict[str, float] = {}  # machine id -> until when its end is to be expected (loop time)
        self._signs: asyncio.Queue[str | _Over | None] | None = None  # of the present `watch`
        self._look_ups: dict[str, asyncio.Task[None]] = {}  # by container id: those under way
        self._room = asyncio.Semaphore(_PARALLEL)
        self._lost_networks = LostNetworks()

    async def watch(self) -> AsyncGenerator[str | None, None]:
        """One item when the stream is open, and one for each sign that concerns a worker or an image."""
        signs: asyncio.Queue[str | _Over | None] = asyncio.Queue()
        self._signs = signs
        events = asyncio.create_task(self._read_events(signs), name="events of Docker")
        try:
            while not isinstance(sign := await signs.get(), _Over):
                yield sign
            await events
        finally:
            self._signs = None if self._signs is signs else self._signs
            tasks = [events, *self._look_ups.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read_events(self, signs: asyncio.Queue[str | _Over | None]) -> None:
        filters = {"filters": clean_filters({"type": ["container", "image", "network"]})}
        try:
            async with self._aside() as client:
                with reading():
                    async with send_request(client, "GET", "/events", params=filters) as response:
                        signs.put_nowait(None)
                        self._begin_to_follow()
                        async for line in response.content:
                            self._take_event(msgspec.json.decode(line), signs)
        finally:
            signs.put_nowait(_Over.OVER)

    def _take_event(self, event: dict[str, Any], signs: asyncio.Queue[str | _Over | None]) -> None:
        started = started_container(event, self._listed, self.owners)
        if started is not None:
            self._look_up(*started, anew=True)
        if concerns_us(event, self._listed) and not self._is_own_event(event):
            machine_id = doubtful_machine(event, self._listed)
            if machine_id is not None and (awaited_s := end_awaited_s(event)):
                self._awaited[machine_id] = asyncio.get_running_loop().time() + awaited_s
            is_of_instance = machine_id is None and event.get("Type") == "container"
            signs.put_nowait(INSTANCES if is_of_instance else machine_id)

    # main processes

    def _take_listed(self, instances: Iterable[Instance], as_of: float = 0.0) -> list[Instance]:
        """Follow each of these that is not followed yet, as one whose start we were not told of.

        `as_of` is when they were asked for, in loop time. Returns them as they are to be told.
        """
        judged = self._lost_networks.judged(instances, as_of)
        mine = [instance for instance in judged if instance.owner in self.owners]
        self._listed = {instance.native_id: instance.id for instance in mine}
        self._alive = {i.native_id: i.id for i in mine if i.status in {Status.RUNNING, Status.PAUSED}}
        self._processes.forget_all_but(self._listed)
        self._unseen &= self._listed.keys()
        self._machine_ids = {
            name: machine_id
            for name, machine_id in self._machine_ids.items()
            if name in self._listed or name in self._processes or name in self._look_ups
        }
        if self._signs is not None:
            self._follow_alive()
        return judged

    def _begin_to_follow(self) -> None:
        """A stream of events is open. Nobody was told what ended before it was."""
        for container_id in self._processes.ended:
            self._main_process_ended(container_id)
        self._follow_alive()

    def _follow_alive(self) -> None:
        for container_id, machine_id in self._alive.items():
            if container_id not in self._processes and container_id not in self._unseen:
                self._look_up(container_id, machine_id)

    def _look_up(self, container_id: str, machine_id: str, *, anew: bool = False) -> None:
        """One look-up for each container is under way at most; `anew`: what is under way may see the process of before."""
        before = self._look_ups.get(container_id)
        if not (CAN_SEE_ENDS and self._endpoint.is_local) or (before is not None and not anew):
            return
        if before is not None:
            before.cancel()
        task = asyncio.create_task(self._follow(container_id, machine_id), name=f"process of {machine_id}")
        self._look_ups[container_id] = task
        task.add_done_callback(lambda done: self._looked_up(container_id, done))

    async def _looked_up_container(self, machine_id: str) -> str:
        """What Docker knows this machine's container by, once the look-up of its process is over that its start began.

        A worker may serve before that, and before a listing shows it.
        """
        container = self._container_of(machine_id)
        if container not in self._listed:
            started = (name for name, known in reversed(self._machine_ids.items()) if known == machine_id)
            container = next(started, container)
        while (under_way := self._look_ups.get(container)) is not None:
            await asyncio.wait({under_way})
        return container

    def _looked_up(self, container_id: str, done: asyncio.Task[None]) -> None:
        if self._look_ups.get(container_id) is done:
            del self._look_ups[container_id]

    async def _follow(self, container_id: str, machine_id: str) -> None:
        """Follow the main process of this container. If it has ended meanwhile, that is a sign too."""
        self._machine_ids[container_id] = machine_id
        async with self._room:
            with contextlib.suppress(EngineError), reading():
                for _ in range(2):  # it may end between the answer and the look at it
                    state = (await self._client.containers.get(container_id))["State"]
                    runs, pid = bool(state["Running"]), int(state["Pid"])
                    if not runs:
                        self._main_process_ended(container_id)
                    if not runs or self._processes.has_ended(container_id, pid):
                        return
                    if self._processes.follow(container_id, pid):
                        self._unseen.discard(container_id)
                        return
                if self._processes.has_room:  # else it is tried again once there is room
                    self._unseen.add(container_id)

    def _main_process_ended(self, container_id: str) -> None:
        machine_id = self._machine_ids.get(container_id)
        if self._signs is not None and machine_id is not None:
            self._signs.put_nowait(EndOf(machine_id))

    # until a listing shows it

    async def until_shown(self, machine_id: str) -> None:
        """Return when a listing that begins then shows what became of this container; after 10 s in any case.

        A sign comes before Docker itself knows of the end. From when it knows until a listing shows it, an inspection waits.
        """
        now, pause_s = asyncio.get_running_loop().time, _FIRST_PAUSE_S
        deadline = now() + SHOWN_WITHIN_S
        with contextlib.suppress(EngineError, TimeoutError):
            while await self._is_about_to_end(machine_id) and now() < deadline:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
        self._awaited.pop(machine_id, None)

    async def _is_about_to_end(self, machine_id: str) -> bool:
        """Whether Docker still shows as running what has ended, or what was sent a signal to end a moment ago."""
        with reading():
            async with asyncio.timeout(INSPECTED_WITHIN_S):
                container = await self._client.containers.get(self._container_of(machine_id))
            state = container["State"]
            runs, pid = bool(state["Running"]), int(state["Pid"])
        is_awaited = asyncio.get_running_loop().time() < self._awaited.get(machine_id, 0.0)
        return runs and (is_awaited or self._processes.has_ended(container.id, pid))
