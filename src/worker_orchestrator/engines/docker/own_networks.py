"""A network for each worker, on an engine that keeps networks apart, but not the containers of one.

Each is named after its machine, and carries our labels. It is made before its container and removed after it. A network
whose machine has no container is nothing but a leftover of something that was cut off: `sweep` removes it.

`isolate: strict` keeps a network apart from all others, and without a resolver of its own it tells nobody's name. With
`outbound` "host" it has no default route, so a worker reaches the engine's host and nothing beyond it.

One more, on which nobody ever is, is the owner's mark on the engine, whatever network the workers use: Podman gives another
id at each call, and two hosts may have the same name.
Source: https://docs.podman.io/en/latest/markdown/podman-network-create.1.html
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import aiodocker
import structlog

from worker_orchestrator.engines.docker.calls import CONFLICT, is_missing, reading, status_of, writing
from worker_orchestrator.engines.docker.libpod import create_network, remove_network
from worker_orchestrator.engines.docker.template import LABEL
from worker_orchestrator.errors import EngineError, EngineRejected

__all__ = ["OwnNetworks", "Seen"]

_MACHINE: Final = f"{LABEL}.machine"
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)")
_SETTLES_S: Final = 60.0
"""A network may be so old before its container is created."""

_log = structlog.get_logger(__name__)


class Seen(NamedTuple):
    """A network, and how long ago it was made, by this computer's clock."""

    name: str
    age_s: float


class OwnNetworks:
    """The networks of the workers of `owner`, and of all `owners` that it has adopted."""

    def __init__(self, client: aiodocker.Docker, owner: str, owners: AbstractSet[str]) -> None:
        self._client, self._owner, self._owners = client, owner, owners
        self._mark = f"{LABEL}-{owner}"
        self._told: set[str] = set()  # which networks were told of, so that each is told of once

    async def ours(self) -> Sequence[str]:
        """The names of our networks that are there. Raises EngineUnavailable, EngineRejected."""
        with reading():
            return [str(network["Name"]) for network in await self._networks()]

    async def ensure(self) -> None:
        """Make the owner's mark, if it is not there. Raises EngineError."""
        await self._make(self._mark, {}, {})

    async def is_marked(self) -> bool:
        """Whether the owner's mark is there. Raises EngineUnavailable, EngineRejected."""
        return self._mark in await self.ours()

    async def prepare(self, machine_id: str, outbound: str) -> None:
        """Make the network of this machine, if it is not there. Raises EngineError."""
        options = {"isolate": "strict"} | ({"no_default_route": "true"} if outbound == "host" else {})
        await self._make(machine_id, options, {_MACHINE: machine_id})

    async def _make(self, name: str, options: Mapping[str, str], labels: Mapping[str, str]) -> None:
        owner = {f"{LABEL}.owner": self._owner}
        body = {
            "name": name,
            "driver": "bridge",
            "dns_enabled": False,
            "options": options,
            "labels": {**owner, **labels},
        }
        try:
            with writing():
                await create_network(self._client, body)
        except EngineRejected as error:
            if status_of(error) != CONFLICT:
                raise

    async def discard(self, machine_id: str) -> None:
        """Remove the network of this machine. Absent is success. Raises EngineError.

        One that somebody else's container is on stays: it is theirs to end, and `sweep` comes back to it.
        """
        try:
            with writing():
                await remove_network(self._client, machine_id)
        except EngineRejected as error:
            if "is being used" in error.message or "has associated containers" in error.message:
                if machine_id not in self._told:
                    self._told.add(machine_id)
                    _log.warning("the network of a removed worker is in use", network=machine_id, why=error.message)
            elif not is_missing(error):
                raise

    async def seen(self) -> Sequence[Seen]:
        """Our networks, for `sweep` after a listing of the containers. Raises EngineUnavailable, EngineRejected."""
        with reading():
            networks = [network for network in await self._networks() if _MACHINE in network["Labels"]]
            return [Seen(str(network["Name"]), _age_s(str(network["Created"]))) for network in networks]

    async def sweep(self, seen: Sequence[Seen], machine_ids: Collection[str]) -> None:
        """Remove leftovers: those `seen` before a listing whose machines are not among the `machine_ids` in it."""
        for network in seen:
            if network.name not in machine_ids and network.age_s > _SETTLES_S:
                try:
                    await self.discard(network.name)
                except EngineError as error:
                    _log.warning("a leftover network cannot be removed", network=network.name, why=error.message)

    async def remove(self) -> None:
        """Remove every network of ours, for `down`. Raises EngineError."""
        for name in await self.ours():
            await self.discard(name)

    async def _networks(self) -> Sequence[Mapping[str, Any]]:
        label = f"{LABEL}.owner"
        networks = await self._client.networks.list(filters={"label": [label]})
        return [network for network in networks if network["Labels"][label] in self._owners]


def _age_s(created: str) -> float:
    """`created`: in the time zone of the engine's host, with up to nine digits of a second. A clock may be wrong."""
    parts = _TIME.fullmatch(created)
    if parts is None:
        raise ValueError(f"{created!r} is no time")
    zone = "+00:00" if parts[2] == "Z" else parts[2]
    return (datetime.now(UTC) - datetime.fromisoformat(parts[1] + zone)).total_seconds()
