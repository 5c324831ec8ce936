"""Machines as Docker containers: one container per machine, named after it, found again by its labels.

Every write is safe to repeat under the same machine id. A create whose client hung up can land later, so a name that is
taken is looked at and used, never avoided: a new name per retry would let a daemon that was frozen run them all.
A machine is what carries its id as our label, whatever its name became, and is no copy: `reach.py` tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import aiodocker
import msgspec
from aiodocker.containers import DockerContainer
from aiodocker.utils import clean_filters
from msgspec.structs import replace

from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.base import Identity
from worker_orchestrator.engines.docker.calls import CONFLICT, NOT_FOUND, is_missing, reading, writing
from worker_orchestrator.engines.docker.connect import Endpoint
from worker_orchestrator.engines.docker.environment import DockerEnvironment
from worker_orchestrator.engines.docker.exec import DockerExec
from worker_orchestrator.engines.docker.files import DockerFiles
from worker_orchestrator.engines.docker.images import Images
from worker_orchestrator.engines.docker.listing import concerns_us, doubted, instance_of, judged
from worker_orchestrator.engines.docker.logs import DockerLogs
from worker_orchestrator.engines.docker.network import WorkerNetwork
from worker_orchestrator.engines.docker.obstacles import ADDRESS
from worker_orchestrator.engines.docker.publishing import Place, place_of
from worker_orchestrator.engines.docker.reach import asked
from worker_orchestrator.engines.docker.stats import DockerStats
from worker_orchestrator.engines.docker.template import LABEL, DockerOptions, Template, make_template
from worker_orchestrator.engines.docker.terminal import DockerTerminals
from worker_orchestrator.engines.probe import NOTHING, PROBE_TIMEOUT_S, http_probe, tcp_probe
from worker_orchestrator.errors import EngineError, EngineObstructed, EngineRejected, EngineUnavailable, PortTaken
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["DockerEngine"]

LATE_CREATE_S: Final = 2.0
"""A create that landed late holds its name for up to 0.3 s before inspect by name knows it."""
_LATE_CREATE_PAUSE_S: Final = 0.05
HEALTH_LIMIT_S: Final = 1.0
"""For Docker to say what its health check of one worker says."""


class DockerEngine(DockerLogs, DockerStats, DockerEnvironment, DockerExec, DockerTerminals, DockerFiles):
    """One Docker engine, for one owner: the life of its machines here, what else it offers in the classes it is made of."""

    plans_ports = True

    def __init__(self, endpoint: Endpoint, client: aiodocker.Docker, owner: str, options: DockerOptions) -> None:
        super().__init__(endpoint, client, owner, options)
        self._images = Images(client, options.image)
        self._templates: dict[str, Template] = {}
        self._network = WorkerNetwork(client, owner, named=options.network, outbound=options.outbound)
        self._killed: dict[str, bool] = {}
        self.host_addresses: Callable[[], tuple[str, ...]] | None = None
        """Which addresses to publish on, as the host is now; None where the operator named one."""
        self._places: dict[str, Place] = {}  # of the last listing, by machine id

    @property
    def progress(self) -> str:
        return self._images.progress

    # reading

    async def ping(self) -> None:
        with reading():
            await self._client.version()

    async def identity(self) -> Identity:
        with reading():
            native_id = plain((await self._client.system.info())["ID"], 100)
        return Identity(native_id, marked=bool(await self._network.ours()))

    async def template(self, *, fetch: bool = True) -> str:
        await self._network.ensure()
        image = await self._images.current(fetch=fetch)
        if image is None:
            return ""
        with reading():
            engine = await self._client.system.info()
            template = make_template(self._options, image, self._network.name, engine)
        self._templates[template.fingerprint] = template
        return template.fingerprint

    async def list(self) -> Mapping[str, Instance]:
        with reading():
            containers = await self._containers()
            instances = self._placed([instance_of(container) for container in containers], containers)
            for instance in instances:
                if instance.killed:
                    await self._look_closer(instance)
        self._killed = {i.native_id: self._killed[i.native_id] for i in instances if i.native_id in self._killed}
        found = [judged(i, from_outside=self._killed.get(i.native_id, True)) if i.killed else i for i in instances]
        self._listed = {i.native_id: i.id for i in found if i.owner in self.owners}
        return {i.id: i for i in sorted(found, key=self._says_most)}

    def _says_most(self, instance: Instance) -> tuple[bool, bool, bool]:
        """Of several under one id the last in this order counts: ours, by its own name, running."""
        return instance.owner in self.owners, not instance.renamed, instance.status is Status.RUNNING

    def _placed(self, instances: Sequence[Instance], containers: Sequence[DockerContainer]) -> Sequence[Instance]:
        """The instances with the host of each that is published elsewhere than the settings say now."""
        pairs = zip(instances, containers, strict=True)
        found = {instance.id: place_of(container, self._options) for instance, container in pairs}
        self._places = {machine_id: place for machine_id, place in found.items() if place is not None}
        return [replace(i, host=self._places[i.id].host) if i.id in self._places else i for i in instances]

    async def _look_closer(self, instance: Instance) -> None:
        """SIGKILL may have come from outside, or from the kernel because the container had no memory left."""
        if instance.native_id in self._killed:
            return
        try:
            state = (await self._client.containers.get(instance.native_id))["State"]
        except aiodocker.DockerError as error:
            if error.status != NOT_FOUND:
                raise
            return
        self._killed[instance.native_id] = not state.get("OOMKilled")

    async def probe(self, machine: Machine, limit_s: float = PROBE_TIMEOUT_S, *, closely: bool = False) -> str | None:
        if self._options.ready == "healthcheck":
            return await self._healthcheck(machine)
        assert machine.port is not None, "a Docker machine has a host port"
        place = self._places.get(machine.id)
        address = self._options.publish_addresses[0] if place is None else place.address
        if address in {"0.0.0.0", "::"}:  # noqa: S104 # reached from here, on whichever address leads there
            address = self._endpoint.host
        if self._options.ready == "tcp":
            missing = await tcp_probe(address, machine.port, limit_s)
        else:
            path = self._options.ready_path
            missing = await http_probe(address, machine.port, path, limit_s=limit_s, closely=closely)
        if missing is None or not missing.startswith(NOTHING):
            return missing
        return f"{missing}; does the worker listen on 0.0.0.0:{self._worker_port(machine)}?"

    async def _healthcheck(self, machine: Machine) -> str | None:
        try:
            with reading():
                async with asyncio.timeout(HEALTH_LIMIT_S):
                    found = await self._client.containers.get(self._container_of(machine.id))
                health = found["State"].get("Health")
                status = None if health is None else str(health["Status"])
        except EngineRejected as error:
            if is_missing(error):
                return error.message
            raise
        if status is None:
            return f"the image {self._options.image} has no HEALTHCHECK; choose --ready http or tcp"
        return None if status == "healthy" else f"its health check says {plain(status, 40)}"

    def _worker_port(self, machine: Machine) -> int | str:
        template = self._templates.get(machine.template)
        return template.port if template is not None else "its port"

    # writing

    async def create(self, machine: Machine) -> None:
        with self._looking_at_the_host():
            await self._make(machine)

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
                raise EngineRejected(f"A container named {machine.id} that is not ours is in the way.")
            if is_as_wanted:
                return known if status == "created" else None
            await self._remove(known)
        raise EngineRejected(f"The name {machine.id} is taken, and by no container that can be found.")

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
                raise EngineUnavailable(f"Docker is shutting down ({error.message})") from error
            raise

    async def restart(self, machine_id: str, *, stop_first: bool = False) -> None:
        with reading():
            containers = await self._of_machine(machine_id)
        if not containers:
            raise EngineRejected(f"There is no container of {machine_id} to start again.")
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
            if error.kind == ADDRESS and self.host_addresses is not None:
                self._options = dataclasses.replace(self._options, publish_addresses=self.host_addresses())
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

    async def destroy(self, machine_id: str) -> None:
        with reading():
            containers = await self._of_machine(machine_id)
        for container in containers:
            await self._remove(container)

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

    # events

    async def watch(self) -> AsyncIterator[str | None]:
        """One item when the stream is open, and one for each event that concerns a worker or an image."""
        filters = {"filters": clean_filters({"type": ["container", "image", "network"]})}
        async with self._aside() as client:
            with reading():
                async with asked(client, "GET", "/events", params=filters) as response:
                    yield None
                    async for line in response.content:
                        event = msgspec.json.decode(line)
                        if concerns_us(event, self._listed):
                            yield doubted(event, self._listed)

    async def until_shown(self, machine_id: str) -> None:
        """Docker tells of a death before a listing shows it, and an inspection waits until it does."""
        with contextlib.suppress(EngineError, TimeoutError):
            async with asyncio.timeout(LATE_CREATE_S):
                with reading():
                    await self._client.containers.get(self._container_of(machine_id))

    async def aclose(self) -> None:
        await self._client.close()
