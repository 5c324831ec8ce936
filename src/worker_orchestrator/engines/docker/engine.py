"""Machines as Docker containers: one container per machine, named after it, found again by its labels.

A machine is what carries its id as our label, whatever its name became, and is no copy: `reach.py` says which is which.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import aiodocker
import msgspec
from aiodocker.containers import DockerContainer
from aiodocker.utils import clean_filters
from msgspec.structs import replace

from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.base import Identity, Listing
from worker_orchestrator.engines.docker.calls import NOT_FOUND, is_missing, reading
from worker_orchestrator.engines.docker.connect import Endpoint
from worker_orchestrator.engines.docker.environment import DockerEnvironment
from worker_orchestrator.engines.docker.exec import DockerExec
from worker_orchestrator.engines.docker.files import DockerFiles
from worker_orchestrator.engines.docker.images import Images
from worker_orchestrator.engines.docker.lifecycle import LATE_CREATE_S, DockerLifecycle
from worker_orchestrator.engines.docker.listing import concerns_us, doubtful_machine, instance_of, with_killer
from worker_orchestrator.engines.docker.logs import DockerLogs
from worker_orchestrator.engines.docker.publishing import Place, place_of
from worker_orchestrator.engines.docker.reach import send_request
from worker_orchestrator.engines.docker.stats import DockerStats
from worker_orchestrator.engines.docker.template import DockerOptions, make_template
from worker_orchestrator.engines.docker.terminal import DockerTerminals
from worker_orchestrator.engines.docker.whereabouts import is_on_loopback, misplacement
from worker_orchestrator.engines.probe import NOTHING, PROBE_TIMEOUT_S, REFUSED, http_probe, tcp_probe
from worker_orchestrator.errors import EngineError, EngineRejected
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["DockerEngine"]

HEALTH_LIMIT_S: Final = 1.0
"""For Docker to say what its health check of one worker says."""
BEARINGS_S: Final = 10.0
"""How long an answer to the question of where this process is holds: bridges come and go."""
_NATIVE_ID: Final = re.compile(r"[0-9a-f]{12}|[0-9a-f]{64}")


class DockerEngine(
    DockerLifecycle, DockerLogs, DockerStats, DockerEnvironment, DockerExec, DockerTerminals, DockerFiles
):
    """One Docker engine, for one owner: what it shows and says here, all else in the classes that it is made of."""

    plans_ports = True
    restarts_in_place = True

    def __init__(
        self,
        endpoint: Endpoint,
        client: aiodocker.Docker,
        owner: str,
        options: DockerOptions,
        host_addresses: Callable[[], tuple[str, ...]] | None = None,
    ) -> None:
        super().__init__(endpoint, client, owner, options, host_addresses)
        self._images = Images(client, options.image)
        self._killed: dict[str, bool] = {}  # by container id: whether SIGKILL came from outside
        self._places: dict[str, Place] = {}  # of the last listing, by machine id
        self._asks_bearings = asyncio.Lock()
        self._bearings = (-math.inf, "")  # when `misplacement` was asked last (loop time), and its answer

    def is_native_id(self, text: str) -> bool:
        return _NATIVE_ID.fullmatch(text) is not None

    @property
    def progress(self) -> str:
        return self._images.progress

    # reading

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

    async def list(self) -> Listing:
        as_of = asyncio.get_running_loop().time()
        with reading():
            containers = await self._containers()
            instances = self._placed([instance_of(container) for container in containers], containers)
            for instance in instances:
                if instance.killed:
                    await self._look_closer(instance)
        self._killed = {i.native_id: self._killed[i.native_id] for i in instances if i.native_id in self._killed}
        instances = [
            with_killer(i, from_outside=self._killed.get(i.native_id, True)) if i.killed else i for i in instances
        ]
        self._listed = {i.native_id: i.id for i in instances if i.owner in self.owners}
        return Listing(as_of, {i.id: i for i in sorted(instances, key=self._says_most)})

    def _says_most(self, instance: Instance) -> tuple[bool, bool, bool]:
        """Of several under one id the last in this order counts: ours, by its own name, running."""
        return instance.owner in self.owners, not instance.renamed, instance.status is Status.RUNNING

    def _placed(self, instances: Sequence[Instance], containers: Sequence[DockerContainer]) -> Sequence[Instance]:
        """The instances with the host of each that is published elsewhere than the settings say now."""
        pairs = zip(instances, containers, strict=True)
        places = {instance.id: place_of(container, self._options) for instance, container in pairs}
        self._places = {machine_id: place for machine_id, place in places.items() if place is not None}
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

    async def probe(
        self,
        machine: Machine,
        instance: Instance | None = None,  # noqa: ARG002 # we chose the port, and know where it is published
        limit_s: float = PROBE_TIMEOUT_S,
        *,
        closely: bool = False,
    ) -> str | None:
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
        if closely and missing.startswith(REFUSED) and (why := await self._misplaced_for(address)):
            return f"{missing}, where Docker publishes it on its host: {why}"
        return f"{missing}; does the worker listen on 0.0.0.0:{self._worker_port(machine)}?"

    async def misplacement(self) -> str:
        if self._options.ready == "healthcheck" or not all(map(is_on_loopback, self._options.publish_addresses)):
            return ""
        return await misplacement(self._client, self._endpoint)

    async def _misplaced_for(self, address: str) -> str:
        """Why what is published on this address cannot be reached from here; empty if nothing says so."""
        now = asyncio.get_running_loop().time()
        if not is_on_loopback(address):
            return ""
        async with self._asks_bearings:  # many workers may start at once, and one question is enough for all
            if now - self._bearings[0] >= BEARINGS_S:
                why = ""
                with contextlib.suppress(EngineError):
                    why = await misplacement(self._client, self._endpoint)
                self._bearings = (now, why)
        return self._bearings[1]

    async def _healthcheck(self, machine: Machine) -> str | None:
        try:
            with reading():
                async with asyncio.timeout(HEALTH_LIMIT_S):
                    container = await self._client.containers.get(self._container_of(machine.id))
                health = container["State"].get("Health")
                status = None if health is None else str(health["Status"])
        except EngineRejected as error:
            if is_missing(error):
                return error.message
            raise
        if status is None:
            return f"the image {self._options.image} has no HEALTHCHECK; choose --ready http or --ready tcp"
        return None if status == "healthy" else f"the health check of the container reports {plain(status, 40)}"

    def _worker_port(self, machine: Machine) -> int | str:
        template = self._templates.get(machine.template)
        return template.port if template is not None else "its port"

    # events

    async def watch(self) -> AsyncIterator[str | None]:
        """One item when the stream is open, and one for each event that concerns a worker or an image."""
        filters = {"filters": clean_filters({"type": ["container", "image", "network"]})}
        async with self._aside() as client:
            with reading():
                async with send_request(client, "GET", "/events", params=filters) as response:
                    yield None
                    async for line in response.content:
                        event = msgspec.json.decode(line)
                        if concerns_us(event, self._listed):
                            yield doubtful_machine(event, self._listed)

    async def until_shown(self, machine_id: str) -> None:
        """Docker reports an end before a listing shows it, and an inspection waits until it does."""
        with contextlib.suppress(EngineError, TimeoutError):
            async with asyncio.timeout(LATE_CREATE_S):
                with reading():
                    await self._client.containers.get(self._container_of(machine_id))

    async def aclose(self) -> None:
        await self._client.close()
