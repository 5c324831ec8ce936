"""Machines as Docker containers: one container per machine, named after it, found again by its labels.

A machine is what carries its id as our label, whatever its name became, and is no copy: `reach.py` says which is which.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Final

import aiodocker
from msgspec.structs import replace

from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.base import Identity, Listing
from worker_orchestrator.engines.docker.activity import DockerActivity
from worker_orchestrator.engines.docker.calls import NOT_FOUND, is_missing, reading
from worker_orchestrator.engines.docker.connect import Endpoint
from worker_orchestrator.engines.docker.connector import Client
from worker_orchestrator.engines.docker.dialect import DOCKER, Dialect
from worker_orchestrator.engines.docker.environment import DockerEnvironment
from worker_orchestrator.engines.docker.fences import DockerFences
from worker_orchestrator.engines.docker.files import DockerFiles
from worker_orchestrator.engines.docker.images import Images
from worker_orchestrator.engines.docker.joined_work import JoinedWork
from worker_orchestrator.engines.docker.late import DockerLate
from worker_orchestrator.engines.docker.listed import Listed
from worker_orchestrator.engines.docker.listing import instance_of, with_killer
from worker_orchestrator.engines.docker.logs import DockerLogs
from worker_orchestrator.engines.docker.own_networks import OwnNetworks
from worker_orchestrator.engines.docker.pool_options import in_pool, naming_pool, ready_port_of
from worker_orchestrator.engines.docker.promises import has_health_check, refuse_unkept, why_not_parked
from worker_orchestrator.engines.docker.publishing import place_of, unpublished
from worker_orchestrator.engines.docker.template import (
    LABEL,
    ON_LOOPBACK,
    DockerOptions,
    PublishOptions,
    Template,
    make_template,
)
from worker_orchestrator.engines.docker.terminal import DockerTerminals
from worker_orchestrator.engines.docker.tidying import Tidying
from worker_orchestrator.engines.docker.whereabouts import engine_host, is_on_loopback, misplacement
from worker_orchestrator.engines.probe import NOTHING, PROBE_TIMEOUT_S, REFUSED, http_probe, tcp_probe
from worker_orchestrator.errors import EngineError, EngineRejected
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["DockerEngine"]

PULLS_AT_ONCE: Final = 3
"""So many images are pulled beside each other: each takes the line from the others."""
HEALTH_LIMIT_S: Final = 1.0
"""For Docker to say what its health check of one worker says."""
BEARINGS_S: Final = 10.0
"""How long an answer to the question of where this process is holds: bridges come and go."""
_NATIVE_ID: Final = re.compile(r"[0-9a-f]{12}|[0-9a-f]{64}")


class DockerEngine(
    DockerFences,
    DockerLate,
    DockerActivity,
    DockerLogs,
    DockerEnvironment,
    DockerTerminals,
    DockerFiles,
):
    """One Docker engine, for one owner: what it shows and says here, all else in the classes that it is made of."""

    plans_ports = True
    restarts_in_place = True

    def __init__(
        self,
        endpoint: Endpoint,
        client: Client,
        owner: str,
        options: Mapping[str, DockerOptions],
        host_addresses: Callable[[], tuple[str, ...]] | None = None,
        dialect: Dialect = DOCKER,
        publish: PublishOptions = ON_LOOPBACK,
    ) -> None:
        """`options` are those of each pool, by its name."""
        super().__init__(endpoint, client, owner, options, host_addresses, dialect, publish)
        self._images: dict[str, Images] = {}  # by reference
        self._checked: set[str] = set()  # images that have a health check, by reference
        self._room_to_pull = asyncio.Semaphore(PULLS_AT_ONCE)
        self._info = JoinedWork(client.system.info, "what the engine says of itself")
        self._killed: dict[str, bool] = {}  # by container id: whether SIGKILL came from outside
        self._unpublished: dict[str, frozenset[str]] = {}  # addresses, of the last listing, by machine id
        self._was_marked, self._nonce = False, secrets.token_hex(4)
        self._asks_bearings = asyncio.Lock()
        self._tidying = Tidying(self._networks, self._own_networks, self._networks_in_use, self._containers)
        self._bearings = (-math.inf, "")  # when `misplacement` was asked last (loop time), and its answer

    def is_native_id(self, text: str) -> bool:
        return _NATIVE_ID.fullmatch(text) is not None

    def take_options(self, options: Mapping[str, DockerOptions]) -> frozenset[str]:
        """Take these options of the pools, by name, for all that is done from now on.

        Machines of a pool that is not among them go on as they are; none can be created. Returns the names of the pools that
        are new or have other options than before: what `template` says of those, or is about to say, is out of date.
        """
        self._feeds.drop_all()  # where a pool has `late` again, projects may have been that left no trace of it
        changed = self._pools.configure(options)
        used = {chosen.image for chosen in options.values()}
        self._images = {name: images for name, images in self._images.items() if name in used}
        return changed

    def progress(self, pool: str) -> str:
        options = self._pools.all.get(pool)
        images = None if options is None else self._images.get(options.image)
        return "" if images is None else images.progress

    def cannot_park(self, pool: str) -> str:
        options = self._pools.all.get(pool)
        is_checked = options is not None and options.image in self._checked
        why = "" if options is None else why_not_parked(options, self._dialect, is_checked=is_checked)
        return why and in_pool(pool, why)

    # reading

    async def identity(self) -> Identity:
        with reading():
            dialect = Dialect.of(await self._client.system.info())
            if not dialect.identity:
                raise LookupError("ID")
        if self._own_networks is not None:
            return await self._identity_by_mark(self._own_networks, dialect.identity)
        stores = await self._networks.image_stores() or {self._dialect.image_store}
        if dialect.image_store != self._dialect.image_store or dialect.image_store not in stores:
            # Docker gives the same id, and shows none of the containers that it made with its other store.
            return Identity(f"{dialect.identity} with its {dialect.image_store} image store", marked=False)
        return Identity(dialect.identity, marked=bool(await self._networks.ours()))

    async def _identity_by_mark(self, own: OwnNetworks, name: str) -> Identity:
        """Of an engine that is known by our mark. A mark that somebody removed is made again if our containers are there."""
        if not await own.is_marked():
            with reading():
                ours = [it for it in await self._containers() if it["Labels"].get(f"{LABEL}.owner") in self.owners]
            if not ours:
                nonce = secrets.token_hex(4) if self._was_marked else self._nonce
                return Identity(f"{name}, unmarked {nonce}", marked=False)
            await own.ensure()
        self._was_marked = True
        return Identity(name, marked=True)

    async def template(self, pool: str, *, fetch: bool = True) -> str:
        options = self._pools.chosen(pool)
        with naming_pool(pool):
            template = await self._template(options, self._network_for(pool, options), fetch=fetch)
        if template is None:
            return ""
        self._templates[pool, template.fingerprint] = template
        return template.fingerprint

    async def _template(self, options: DockerOptions, network: str | None, *, fetch: bool) -> Template | None:
        await self._ensure_network(network)
        options = await self._networks.beside_proxy(options, network)
        if options.image not in self._images:
            self._images[options.image] = Images(self._client, options.image, self._room_to_pull)
        image = await self._images[options.image].current(fetch=fetch)
        if image is None:
            return None
        with reading():
            engine = await self._info.result()
            dialect = Dialect.of(engine)
            refuse_unkept(options, dialect, engine, engine_host(self._endpoint), self._publish.addresses)
            (self._checked.add if has_health_check(image) else self._checked.discard)(options.image)
            is_checked = options.image in self._checked
            if options.parked and (why := why_not_parked(options, dialect, is_checked=is_checked)):
                raise EngineRejected(why)
            return make_template(options, image, network, dialect, self._publish)

    async def list(self) -> Listing:
        as_of = asyncio.get_running_loop().time()
        with reading():
            containers = await self._containers()
            instances = self._placed([instance_of(it, self._dialect) for it in containers], containers)
            for instance in instances:
                if instance.killed:
                    await self._look_closer(instance)
        self._killed = {i.native_id: self._killed[i.native_id] for i in instances if i.native_id in self._killed}
        instances = [
            with_killer(i, from_outside=self._killed.get(i.native_id, True)) if i.killed else i for i in instances
        ]
        instances = self._take_listed(instances, as_of)
        return Listing(as_of, {i.id: i for i in sorted(instances, key=self._says_most)})

    def _says_most(self, instance: Instance) -> tuple[bool, bool, bool]:
        """Of several under one id the last in this order counts: ours, by its own name, running."""
        return instance.owner in self.owners, not instance.renamed, instance.status is Status.RUNNING

    def _placed(self, instances: Sequence[Instance], containers: Sequence[Listed]) -> Sequence[Instance]:
        """The instances with the host of each that is published elsewhere than the settings say now."""
        pairs = list(zip(instances, containers, strict=True))
        self._unpublished = {instance.id: lacks for instance, one in pairs if (lacks := unpublished(one))}
        self._labels = {instance.id: one["Labels"] for instance, one in pairs if instance.owner in self.owners}
        places = {instance.id: place_of(container, self._publish) for instance, container in pairs}
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
        labels, options = self._labels.get(machine.id, {}), self._options_of(machine)
        if options.ready == "healthcheck":
            return await self._healthcheck(machine, options.image)
        name, port = ready_port_of(machine, options, labels)
        assert port is not None, "a Docker machine has a host port"
        address = self.address_of(machine.id)
        if options.ready == "tcp":
            missing = await tcp_probe(address, port, limit_s)
        else:
            missing = await http_probe(address, port, options.ready_path, limit_s=limit_s, closely=closely)
        if missing is None or not missing.startswith(NOTHING):
            return missing
        if address in self._unpublished.get(machine.id, ()):
            does = "Docker published nothing there, as without its userland-proxy: use --publish-address 127.0.0.1"
            return f"{missing}; {does}"
        if closely and missing.startswith(REFUSED) and (why := await self._misplaced_for(address)):
            return f"{missing}, where Docker publishes it on its host: {why}"
        return f"{missing}; does the worker listen on 0.0.0.0:{self._worker_port(machine, name)}?"

    def _options_of(self, machine: Machine) -> DockerOptions:
        """What this process made of its template is asked as it was made for; after a restart, as its pool is now."""
        made = self._templates.get((machine.pool, machine.template))
        return made.options if made else self._pools.of_machine(machine.pool, self._labels.get(machine.id, {}))

    async def misplacement(self) -> str:
        asks_there = any(options.ready != "healthcheck" for options in self._pools.all.values())
        if not asks_there or not all(map(is_on_loopback, self._publish.addresses)):
            return ""
        why = await misplacement(self._client, self._endpoint)
        self._bearings = (asyncio.get_running_loop().time(), why)
        return why

    @property
    def misplaced(self) -> str:
        return self._bearings[1]

    async def _misplaced_for(self, address: str) -> str:
        """Why what is published on this address cannot be reached from here; empty if nothing says so."""
        now = asyncio.get_running_loop().time()
        if not is_on_loopback(address):
            return ""
        async with self._asks_bearings:  # many workers may start at once, and one question is enough for all
            if now - self._bearings[0] >= BEARINGS_S:
                why = self._bearings[1]
                with contextlib.suppress(EngineError):  # no answer is no verdict: what was known holds
                    why = await misplacement(self._client, self._endpoint)
                self._bearings = (now, why)
        return self._bearings[1]

    async def _healthcheck(self, machine: Machine, image: str) -> str | None:
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
            named = f"the image {image}" if image else "its image"
            return f"{named} has no HEALTHCHECK; choose --ready http or --ready tcp"
        return None if status == "healthy" else f"the health check of the container reports {plain(status, 40)}"

    def _worker_port(self, machine: Machine, name: str) -> int | str:
        template = self._templates.get((machine.pool, machine.template))
        return "its port" if template is None else dict(template.options.ports).get(name, template.port)

    async def watch(self) -> AsyncGenerator[str | None, None]:
        """As long as somebody watches, leftover networks are removed too: who only looks at the engine removes nothing."""
        tidying = asyncio.create_task(self._tidying.run(), name="leftover networks")
        try:
            async with aclosing(super().watch()) as signs:
                async for sign in signs:
                    yield sign
        finally:
            tidying.cancel()
            await asyncio.gather(tidying, return_exceptions=True)

    def _networks_in_use(self) -> set[str]:
        """The networks that new workers of the pools are put on."""
        names = (self._network_for(pool, options) for pool, options in self._pools.all.items())
        return {name for name in names if name is not None}

    async def aclose(self) -> None:
        self._processes.close()
        await self._feeds.aclose()
        await self._client.close()
