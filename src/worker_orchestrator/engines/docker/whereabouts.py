"""Whether this process shares the network of Docker's host: on its loopback addresses workers are published as a rule.

A service that runs in a container with a network of its own, or in another network namespace, finds nothing there, however
well the workers serve. Docker's bridges have an address on its host each: where none of them is an address of ours, this
is not that network. Engines whose host is a virtual machine or a user's namespace (Docker Desktop, rootless ones) bring
the ports to us in ways of their own, so nothing is concluded there.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import aiodocker

from worker_orchestrator.engines.docker.calls import reading
from worker_orchestrator.engines.docker.connect import Endpoint
from worker_orchestrator.engines.docker.dialect import Dialect
from worker_orchestrator.engines.docker.podman_host import firewall_driver
from worker_orchestrator.engines.docker.promises import EngineHost

__all__ = ["engine_host", "is_on_loopback", "misplacement"]

_PODMAN: Final = Path("/run/.containerenv")
_SYSTEMD: Final = Path("/run/systemd/system")
"""It is there if process 1 is systemd. Source: https://www.freedesktop.org/software/systemd/man/latest/sd_booted.html"""
_MOUNTS: Final = Path("/proc/self/mountinfo")
_OF_THIS_CONTAINER: Final = re.compile(
    r"\S+ \S+ \S+ \S*/containers/[0-9a-f]{64}/\S+ /etc/(?:hostname|hosts|resolv\.conf) "
)
"""A container's host name and its resolver's file are mounts of files of that folder of Docker's.

Docker 20.10 mounts them on its host too while files are copied out of a container, and there somewhere below its own folder.
Source: https://www.kernel.org/doc/html/latest/filesystems/proc.html (/proc/PID/mountinfo: the root is the fourth field, the
mount point the fifth).
"""
_ALL: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 # nothing is bound here
_IN_CONTAINER: Final = (
    "this process runs in a container that has a network of its own. Run that container with `docker run --network host`, "
    "or run the service on the host itself"
)
_IN_NAMESPACE: Final = (
    "this process runs in another network namespace than Docker. Run it in that of Docker's host "
    "(`sudo nsenter --net --target 1 COMMAND`)"
)


def is_on_loopback(address: str) -> bool:
    """Whether what is published on this address is asked for at a loopback address of the engine's host."""
    if address in _ALL or address == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(address).is_loopback
    return False


async def misplacement(client: aiodocker.Docker, endpoint: Endpoint) -> str:
    """Why nothing that Docker publishes on loopback can be reached from here, and what to do; empty if nothing says so.

    Without a full stop. Raises EngineUnavailable, EngineRejected.
    """
    if not endpoint.is_local or sys.platform != "linux":
        return ""
    with reading():
        info, networks = await client.system.info(), await client.networks.list()
        gateways = list(_gateways(networks))
        is_elsewhere = _shares_kernel(info) and bool(gateways) and not any(map(_is_ours, gateways))
    if not is_elsewhere:
        return ""
    return _IN_CONTAINER if _is_in_container() else _IN_NAMESPACE


def engine_host(endpoint: Endpoint) -> EngineHost:
    """What this process can see of the engine's host: nothing unless it runs there itself."""
    if not endpoint.is_local or sys.platform != "linux" or _is_in_container():
        return EngineHost()
    return EngineHost(may_have_systemd=_SYSTEMD.is_dir(), firewall_driver=firewall_driver())


def _is_in_container() -> bool:
    with contextlib.suppress(OSError):
        if any(map(_OF_THIS_CONTAINER.match, _MOUNTS.read_text(errors="replace").splitlines())):
            return True
    return _PODMAN.exists()


def _shares_kernel(info: Mapping[str, Any]) -> bool:
    """Whether the engine runs on this kernel, and with the network of its host.

    Podman's bridges exist only while a container is on them, so nothing is concluded there.
    """
    dialect = Dialect.of(info)
    is_desktop = "Docker Desktop" in str(info.get("OperatingSystem", ""))
    has_own_kernel = is_desktop or info.get("KernelVersion") != os.uname().release
    return dialect.keeps_bridges and not dialect.is_rootless and not has_own_kernel


def _gateways(networks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The address that each bridge has on the engine's host. Docker takes the first of a subnet if it was told none."""
    for network in networks:
        if network.get("Driver") != "bridge":
            continue
        for config in (network.get("IPAM") or {}).get("Config") or ():
            if config.get("Gateway"):
                yield str(ipaddress.ip_interface(config["Gateway"]).ip)
            elif config.get("Subnet"):
                subnet = ipaddress.ip_network(config["Subnet"], strict=False)
                yield str(subnet.network_address + 1)


def _is_ours(address: str) -> bool:
    """Whether this is an address of ours, as far as anybody can tell: only a clear no is one."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        return error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
    return True
