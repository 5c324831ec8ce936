"""What `orchestrator doctor` checks where the engine is Podman: what it needs on its host beside itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from worker_orchestrator.cli.doctor.finding import Finding, ok, warning, wrong
from worker_orchestrator.cli.doctor.image_checks import of_pool
from worker_orchestrator.engines.docker.connect import Endpoint
from worker_orchestrator.engines.docker.dialect import Dialect
from worker_orchestrator.engines.docker.podman_host import (
    SHARED_INSTEAD,
    USE_NFTABLES,
    USE_RUNC,
    find_program,
    firewall_driver,
    init_program,
)
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.service.engine_options import docker_options
from worker_orchestrator.settings.settings import Settings

__all__ = ["check_podman"]

_ISOLATION: Final = "isolation"
_UNIFIED: Final = Path("/sys/fs/cgroup/unified")
"""Where control groups of version 2 are, on a host whose controllers are those of version 1."""


def check_podman(endpoint: Endpoint, dialect: Dialect, settings: Settings) -> Iterator[Finding]:
    """Nothing for another engine, or for one on another computer."""
    if not dialect.isolates_by_network or not endpoint.is_local:
        return
    yield from _isolation(docker_options(settings))
    if program := init_program():
        yield ok("init", f"{Path(program).name} is there, which Podman starts as process 1 of each worker.")
    else:
        says = "catatonit is not found, which Podman starts as process 1 of each worker."
        yield wrong("init", says, "install it (`sudo apt-get install catatonit`): no worker starts without it")
    if dialect.runtime == "crun" and dialect.cgroups == 1 and _UNIFIED.is_dir():
        says = "Podman's runtime is crun, which starts no container where control groups of both versions are in use."
        yield wrong("runtime", says, f"{USE_RUNC}, or start this host with control groups of version 2 alone")


def _isolation(pools: Mapping[str, DockerOptions]) -> Iterator[Finding]:
    for pool, options in pools.items():
        if options.network:
            says = f"Podman lets workers reach each other on the network {options.network}."
            fix = "leave --network out: then each worker gets a network of its own"
            yield of_pool(pool, warning(_ISOLATION, says, fix))
        elif options.insecure_shared_network:
            says = "Workers can reach each other (--insecure-shared-network)."
            yield of_pool(pool, warning(_ISOLATION, says, "leave --insecure-shared-network out"))
    if all(options.network or options.insecure_shared_network for options in pools.values()):
        return
    if (driver := firewall_driver()) == "iptables":
        says = "Podman uses iptables (by containers.conf or by netavark's own choice): its networks do not stay apart."
        yield wrong(_ISOLATION, says, f"{USE_NFTABLES}; or {SHARED_INSTEAD}")
    elif not driver and not find_program("nft"):
        says = "The program nft is not found, so Podman may use iptables, with which its networks do not stay apart."
        yield warning(_ISOLATION, says, USE_NFTABLES)
    else:
        yield ok(_ISOLATION, "Each worker gets a network of its own, and Podman keeps those apart by nftables.")
