"""The network that workers live on: one of our own, or one that the operator named.

Ours is a bridge on which containers cannot reach each other, and carries the owner's label: it is also the engine's mark.
There is one per kind of `outbound`, since Docker cannot change a network that exists.

`host` leaves out the address translation: what a worker sends beyond this computer has a sender's address to which no
answer can be routed. Docker's own "internal" networks would not even send it, but they publish no ports, and a worker that
cannot be reached is useless.
Sources: https://docs.docker.com/engine/network/drivers/bridge/, https://github.com/moby/moby/issues/36174
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiodocker
import structlog

from worker_orchestrator.engines.docker.calls import is_missing, reading, writing
from worker_orchestrator.engines.docker.template import LABEL
from worker_orchestrator.errors import EngineRejected, PortTaken

__all__ = ["WorkerNetwork"]

_BRIDGE: Final = "com.docker.network.bridge"
_KINDS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "any": ("", {"Options": {f"{_BRIDGE}.enable_icc": "false"}}),
    "host": (
        "-host",
        {
            "Options": {f"{_BRIDGE}.enable_icc": "false", f"{_BRIDGE}.enable_ip_masquerade": "false"},
            "EnableIPv6": False,  # an engine may give its networks public addresses, which need no translation
        },
    ),
}
_PUBLISHES_NOTHING: Final = frozenset({"host", "null"})

_log = structlog.get_logger(__name__)


class WorkerNetwork:
    """The network of one owner's workers. `named`: one of the operator's, which we neither make nor remove."""

    def __init__(self, client: aiodocker.Docker, owner: str, *, named: str, outbound: str) -> None:
        self._client, self._named = client, named
        self._label = f"{LABEL}.owner"
        self._owner = owner
        self._own = {f"{LABEL}-{owner}{suffix}": made_as for suffix, made_as in _KINDS.values()}
        self.name = named or f"{LABEL}-{owner}{_KINDS[outbound][0]}"
        self._lock = asyncio.Lock()

    async def ours(self) -> Sequence[str]:
        """The names of our networks that are there. Raises EngineUnavailable, EngineRejected."""
        with reading():
            networks = await self._client.networks.list(filters={"label": [f"{self._label}={self._owner}"]})
            return [str(network["Name"]) for network in networks]

    async def ensure(self) -> None:
        """Make it if it is ours and missing. Raises EngineError; EngineRejected for a named one that cannot be used."""
        if self._named:
            await self._check_named()
        else:
            await self._make(self.name)

    async def rejoin(self, name: str, native_id: str) -> None:
        """Put a stopped container back on its network, which somebody removed: made again if it is ours.

        Docker remembers a container's network by an id that the new one does not have. Raises EngineError.
        """
        if name in self._own:
            await self._make(name)
        with reading():
            network = await self._client.networks.get(name)
        with writing():
            await network.connect({"Container": native_id})

    async def _make(self, name: str) -> None:
        async with self._lock:
            if name in await self.ours():
                return
            made = {"Name": name, "Driver": "bridge", "CheckDuplicate": True, "Labels": {self._label: self._owner}}
            try:
                with writing():
                    await self._client.networks.create({**made, **self._own[name]})
            except PortTaken as error:  # Docker says the same of its gateway's address: it is not a machine's port
                raise EngineRejected(f"The network {name} of the workers cannot be made. {error.message}") from error
            _log.info("network made", network=name)

    async def _check_named(self) -> None:
        try:
            with reading():
                network = await (await self._client.networks.get(self._named)).show()
                publishes_nothing = network.get("Internal") or network.get("Driver") in _PUBLISHES_NOTHING
        except EngineRejected as error:
            if not is_missing(error):
                raise
            raise EngineRejected(
                f"There is no Docker network {self._named}: make it with `docker network create {self._named}`, or choose "
                "another with --network.",
            ) from error
        if publishes_nothing:
            raise EngineRejected(
                f"No ports can be published on the Docker network {self._named}, so nobody could reach the workers: choose "
                "another with --network, or for workers without a way out leave it out and use --outbound host.",
            )

    async def remove(self) -> None:
        """Remove every network of ours, for `down`: the last thing that we leave on an engine. Raises EngineError."""
        for name in await self.ours():
            try:
                with writing():
                    await (await self._client.networks.get(name)).delete()
            except EngineRejected as error:
                if not is_missing(error):
                    raise
