"""The life of containers: made, started, stopped, removed. Every write is safe to repeat under the same machine id.

A create whose client hung up can land later, so a name that is taken is looked at and used, never avoided: a new name per
retry would let a daemon that was frozen run them all.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, Final

import aiodocker
from aiodocker.containers import DockerContainer

from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.docker.calls import CONFLICT, NOT_FOUND, is_missing, reading, writing
from worker_orchestrator.engines.docker.connect import Endpoint
from worker_orchestrator.engines.docker.network import WorkerNetwork
from worker_orchestrator.engines.docker.obstacles import ADDRESS
from worker_orchestrator.engines.docker.reach import DockerReach
from worker_orchestrator.engines.docker.template import LABEL, DockerOptions, Template
from worker_orchestrator.errors import EngineObstructed, EngineRejected, EngineUnavailable, PortTaken

__all__ = ["LATE_CREATE_S", "DockerLifecycle"]

LATE_CREATE_S: Final = 2.0
"""A create that landed late holds its name for up to 0.3 s before inspect by name knows it."""
_LATE_CREATE_PAUSE_S: Final = 0.05


class DockerLifecycle(DockerReach):
    """Makes, starts, stops and removes containers.

    `host_addresses` returns the addresses to publish on, as the host is now; None if the operator named one.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        client: aiodocker.Docker,
        owner: str,
        options: DockerOptions,
        host_addresses: Callable[[], tuple[str, ...]] | None = None,
    ) -> None:
        super().__init__(endpoint, client, owner, options)
        self._templates: dict[str, Template] = {}  # by fingerprint
        self._network = WorkerNetwork(client, owner, named=options.network, outbound=options.outbound)
        self._host_addresses = host_addresses

    async def ping(self) -> None:
        with reading():
            await self._client.version()

    async def create(self, machine: Machine) -> bool:
        with self._looking_at_the_host():
            await self._make(machine)
        return True

    async def _make(self, machine: Machine) -> None:
        template = self._templates.get(machine.template)
        if template is None:
            raise EngineRejected(f"The template {machine.template} of {machine.id} is no longer known.")
        body = template.create_body(self._owner, machine)
        container = await self._create_or_find(machine, body)
        if container is not None:
            await self._start_or_remove(container)

    async def _create_or_find(self, machine: Machine, body: dict[str, Any]) -> DockerContainer | None:
        """The container that is to be started; None if one that once ran stands under this name already."""
        for _ in range(2):
            try:
                with writing():
                    return await self._client.containers.create(body, name=machine.id)
            except EngineRejected as error:
                cause = error.__cause__
                if not isinstance(cause, aiodocker.DockerError) or cause.status not in {CONFLICT, NOT_FOUND}:
                    raise
                if cause.status == NOT_FOUND:
                    if "network" not in cause.message:
                        raise
                    await self._network.ensure()
                    continue
            known = await self._by_name(machine.id)
            if known is None:
                continue
            with reading():
                labels = known["Config"]["Labels"] or {}
                owned_as = (labels.get(f"{LABEL}.machine"), labels.get(f"{LABEL}.owner"))
                is_as_wanted = known["HostConfig"]["PortBindings"] == body["HostConfig"]["PortBindings"]
                status, image = known["State"]["Status"], str(known["Image"])
                is_ours = owned_as == (machine.id, self._owner) and await self._copied_from(image) != machine.id
            if not is_ours:
                raise EngineRejected(f"Another container has the name {machine.id}, and this service did not make it.")
            if is_as_wanted:
                return known if status == "created" else None
            await self._remove(known)
        raise EngineRejected(f"Docker says that the name {machine.id} is taken, but shows no container of that name.")

    async def _by_name(self, name: str) -> DockerContainer | None:
        async def find() -> DockerContainer:
            while True:
                try:
                    with reading():
                        return await self._client.containers.get(name)
                except EngineRejected as error:
                    if not is_missing(error):
                        raise
                await asyncio.sleep(_LATE_CREATE_PAUSE_S)

        try:
            async with asyncio.timeout(LATE_CREATE_S):
                return await find()
        except TimeoutError:
            return None

    async def _start_or_remove(self, container: DockerContainer) -> None:
        try:
            await self._start(container)
        except (EngineRejected, PortTaken):
            await self._remove(container)
            raise

    async def _start(self, container: DockerContainer) -> None:
        try:
            try:
                with writing():
                    await container.start()
            except EngineRejected as error:
                if not (is_missing(error) and "network" in error.message):
                    raise
                with reading():
                    joined = (await container.show())["HostConfig"]["NetworkMode"]
                await self._network.rejoin(joined, container.id)
                with writing():
                    await container.start()
        except EngineRejected as error:
            try:
                await self.ping()
            except EngineUnavailable:
                raise EngineUnavailable(f"Docker is shutting down. {error.message}") from error
            raise

    async def restart(self, machine_id: str, *, stop_first: bool = False) -> None:
        with reading():
            containers = await self._of_machine(machine_id)
        if not containers:
            raise EngineRejected(f"{machine_id} has no container that could be restarted.")
        if stop_first:
            with writing():
                await containers[0].stop()
        with self._looking_at_the_host():
            await self._start(containers[0])

    @contextlib.contextmanager
    def _looking_at_the_host(self) -> Iterator[None]:
        """Around starts: where an address to publish on is gone (IPv6 switched off), the next template does without."""
        try:
            yield
        except EngineObstructed as error:
            if error.kind == ADDRESS and self._host_addresses is not None:
                self._options = dataclasses.replace(self._options, publish_addresses=self._host_addresses())
            raise

    async def stop(self, machine_id: str, grace_s: float) -> None:
        """Docker sends the image's STOPSIGNAL, else SIGTERM, and after whole seconds SIGKILL, also if we are gone then."""
        with reading():
            containers = await self._of_machine(machine_id)
        async with self._aside() as client:
            for container in containers:
                try:
                    with writing():
                        await client.containers.container(container.id).stop(t=math.ceil(grace_s))
                except EngineRejected as error:
                    if not is_missing(error):
                        raise

    async def destroy(self, machine_id: str) -> bool:
        """Docker answers when the container is gone."""
        with reading():
            containers = await self._of_machine(machine_id)
        for container in containers:
            await self._remove(container)
        return True

    async def _remove(self, container: DockerContainer) -> None:
        """Remove it by force, with its anonymous volumes, and return when it is gone."""
        try:
            with writing():
                await container.delete(force=True, v=True)
        except EngineRejected as error:
            cause = error.__cause__
            if is_missing(error):
                return
            if not isinstance(cause, aiodocker.DockerError) or cause.status != CONFLICT:
                raise
            await self._until_gone(container)  # somebody else is removing it

    async def _until_gone(self, container: DockerContainer) -> None:
        while True:
            try:
                with reading():
                    await container.show()
            except EngineRejected as error:
                if is_missing(error):
                    return
                raise
            await asyncio.sleep(_LATE_CREATE_PAUSE_S)

    async def remove_network(self) -> None:
        """Remove the workers' networks, for `down`: the last thing that we leave on an engine."""
        await self._network.remove()
