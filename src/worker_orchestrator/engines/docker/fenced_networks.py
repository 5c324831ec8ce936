"""Networks without a way out, one for each pool whose workers reach names only: their proxy listens on the host's address.

Docker's own "internal" networks publish no ports. So this is a bridge whose default gateway is an address that nobody has:
the kernel of the host never gets a packet that is to go further, and needs no rule to drop it. A worker cannot change its
routes, and without NET_RAW it cannot write frames past them. There is no address translation either.

Docker chooses the subnet, of a network that is made and removed for that: the gateway can only be named with a subnet.
Source: https://github.com/moby/moby/blob/master/daemon/libnetwork/drivers/bridge (DefaultGatewayIPv4)
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import ipaddress
import socket
from collections.abc import Mapping
from typing import Any, Final

import aiodocker

from worker_orchestrator.engines.docker.calls import reading
from worker_orchestrator.engines.fenced import PROXY_PORT, Fence
from worker_orchestrator.errors import EngineRejected

__all__ = ["create_fenced", "environment", "fence_of", "inspected", "refuse_elsewhere"]

_GATEWAY: Final = "DefaultGatewayIPv4"
_BRIDGE: Final = "com.docker.network.bridge"


async def inspected(client: aiodocker.Docker, name: str) -> Mapping[str, Any]:
    """What Docker says of this network. Raises EngineUnavailable, EngineRejected."""
    with reading():
        return await (await client.networks.get(name)).show()


def fence_of(network: Mapping[str, Any]) -> Fence:
    """Raises EngineRejected if it has a way out."""
    config = ((network.get("IPAM") or {}).get("Config") or [{}])[0]
    subnet, dead = config.get("Subnet"), (config.get("AuxiliaryAddresses") or {}).get(_GATEWAY)
    if not subnet or not dead or network.get("EnableIPv6"):
        raise EngineRejected(
            f"The network {network.get('Name')} was not made by this service, or was made otherwise, and has a way out: "
            f"remove it with `docker network rm {network.get('Name')}`."
        )
    return Fence(str(config.get("Gateway") or ipaddress.IPv4Network(subnet)[1]), str(subnet))


async def create_fenced(client: aiodocker.Docker, body: Mapping[str, Any], scratch: str) -> None:
    """Make the network of this body. `scratch`: the name of the one that Docker chooses a subnet for."""
    with contextlib.suppress(EngineRejected):  # of a creation that was cut off
        await _remove(client, scratch)
    await client.networks.create({**body, "Name": scratch})
    subnet = str((await inspected(client, scratch))["IPAM"]["Config"][0]["Subnet"])
    await _remove(client, scratch)
    addresses = ipaddress.IPv4Network(subnet)
    config = {"Subnet": subnet, "Gateway": str(addresses[1]), "AuxiliaryAddresses": {_GATEWAY: str(addresses[-2])}}
    bridge = f"wo-{hashlib.sha256(body['Name'].encode()).hexdigest()[:10]}"
    options = {**body["Options"], f"{_BRIDGE}.name": bridge}
    await client.networks.create({**body, "Options": options, "IPAM": {"Driver": "default", "Config": [config]}})


async def _remove(client: aiodocker.Docker, name: str) -> None:
    with reading():
        await (await client.networks.get(name)).delete()


def environment(fence: Fence) -> Mapping[str, str]:
    """The variables by which the programs of a worker find the proxy."""
    url, none = f"http://{fence.address}:{PROXY_PORT}", "localhost,127.0.0.1,::1"
    names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    return {**dict.fromkeys(names, url), "no_proxy": none, "NO_PROXY": none}


def refuse_elsewhere(fence: Fence) -> None:
    """Raises EngineRejected if this process is not where the engine's networks are."""
    with socket.socket() as probe:
        try:
            probe.bind((fence.address, 0))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise EngineRejected(f"The proxy of --outbound cannot listen on {fence.address}: {error}.") from error
            raise EngineRejected(
                f"--outbound with names needs a proxy on the engine's host, and this computer does not have its address "
                f"{fence.address}: run the service on the engine's host, outside of a container."
            ) from error
