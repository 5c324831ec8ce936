"""Which container of the engine this process runs in, and on which networks: as the kernel shows and the engine confirms.

A container has an address of its host on each of its bridges, the gateway. What is published there is reached from the
container, from its neighbours and from the host, so a service in a container can ask its workers there. Loopback addresses
of the host are out of its reach, unless it shares the host's network (`docker run --network host`).
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiodocker
from aiodocker.containers import DockerContainer

from worker_orchestrator.engines.docker.calls import is_missing, reading
from worker_orchestrator.errors import EngineRejected, InvalidSetting
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["OwnContainer", "gateway_address", "is_in_container", "own_container", "socket_advice"]

_PODMAN: Final = Path("/run/.containerenv")
_MOUNTS: Final = Path("/proc/self/mountinfo")
_OF_THIS_CONTAINER: Final = re.compile(
    r"\S+ \S+ \S+ \S*/(?:overlay-)?containers/([0-9a-f]{64})/\S+ /etc/(?:hostname|hosts|resolv\.conf) "
)
"""A container's host name and its resolver's file are mounts of files of that folder of Docker's.

Docker 20.10 mounts them on its host too while files are copied out of a container, and there somewhere below its own folder.
Source: https://www.kernel.org/doc/html/latest/filesystems/proc.html (/proc/PID/mountinfo: the root is the fourth field, the
mount point the fifth).
"""
_ID: Final = re.compile(r"[0-9a-f]{12}")
_SOCKET: Final = Path("/var/run/docker.sock")


class OwnContainer(NamedTuple):
    """What the engine says of the container that this process runs in. `gateways`: addresses of the host, by network."""

    name: str
    gateways: Mapping[str, str]
    networks: tuple[str, ...]
    shares_host: bool


def is_in_container() -> bool:
    """Whether the kernel shows that this process runs in a container, of whatever engine."""
    return _mounted_id() != "" or _PODMAN.exists()


async def own_container(client: aiodocker.Docker) -> OwnContainer | None:
    """None if this process runs in no container of this engine. Raises EngineUnavailable, EngineRejected."""
    if not is_in_container():
        return None
    for candidate in _candidates():
        try:
            with reading():
                shown = await client.containers.get(candidate)
        except EngineRejected as error:
            if not is_missing(error):
                raise
            continue
        return _described(shown)
    return None


async def gateway_address(client: aiodocker.Docker) -> str:
    """The address of the host on the network of our container.

    Raises InvalidSetting if there is none, EngineUnavailable, EngineRejected.
    """
    own = await own_container(client)
    if own is None:
        raise InvalidSetting(
            "publish_address is gateway, but this process runs in no container of that engine. Leave it out, or name an IP "
            "address of the engine's host."
        )
    if own.shares_host:
        raise InvalidSetting(
            f"publish_address is gateway, but the container {own.name} shares the network of its host. Leave it out: "
            "workers are reached on loopback there."
        )
    if not own.gateways:
        raise InvalidSetting(
            f"publish_address is gateway, but the container {own.name} is on no network by which its host can be reached "
            f"(it is on {', '.join(own.networks) or 'none'}). Start it with `--network host`, or on a bridge network "
            "that is not internal."
        )
    return next(iter(own.gateways.values()))


def socket_advice(url: str) -> str:
    """What one does in a container whose engine cannot be reached, at this URL or any other; empty outside of one."""
    if not is_in_container():
        return ""
    path = Path(url.removeprefix("unix://")) if url.startswith("unix://") else _SOCKET
    with contextlib.suppress(OSError):
        group = path.stat().st_gid
        if not os.access(path, os.R_OK | os.W_OK):
            return (
                f"This process runs in a container, as user {os.geteuid()}, which may not use {path}. Start that container "
                f"with `--group-add {group}`, the group of the socket."
            )
        return ""
    return (
        "This process runs in a container, and sees no socket of its engine. Start that container with `--volume "
        f"{_SOCKET}:{_SOCKET}`."
    )


def _mounted_id() -> str:
    with contextlib.suppress(OSError):
        for line in _MOUNTS.read_text(errors="replace").splitlines():
            if found := _OF_THIS_CONTAINER.match(line):
                return found[1]
    return ""


def _candidates() -> Iterator[str]:
    """Ids under which the engine may know us. The host name of a container is the beginning of its id, unless it was set."""
    if mounted := _mounted_id():
        yield mounted
    elif _ID.fullmatch(name := socket.gethostname()):
        yield name


def _described(shown: DockerContainer) -> OwnContainer:
    networks: Mapping[str, Mapping[str, Any]] = shown["NetworkSettings"].get("Networks") or {}
    gateways = {name: str(network["Gateway"]) for name, network in networks.items() if network.get("Gateway")}
    shares_host = shown["HostConfig"].get("NetworkMode") == "host"
    return OwnContainer(plain(shown["Name"].lstrip("/"), 80), gateways, tuple(map(plain, networks)), shares_host)
