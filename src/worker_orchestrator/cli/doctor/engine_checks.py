"""What `orchestrator doctor` checks at the Docker engine. It only reads: no pull, no container, no network."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiodocker

from worker_orchestrator.cli.doctor.finding import Finding, ok, warning, wrong
from worker_orchestrator.cli.doctor.image_checks import check_images, of_pool
from worker_orchestrator.cli.doctor.isolation_checks import check_isolation, check_published
from worker_orchestrator.cli.doctor.network_checks import check_network
from worker_orchestrator.cli.doctor.podman_checks import check_podman
from worker_orchestrator.engines.docker.calls import reading
from worker_orchestrator.engines.docker.connect import Endpoint, connect
from worker_orchestrator.engines.docker.dialect import Dialect
from worker_orchestrator.engines.docker.listed import Listed
from worker_orchestrator.engines.docker.promises import refuse_unkept
from worker_orchestrator.engines.docker.template import LABEL
from worker_orchestrator.engines.docker.whereabouts import engine_host, is_on_loopback, misplacement
from worker_orchestrator.engines.open import FOLLOW_HOST
from worker_orchestrator.errors import EngineError, EngineRejected, EngineUnavailable, InvalidSetting
from worker_orchestrator.service.engine_options import docker_options, publish_options
from worker_orchestrator.settings.parsers import as_bytes
from worker_orchestrator.settings.settings import Settings

__all__ = ["EngineFacts", "check_engine"]

_SKEW_S: Final = 5.0
_MOST_ON_A_BRIDGE: Final = 1000


class EngineFacts:
    """What the other checks need to know about the engine. None: not known, since it did not answer.

    `worker_ports`: the host ports that it has given to workers. `command`: what people use with it.
    """

    def __init__(self) -> None:
        self.worker_ports: set[int] = set()
        self.is_local: bool | None = None
        self.root: Path | None = None
        self.command = "docker"


async def check_engine(settings: Settings, facts: EngineFacts) -> list[Finding]:
    """Everything about the engine and the images. Writes what the other checks need into `facts`."""
    try:
        endpoint, client = await connect(settings.docker_host or None)
    except InvalidSetting as error:
        return [wrong("engine", error.message, "name an engine with --docker-host, or choose another `docker context`")]
    except EngineUnavailable as error:
        return [wrong("engine", error.message, _how_to_start(error.message))]
    try:
        with reading():
            info = await client.system.info()
            dialect = Dialect.of(info)
            workers = await client.list_containers(f"{LABEL}.machine")
            facts.command = dialect.command
            _note_facts(endpoint, info, facts, workers)
        findings = [
            *_engine(endpoint, info, dialect),
            *_host_gateway(dialect),
            _clock(info),
            *_limits(settings, info, dialect),
        ]
        findings += [*_promises(endpoint, settings, info), *check_podman(endpoint, dialect, settings)]
        findings += await check_network(client, settings, info)
        findings += [*check_isolation(settings, info, dialect), *check_published(workers)]
        findings += await _reach(client, endpoint, settings)
        return findings + await check_images(client, docker_options(settings), info)
    except EngineError as error:
        return [
            wrong("engine", error.message, f"read the engine's own log: `journalctl -u {client.engine_name.lower()}`")
        ]
    finally:
        await client.close()


def _how_to_start(message: str) -> str:
    if "permission denied" in message:
        return "`sudo usermod -aG docker $USER`, then log in again (or `newgrp docker`)"
    if sys.platform == "darwin" or os.name == "nt":
        return "start Docker Desktop"
    if shutil.which("dockerd") or shutil.which("docker"):
        return "`sudo systemctl start docker` (or `sudo service docker start`)"
    return "install Docker: `curl -fsSL https://get.docker.com | sudo sh` (on Debian: `sudo apt-get install docker.io`)"


def _note_facts(endpoint: Endpoint, info: Mapping[str, Any], facts: EngineFacts, workers: Sequence[Listed]) -> None:
    facts.is_local = endpoint.is_local
    facts.root = Path(str(info["DockerRootDir"])) if endpoint.is_local and info.get("DockerRootDir") else None
    ports = (port for worker in workers for port in worker["Ports"] or ())
    facts.worker_ports = {port["PublicPort"] for port in ports if port.get("PublicPort")}


def _engine(endpoint: Endpoint, info: Mapping[str, Any], dialect: Dialect) -> Iterator[Finding]:
    kind = " (rootless)" if dialect.is_rootless else ""
    yield ok("engine", f"{dialect}{kind} answers at {endpoint.url} ({endpoint.source}).")
    if info.get("OSType", "linux") != "linux":
        yield wrong("engine", f"It runs {info['OSType']} containers.", "switch it to Linux containers")


async def _reach(client: aiodocker.Docker, endpoint: Endpoint, settings: Settings) -> list[Finding]:
    """Whether workers are published where this process can reach them."""
    asks_there = any(options.ready != "healthcheck" for options in docker_options(settings).values())
    if not asks_there or not is_on_loopback(settings.publish_address):
        return []
    if not (why := await misplacement(client, endpoint)):
        return []
    says, _, fix = why.partition(". ")
    return [wrong("reach", f"Workers will be published on Docker's host and not be reached: {says}.", fix)]


def _host_gateway(dialect: Dialect) -> Iterator[Finding]:
    if needed := dialect.lacks_host_gateway:
        fix = f"install {needed} or newer"
        yield wrong("host.docker.internal", f"{dialect} cannot lead workers to this host.", fix)
    elif dialect.hides_host:
        says = "Rootless Docker leads workers into a network of its own under that name, unless it was told another address."
        fix = "start dockerd with --host-gateway-ip and an address of this host, but not of its loopback"
        yield warning("host.docker.internal", says, fix)
    else:
        yield ok("host.docker.internal", f"{dialect.name} leads workers to this host under that name.")


def _clock(info: Mapping[str, Any]) -> Finding:
    time_match = re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", str(info.get("SystemTime", "")))
    if time_match is None:
        return ok("engine's clock", "The engine does not report its time.")
    text = str(info["SystemTime"])
    zone = re.search(r"(Z|[+-]\d\d:\d\d)$", text)
    engine_time = datetime.fromisoformat(time_match[0] + (zone[0] if zone else "Z"))
    skew = (datetime.now(UTC) - engine_time).total_seconds()
    if abs(skew) <= _SKEW_S:
        return ok("engine's clock", "It agrees with this computer's.")
    late = "behind" if skew > 0 else "ahead of"
    return warning(
        "engine's clock",
        f"It is {abs(skew):.0f} s {late} this computer's.",
        "set both clocks by NTP: `sudo timedatectl set-ntp true`",
    )


def _promises(endpoint: Endpoint, settings: Settings, info: Mapping[str, Any]) -> Iterator[Finding]:
    """What `serve` would refuse, since this engine cannot keep it."""
    named = publish_options(settings).addresses
    addresses = () if named == (FOLLOW_HOST,) else named  # else `serve` finds out what this engine's host has
    for pool, options in docker_options(settings).items():
        try:
            refuse_unkept(options, Dialect.of(info), info, engine_host(endpoint), addresses)
        except EngineRejected as error:
            yield of_pool(pool, wrong("settings", error.message, "change the setting that this message names"))


def _limits(settings: Settings, info: Mapping[str, Any], dialect: Dialect) -> Iterator[Finding]:
    if settings.memory and info.get("SwapLimit") is False:
        yield warning("limits", "The engine cannot limit swap.", "boot with `swapaccount=1`, or switch swap off")
    total = as_bytes(settings.memory) * settings.max_machines
    available = int(info.get("MemTotal") or 0)
    if available and total > available:
        needed = f"{settings.max_machines} machines of {settings.memory}"
        says = f"{needed} need more memory than the engine's {available >> 20} MiB."
        yield warning("limits", says, "choose a smaller value of --memory or --max-machines")
    if settings.max_machines > _MOST_ON_A_BRIDGE and not dialect.isolates_by_network:
        yield warning(
            "limits", "One Docker network takes 1,023 containers.", f"choose --max-machines {_MOST_ON_A_BRIDGE} or less"
        )
