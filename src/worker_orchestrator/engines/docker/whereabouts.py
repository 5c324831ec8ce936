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
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import aiodocker

from worker_orchestrator.engines.docker.calls import reading
from worker_orchestrator.engines.docker.connect import Endpoint
from worker_orchestrator.engines.docker.dialect import Dialect
from worker_orchestrator.engines.docker.own_container import is_in_container, own_container
from worker_orchestrator.engines.docker.podman_host import firewall_driver
from worker_orchestrator.engines.docker.promises import EngineHost

__all__ = ["engine_host", "is_on_loopback", "misplacement"]

_SYSTEMD: Final = Path("/run/systemd/system")
"""It is there if process 1 is systemd. Source: https://www.freedesktop.org/software/systemd/man/latest/sd_booted.html"""
_ALL: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 # nothing is bound here
_WAYS_OUT: Final = (
    "Run that container with `docker run --network host`, or serve with --publish-address gateway, or run the service on "
    "the host itself"
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
    if not is_in_container():
        return _IN_NAMESPACE
    own = await own_container(client)
    which = f"the container {own.name}" if own is not None else "a container"
    on = f" ({', '.join(own.networks)})" if own is not None and own.networks else ""
    return f"this process runs in {which} that has a network of its own{on}. {_WAYS_OUT}"


def engine_host(endpoint: Endpoint) -> EngineHost:
    """What this process can see of the engine's host: nothing unless it runs there itself."""
    if not endpoint.is_local or sys.platform != "linux" or is_in_container():
        return EngineHost()
    return EngineHost(may_have_systemd=_SYSTEMD.is_dir(), firewall_driver=firewall_driver())


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
