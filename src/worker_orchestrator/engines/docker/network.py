"""The networks that workers share: some of our own, and those that the operator named.

Ours are bridges on which containers cannot reach each other, and carry the owner's label: they are also the engine's mark.
There is one per kind of `outbound`, since Docker cannot change a network that exists. Pools of the same kind share it, but
for names: each such pool has one (`fenced_networks`). Each
pool on whose network workers reach each other, where the operator said so, has one to itself: that is no leave to reach the
workers of another pool. One that neither a pool nor a container needs any more is removed (`tidying`). An engine that cannot
forbid them that gives each worker a network (`own_networks`).

`host` leaves out the address translation: what a worker sends beyond this computer has a sender's address to which no
answer can be routed. Docker's own "internal" networks would not even send it, but they publish no ports, and a worker that
cannot be reached is useless.
Sources: https://docs.docker.com/engine/network/drivers/bridge/, https://github.com/moby/moby/issues/36174
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any, Final

import aiodocker
import structlog

from worker_orchestrator.core.spec import DEFAULT_POOL
from worker_orchestrator.engines.docker.calls import is_missing, reading, writing
from worker_orchestrator.engines.docker.dialect import Dialect
from worker_orchestrator.engines.docker.fenced_networks import (
    create_fenced,
    environment,
    fence_of,
    inspected,
    refuse_elsewhere,
)
from worker_orchestrator.engines.docker.libpod import create_network
from worker_orchestrator.engines.docker.template import LABEL, DockerOptions
from worker_orchestrator.errors import EngineRejected, PortTaken

__all__ = ["WorkerNetworks"]

_IMAGE_STORE: Final = f"{LABEL}.image-store"
_BRIDGE: Final = "com.docker.network.bridge"
_SHARED: Final = "-shared"
_FENCED: Final = "-names"
_SCRATCH: Final = "-scratch"
_MADE_AS: Final[Mapping[str, Mapping[str, Any]]] = {
    "": {"Options": {f"{_BRIDGE}.enable_icc": "false"}},
    "-host": {
        "Options": {f"{_BRIDGE}.enable_icc": "false", f"{_BRIDGE}.enable_ip_masquerade": "false"},
        "EnableIPv6": False,  # an engine may give its networks public addresses, which need no translation
    },
    _SHARED: {},
}
_MADE_AS_HOST: Final = _MADE_AS["-host"]
"""By what their names end with."""
_PUBLISHES_NOTHING: Final = frozenset({"host", "null"})
"""Drivers. The networks that they make have these names:"""
_NO_BRIDGES: Final = frozenset({"host", "none"})

_log = structlog.get_logger(__name__)


class WorkerNetworks:
    """The networks that one owner's workers share, by name. Those of the operator are neither made nor removed."""

    def __init__(self, client: aiodocker.Docker, owner: str, dialect: Dialect) -> None:
        self._client, self._owner, self._dialect = client, owner, dialect
        self._label, self._base = f"{LABEL}.owner", f"{LABEL}-{owner}"
        self._lock = asyncio.Lock()

    def name_for(self, pool: str, options: DockerOptions) -> str:
        """The name of the network for new workers of this pool."""
        if options.network:
            return options.network
        if options.insecure_shared_network:
            return f"{self._base}{_SHARED}" + ("" if pool == DEFAULT_POOL else f"-{pool}")
        if options.outbound == "names":
            return f"{self._base}{_FENCED}-{pool}"
        return self._base + ("" if options.outbound == "any" else f"-{options.outbound}")

    def _made_as(self, name: str) -> Mapping[str, Any] | None:
        """How the network of this name is made; None if it is no name of ours."""
        if not name.startswith(self._base):
            return None
        end = name.removeprefix(self._base)
        if end.startswith(f"{_FENCED}-") or end == _SCRATCH:
            return _MADE_AS_HOST
        return _MADE_AS[_SHARED] if end.startswith(f"{_SHARED}-") else _MADE_AS.get(end)

    async def ours(self) -> Sequence[str]:
        """The names of our networks that are there. Raises EngineUnavailable, EngineRejected."""
        with reading():
            return [str(network["Name"]) for network in await self._networks()]

    async def image_stores(self) -> AbstractSet[str]:
        """Those that the engine worked with when our networks were made, as far as that is known. Raises EngineError."""
        with reading():
            return {network["Labels"].get(_IMAGE_STORE, "") for network in await self._networks()} - {""}

    async def _networks(self) -> Sequence[Mapping[str, Any]]:
        return list(await self._client.networks.list(filters={"label": [f"{self._label}={self._owner}"]}))

    async def ensure(self, name: str) -> None:
        """Make it if it is ours and missing. Raises EngineError; EngineRejected for a named one that cannot be used."""
        made_as = self._made_as(name)
        if made_as is None:
            await self._check_named(name)
        else:
            await self._make(name, made_as)

    async def beside_proxy(self, options: DockerOptions, name: str | None) -> DockerOptions:
        """These options with the way to the proxy, if workers on this network have one. Raises EngineError."""
        if options.outbound != "names" or name is None:
            return options
        fence = fence_of(await inspected(self._client, name))
        refuse_elsewhere(fence)
        return replace(options, env={**environment(fence), **(options.env or {})})

    async def rejoin(self, name: str, native_id: str) -> None:
        """Put a stopped container back on its network, which somebody removed: made again if it is ours.

        Docker remembers a container's network by an id that the new one does not have. Raises EngineError.
        """
        made_as = self._made_as(name)
        if made_as is not None:
            await self._make(name, made_as)
        with reading():
            network = await self._client.networks.get(name)
        with writing():
            await network.connect({"Container": native_id})

    async def _make(self, name: str, made_as: Mapping[str, Any]) -> None:
        async with self._lock:
            if name in await self.ours():
                return
            labels = {self._label: self._owner, _IMAGE_STORE: self._dialect.image_store}
            made = {"Name": name, "Driver": "bridge", "CheckDuplicate": True, "Labels": labels}
            try:
                with writing():
                    await self._create({**made, **made_as})
            except PortTaken as error:  # Docker says the same of its gateway's address: it is not a machine's port
                raise EngineRejected(f"The network {name} of the workers cannot be made. {error.message}") from error
            _log.info("network made", network=name)

    async def _create(self, body: dict[str, Any]) -> None:
        name = body["Name"]
        if name.startswith(f"{self._base}{_FENCED}-"):
            await create_fenced(self._client, body, f"{self._base}{_SCRATCH}")
        elif self._dialect.isolates_by_network and name.startswith(f"{self._base}{_SHARED}-"):
            # Podman lets networks reach each other, unless one is told otherwise in its own words.
            body = {"name": name, "driver": "bridge", "options": {"isolate": "strict"}, "labels": body["Labels"]}
            await create_network(self._client, body)
        else:
            await self._client.networks.create(body)

    async def unneeded(self, needed: AbstractSet[str]) -> Sequence[str]:
        """Our networks that are not among the `needed` ones, nor the mark. Raises EngineUnavailable, EngineRejected."""
        ours = {name for name in await self.ours() if self._made_as(name) is not None}
        marks = {self._base} if self._dialect.isolates_by_network else needed & ours or {min(ours, default="")}
        return sorted(ours - needed - marks)

    async def discard(self, name: str, needed: Callable[[], AbstractSet[str]]) -> None:
        """Remove one that nobody needs, unless that has changed. Absent is success. Raises EngineError if it is in use."""
        async with self._lock:
            if name not in needed():
                await self._remove(name)
                _log.info("network removed", network=name)

    async def _check_named(self, name: str) -> None:
        try:
            with reading():
                network = await (await self._client.networks.get(name)).show()
                publishes_nothing = network.get("Internal") or network.get("Driver") in _PUBLISHES_NOTHING
        except EngineRejected as error:
            if not is_missing(error):
                raise
            if name in _NO_BRIDGES:  # Podman does not count them among its networks
                raise _publishes_nothing(name) from error
            raise EngineRejected(
                f"There is no {self._dialect.name} network {name}: make it with `{self._dialect.command} network create "
                f"{name}`, or choose another with --network.",
            ) from error
        if publishes_nothing:
            raise _publishes_nothing(name)

    async def remove(self) -> None:
        """Remove every network of ours, for `down`: the last thing that we leave on an engine. Raises EngineError."""
        for name in await self.ours():
            await self._remove(name)

    async def _remove(self, name: str) -> None:
        try:
            with writing():
                await (await self._client.networks.get(name)).delete()
        except EngineRejected as error:
            if not is_missing(error):
                raise


def _publishes_nothing(name: str) -> EngineRejected:
    return EngineRejected(
        f"No ports can be published on the network {name}, so nobody could reach the workers: choose another with "
        "--network, or for workers without a way out leave it out and use --outbound host.",
    )
