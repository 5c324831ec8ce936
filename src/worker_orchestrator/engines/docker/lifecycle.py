"""The life of containers: made, started, stopped, removed. Every write is safe to repeat under the same machine id.

A create whose client hung up can land later, so a name that is taken is looked at and used, never avoided: a new name per
retry would let a daemon that was frozen run them all.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import structlog
from aiodocker.containers import DockerContainer

from worker_orchestrator.core.machine import Machine
from worker_orchestrator.core.reasons import sentence
from worker_orchestrator.engines.docker.calls import (
    docker_message,
    is_missing,
    is_network_missing,
    is_taken,
    not_shown,
    reading,
    writing,
)
from worker_orchestrator.engines.docker.connect import Endpoint
from worker_orchestrator.engines.docker.connector import Client
from worker_orchestrator.engines.docker.create_warnings import dropped, is_worth_telling
from worker_orchestrator.engines.docker.dialect import DOCKER, Dialect
from worker_orchestrator.engines.docker.listing import instance_of
from worker_orchestrator.engines.docker.network import WorkerNetworks
from worker_orchestrator.engines.docker.obstacles import ADDRESS, taken_port
from worker_orchestrator.engines.docker.own_networks import OwnNetworks
from worker_orchestrator.engines.docker.pausing import DockerPausing
from worker_orchestrator.engines.docker.removing import remove
from worker_orchestrator.engines.docker.template import (
    LABEL,
    NETWORK,
    ON_LOOPBACK,
    OUTBOUND,
    POOL,
    DockerOptions,
    PublishOptions,
    Template,
)
from worker_orchestrator.errors import EngineError, EngineObstructed, EngineRejected, EngineUnavailable, PortTaken
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["LATE_CREATE_S", "DockerLifecycle"]

LATE_CREATE_S: Final = 2.0
"""A create that landed late holds its name for up to 0.3 s before inspect by name knows it."""
_LATE_CREATE_PAUSE_S: Final = 0.05
_NEVER_STARTED: Final = frozenset({"created", "initialized"})

_log = structlog.get_logger(__name__)


class DockerLifecycle(DockerPausing):
    """Makes, starts, stops and removes containers.

    `host_addresses` returns the addresses to publish on, as the host is now; None if the operator named one.
    """

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
        super().__init__(endpoint, client, owner, options, dialect)
        self._templates: dict[tuple[str, str], Template] = {}  # by pool and fingerprint
        self._networks = WorkerNetworks(client, owner, dialect)
        self._own_networks = OwnNetworks(client, owner, self.owners) if dialect.isolates_by_network else None
        self._publish, self._host_addresses = publish, host_addresses
        self._told: set[str] = set()  # what was warned of, so that it is told once
        self._refused: set[str] = set()  # machine ids: their containers lack something, and their removal was cut off

    @property
    def published(self) -> PublishOptions:
        return self._publish

    def _network_for(self, pool: str, options: DockerOptions) -> str | None:
        """The network that new workers of this pool share; None if each of them gets one of its own."""
        is_shared = bool(options.network) or options.insecure_shared_network
        return self._networks.name_for(pool, options) if is_shared or self._own_networks is None else None

    async def _ensure_network(self, name: str | None) -> None:
        """See to it that this network is there, which new workers of a pool share, and our mark. Raises EngineError."""
        if name is not None:
            await self._networks.ensure(name)
        if self._own_networks is not None:
            await self._own_networks.ensure()

    async def _prepare_network(self, machine_id: str, template: Template) -> None:
        """Make what this machine has for itself. Raises EngineError."""
        if self._own_networks is not None and template.network is None:
            await self._own_networks.prepare(machine_id, template.options.outbound)

    async def _discard_network(self, machine_id: str) -> None:
        """What is left of a machine that has no container any more. Raises EngineError."""
        if self._own_networks is not None:
            await self._own_networks.discard(machine_id)

    async def create(self, machine: Machine) -> bool:
        with self._looking_at_the_host():
            await self._make(machine)
        return True

    async def _make(self, machine: Machine) -> None:
        template = self._templates.get((machine.pool, machine.template))
        if template is None:
            raise EngineRejected(f"The template {machine.template} of {machine.id} is no longer known.")
        await self._prepare_network(machine.id, template)
        try:
            container = await self._create_or_find(machine, template)
            if container is not None:
                await self._before_start(container, template)
                await self._start_or_remove(container)
        except (EngineRejected, PortTaken) as error:  # then nothing of it is there
            with contextlib.suppress(EngineError):  # else a later listing finds it
                await self._discard_network(machine.id)
            if isinstance(error, PortTaken):
                error.port = taken_port(docker_message(error), machine.host_ports)
            raise

    async def _before_start(self, container: DockerContainer, template: Template) -> None:
        """For whoever has to look at a container of this template that never ran."""

    def _body_of(self, machine: Machine, template: Template) -> dict[str, Any]:
        return template.create_body(self._owner, machine)

    async def _create(self, body: dict[str, Any], name: str) -> DockerContainer:
        with writing():
            container, warnings = await self._client.create_container(body, name)
        for warning in warnings:
            if is_worth_telling(warning) and str(warning) not in self._told:
                self._told.add(str(warning))
                _log.warning("the engine warns", machine=name, says=plain(warning))
        if what := dropped(warnings):
            self._refused.add(name)
            await self._remove(container)
            self._refused.discard(name)
            raise EngineRejected(
                f"{self._dialect.name} would run the worker without something that was asked for: {sentence(what)} Set its "
                "host up for that, or leave it out of the settings."
            )
        return container

    async def _create_or_find(self, machine: Machine, template: Template) -> DockerContainer | None:
        """The container that is to be started; None if one that once ran stands under this name already."""
        body = self._body_of(machine, template)
        for _ in range(2):
            try:
                return await self._create(body, machine.id)
            except EngineRejected as error:
                if is_network_missing(error):
                    await self._ensure_network(template.network)
                    await self._prepare_network(machine.id, template)
                    continue
                if not is_taken(error):
                    raise
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
            if is_as_wanted and machine.id not in self._refused:
                return known if status in _NEVER_STARTED else None
            await self._remove(known)
            self._refused.discard(machine.id)
        raise not_shown(machine.id, self._dialect.name)

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
                if not is_network_missing(error):
                    raise
                await self._rejoin_network(container)
                with writing():
                    await container.start()
        except EngineRejected as error:
            try:
                await self.ping()
            except EngineUnavailable:
                raise EngineUnavailable(f"{self._dialect.name} is shutting down. {error.message}") from error
            raise

    async def _rejoin_network(self, container: DockerContainer) -> None:
        """Make the network again that somebody took from this container, which does not run. Raises EngineError."""
        with reading():
            shown = await container.show()
            labels: Mapping[str, str] = shown["Config"]["Labels"]
            name, machine_id = labels.get(NETWORK) or shown["HostConfig"]["NetworkMode"], labels[f"{LABEL}.machine"]
        if name == machine_id:
            await self._remake_own_network(machine_id, labels)
        else:
            await self._networks.rejoin(name, container.id)

    async def _remake_own_network(self, machine_id: str, labels: Mapping[str, str]) -> None:
        """As it was when this machine was made. Podman finds a container's network by its name. Raises EngineError."""
        if self._own_networks is not None:
            options = self._pools.of_machine(labels.get(POOL, ""), labels)
            await self._own_networks.prepare(machine_id, labels.get(OUTBOUND) or options.outbound)

    async def restart(self, machine_id: str, *, stop_first: bool = False) -> None:
        with reading():
            containers = await self._of_machine(machine_id)
        if not containers:
            raise EngineRejected(f"{machine_id} has no container that could be restarted.")
        if stop_first:
            await self._let_go_on(containers[0])
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
                self._publish = dataclasses.replace(self._publish, addresses=self._host_addresses())
            raise

    async def stop(self, machine_id: str, grace_s: float) -> None:
        """Docker sends the image's STOPSIGNAL, else SIGTERM, and after whole seconds SIGKILL, also if we are gone then."""
        with reading():
            containers = await self._of_machine(machine_id)
        async with self._aside() as client:
            for container in containers:
                await self._let_go_on(container)
                try:
                    with writing():
                        await client.containers.container(container.id).stop(t=math.ceil(grace_s))
                except EngineRejected as error:
                    if not is_missing(error):
                        raise
                with contextlib.suppress(EngineError), reading():  # until it is listed so: Docker 26 answers before
                    await client.containers.container(container.id).show()

    async def destroy(self, machine_id: str) -> bool:
        """Docker answers when the container is gone."""
        with reading():
            containers = await self._of_machine(machine_id)
        for container in containers:
            if instance_of(container, self._dialect).is_cut_off and container["State"] == "paused":
                await self._note_network_again(machine_id, container)
            try:
                await self._remove(container)
            except EngineRejected as error:
                if not is_network_missing(error) or self._own_networks is None:
                    raise
                await self._remake_own_network(machine_id, container["Labels"])  # Podman takes it off its network first
                await self._remove(container)
        await self._discard_network(machine_id)
        self._refused.discard(machine_id)
        return True

    async def _note_network_again(self, machine_id: str, container: DockerContainer) -> None:
        """Before a paused container is removed that somebody took off its own network.

        Podman only noted that, and could not clear up now: the host port would lead nowhere for good. As long as it is
        paused, Podman only notes that it is connected, too.
        """
        if self._own_networks is not None and container["Labels"].get(NETWORK, machine_id) == machine_id:
            with contextlib.suppress(EngineError):
                await self._remake_own_network(machine_id, container["Labels"])
                await self._networks.rejoin(machine_id, container.id)

    async def _remove(self, container: DockerContainer) -> None:
        await remove(self._client, container, self._dialect)

    async def remove_network(self) -> None:
        """Remove the workers' networks, for `down`: the last thing that we leave on an engine."""
        await (self._networks if self._own_networks is None else self._own_networks).remove()
