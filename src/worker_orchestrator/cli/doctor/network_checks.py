"""Whether the workers' network can be created, and has an address for each of them. It only reads."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import aiodocker

from worker_orchestrator.cli.doctor.finding import Finding, ok, warning, wrong
from worker_orchestrator.engines.docker.calls import is_missing, reading
from worker_orchestrator.engines.docker.dialect import Dialect
from worker_orchestrator.engines.docker.template import LABEL
from worker_orchestrator.errors import EngineRejected
from worker_orchestrator.service.engine_options import docker_options
from worker_orchestrator.settings.settings import Settings

__all__ = ["address_ranges", "check_network", "check_publish_address", "room_in"]

_Network = ipaddress.IPv4Network
_DEFAULT_POOLS: Final = (*((f"172.{number}.0.0/16", 16) for number in range(17, 32)), ("192.168.0.0/16", 20))
"""From these Docker takes the subnets of networks, unless its daemon.json says otherwise."""
_CHECK: Final = "workers' network"
_PRUNE: Final = (
    "`docker network prune` removes unused networks; or give Docker more (default-address-pools in its daemon.json), "
    "or name an existing network with --network"
)


async def check_network(client: aiodocker.Docker, settings: Settings, info: Mapping[str, Any]) -> list[Finding]:
    """Findings about the named networks, and about those of our services or what Docker has left for a new one."""
    networks_of_pools = dict.fromkeys(options.network for options in docker_options(settings).values())
    findings = [it for name in networks_of_pools if name for it in await _named(client, name, settings, info)]
    return findings + (await _of_ours(client, settings, info) if "" in networks_of_pools else [])


async def _named(client: aiodocker.Docker, name: str, settings: Settings, info: Mapping[str, Any]) -> list[Finding]:
    try:
        with reading():
            return list(_room(await (await client.networks.get(name)).show(), settings))
    except EngineRejected as error:
        if not is_missing(error):
            raise
        dialect = Dialect.of(info)
        fix = f"`{dialect.command} network create {name}`, or choose another with --network"
        return [wrong(_CHECK, f"There is no {dialect.name} network {name}.", fix)]


async def _of_ours(client: aiodocker.Docker, settings: Settings, info: Mapping[str, Any]) -> list[Finding]:
    with reading():
        networks = await client.networks.list()
    ours = [network for network in networks if f"{LABEL}.owner" in (network.get("Labels") or {})]
    if ours:
        findings = [finding for network in ours for finding in await _room_of(client, network["Id"], settings)]
        short = [finding for finding in findings if finding.verdict != "ok"]
        return short or [ok(_CHECK, f"It has room for {settings.max_machines} machines.")]
    if Dialect.of(info).isolates_by_network:  # a network for each worker, and it does not say how many it can make
        return []
    left = address_ranges(networks, info)
    if left:
        return [ok(_CHECK, f"Docker has {left} address ranges left for networks; one is needed.")]
    return [wrong(_CHECK, "Docker has no address range left for the workers' network.", _PRUNE)]


async def _room_of(client: aiodocker.Docker, network: str, settings: Settings) -> list[Finding]:
    """Findings about this network; none if it was removed meanwhile."""
    try:
        with reading():
            return list(_room(await (await client.networks.get(network)).show(), settings))
    except EngineRejected as error:
        if not is_missing(error):
            raise
        return []


def address_ranges(networks: Iterable[Mapping[str, Any]], info: Mapping[str, Any]) -> int:
    """How many subnets Docker may still give to new networks."""
    pools = [(str(pool["Base"]), int(pool["Size"])) for pool in info.get("DefaultAddressPools") or ()]
    used = [subnet for network in networks for subnet in _subnets(network)]
    left = 0
    for base, size in pools or _DEFAULT_POOLS:
        whole = ipaddress.ip_network(base, strict=False)
        if isinstance(whole, _Network) and size >= whole.prefixlen:
            inside = [subnet for subnet in used if subnet.overlaps(whole)]
            left += sum(not any(one.overlaps(subnet) for subnet in inside) for one in whole.subnets(new_prefix=size))
    return left


def room_in(network: Mapping[str, Any]) -> int | None:
    """How many more containers can get an address in an inspected network; None if it does not say."""
    ranges = [config.get("IPRange") or config.get("Subnet") for config in _configs(network)]
    whole = [ipaddress.ip_network(each, strict=False) for each in ranges if each]
    sizes = [each.num_addresses for each in whole if isinstance(each, _Network)]
    if not sizes:
        return None
    reserved = 3 * len(sizes)  # of the network itself, for broadcast, and of the gateway
    return max(0, sum(sizes) - reserved - len(network.get("Containers") or ()))


def _room(network: Mapping[str, Any], settings: Settings) -> Iterator[Finding]:
    name, room = str(network.get("Name")), room_in(network)
    attached = len(network.get("Containers") or ())
    if room is None or room + attached >= settings.max_machines:
        yield ok(_CHECK, f"{name} has room for {settings.max_machines} machines.")
        return
    says = f"{name} has {room} addresses left, and {attached} containers, for at most {settings.max_machines} machines."
    fix = f"serve with --max-machines {max(1, room + attached)}, or name a larger network with --network"
    yield (warning if room else wrong)(_CHECK, says, fix)


def _configs(network: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return (network.get("IPAM") or {}).get("Config") or ()


def _subnets(network: Mapping[str, Any]) -> Iterator[_Network]:
    for config in _configs(network):
        subnet = ipaddress.ip_network(config["Subnet"], strict=False) if config.get("Subnet") else None
        if isinstance(subnet, _Network):
            yield subnet


def check_publish_address(address: str) -> Iterator[Finding]:
    """Whether this computer, on which the engine runs, has the address on which workers are to be published."""
    if address in {"localhost", "gateway"}:
        return
    try:
        family, *_, where = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind(where)
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
            fix = (
                "give it this address (`ip address` shows those that it has), or choose another with --publish-address"
            )
            yield wrong("publish address", f"This computer does not have the address {address}.", fix)
