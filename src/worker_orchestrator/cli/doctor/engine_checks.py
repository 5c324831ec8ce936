"""What `orchestrator doctor` checks at the Docker engine. It only reads: no pull, no container, no network."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiodocker
import aiohttp

from worker_orchestrator.cli.doctor.finding import Finding, ok, warning, wrong
from worker_orchestrator.cli.doctor.network_checks import check_network
from worker_orchestrator.engines.docker.calls import NOT_FOUND, reading
from worker_orchestrator.engines.docker.connect import Endpoint, connect
from worker_orchestrator.engines.docker.credentials import (
    credentials_for,
    full_reference,
    home_folder,
)
from worker_orchestrator.engines.docker.template import LABEL, DockerOptions, make_template
from worker_orchestrator.engines.docker.whereabouts import is_on_loopback, misplacement
from worker_orchestrator.errors import EngineError, EngineRejected, EngineUnavailable, InvalidSetting
from worker_orchestrator.settings.parsers import as_bytes
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["EngineFacts", "check_engine"]

_HOST_GATEWAY: Final = (20, 10)
"""The first version of Docker that knows `host-gateway`."""
_REGISTRY_TIMEOUT_S: Final = 10.0
_SKEW_S: Final = 5.0
_MOST_ON_A_BRIDGE: Final = 1000
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


class EngineFacts:
    """What the other checks need to know about the engine. None: not known, since it did not answer.

    `worker_ports`: the host ports that it has given to workers.
    """

    def __init__(self) -> None:
        self.worker_ports: set[int] = set()
        self.is_local: bool | None = None
        self.root: Path | None = None


async def check_engine(settings: Settings, facts: EngineFacts) -> list[Finding]:
    """Everything about the engine and the image. Writes what the other checks need into `facts`."""
    try:
        endpoint, client = await connect(settings.docker_host or None)
    except InvalidSetting as error:
        return [wrong("engine", error.message, "name an engine with --docker-host, or choose another `docker context`")]
    except EngineUnavailable as error:
        return [wrong("engine", error.message, _how_to_start(error.message))]
    try:
        with reading():
            info, version = await client.system.info(), await client.version()
            await _note_facts(client, endpoint, info, facts)
        findings = [*_engine(endpoint, info, version), *_host_gateway(version), _clock(info), *_limits(settings, info)]
        findings += await check_network(client, settings, info)
        findings += await _reach(client, endpoint, settings)
        return findings + await _image(client, settings, info)
    except EngineError as error:
        return [wrong("engine", error.message, "read the engine's own log: `journalctl -u docker`")]
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


async def _note_facts(
    client: aiodocker.Docker, endpoint: Endpoint, info: Mapping[str, Any], facts: EngineFacts
) -> None:
    facts.is_local = endpoint.is_local
    facts.root = Path(str(info["DockerRootDir"])) if endpoint.is_local and info.get("DockerRootDir") else None
    workers = await client.containers.list(all=True, filters=json.dumps({"label": [f"{LABEL}.machine"]}))
    ports = (port for worker in workers for port in worker["Ports"] or ())
    facts.worker_ports = {port["PublicPort"] for port in ports if port.get("PublicPort")}


def _engine(endpoint: Endpoint, info: Mapping[str, Any], version: Mapping[str, Any]) -> Iterator[Finding]:
    yield ok("engine", f"Docker {version.get('Version', '?')} answers at {endpoint.url} ({endpoint.source}).")
    if info.get("OSType", "linux") != "linux":
        yield wrong("engine", f"It runs {info['OSType']} containers.", "switch it to Linux containers")


async def _reach(client: aiodocker.Docker, endpoint: Endpoint, settings: Settings) -> list[Finding]:
    """Whether workers are published where this process can reach them."""
    if settings.ready == "healthcheck" or not is_on_loopback(settings.publish_address):
        return []
    if not (why := await misplacement(client, endpoint)):
        return []
    says, _, fix = why.partition(". ")
    return [wrong("reach", f"Workers will be published on Docker's host and not be reached: {says}.", fix)]


def _host_gateway(version: Mapping[str, Any]) -> Iterator[Finding]:
    number = tuple(map(int, re.findall(r"\d+", str(version.get("Version", "")))[:2]))
    components = [str(component.get("Name", "")) for component in version.get("Components") or ()]
    if any("podman" in component.lower() for component in components):
        needed, name = (4, 7), "Podman"
    else:
        needed, name = _HOST_GATEWAY, "Docker"
    if len(number) == 2 and number < needed:
        fix = f"install {name} {needed[0]}.{needed[1]:02} or newer"
        yield wrong("host.docker.internal", f"{name} {version['Version']} cannot lead workers to this host.", fix)
    else:
        yield ok("host.docker.internal", f"{name} leads workers to this host under that name.")


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


def _limits(settings: Settings, info: Mapping[str, Any]) -> Iterator[Finding]:
    if settings.pids_limit and info.get("PidsLimit") is False:
        yield warning(
            "limits",
            "The engine cannot limit processes: its cgroups lack `pids`.",
            "set them up, or use --pids-limit 0",
        )
    if settings.memory and info.get("SwapLimit") is False:
        yield warning("limits", "The engine cannot limit swap.", "boot with `swapaccount=1`, or switch swap off")
    total = as_bytes(settings.memory) * settings.max_machines
    available = int(info.get("MemTotal") or 0)
    if available and total > available:
        needed = f"{settings.max_machines} machines of {settings.memory}"
        says = f"{needed} need more memory than the engine's {available >> 20} MiB."
        yield warning("limits", says, "choose a smaller value of --memory or --max-machines")
    if settings.max_machines > _MOST_ON_A_BRIDGE:
        yield warning(
            "limits", "One Docker network takes 1,023 containers.", f"choose --max-machines {_MOST_ON_A_BRIDGE} or less"
        )


# the image


async def _image(client: aiodocker.Docker, settings: Settings, info: Mapping[str, Any]) -> list[Finding]:
    try:
        with reading():
            image = dict(await client.images.inspect(settings.image))
    except EngineRejected as error:
        if not isinstance(error.__cause__, aiodocker.DockerError) or error.__cause__.status != NOT_FOUND:
            return [wrong("image", error.message, "check the name in --image")]
        return [await _registry_finding(client, settings.image)]
    return list(_image_findings(settings, image, info))


def _image_findings(settings: Settings, image: Mapping[str, Any], info: Mapping[str, Any]) -> Iterator[Finding]:
    name, config = settings.image, image.get("Config") or {}
    engine = str(info.get("Architecture", ""))
    engine_architecture, its_architecture = _ARCHITECTURES.get(engine, engine), str(image.get("Architecture", ""))
    if its_architecture and engine_architecture and its_architecture != engine_architecture:
        fix = f"`docker build --platform linux/{engine_architecture} -t {name} .`, or pull it for {engine_architecture}"
        yield warning(
            "image",
            f"{name} is for {its_architecture}, but the engine is {engine_architecture}: it is emulated, or does not start.",
            fix,
        )
    else:
        yield ok("image", f"{name} is there, for {its_architecture}.")
    try:
        options = DockerOptions(
            image=name,
            worker_port=settings.worker_port,
            ready=settings.ready,
            memory=as_bytes(settings.memory),
            cpus=settings.cpus or 0.0,
            runtime=settings.runtime,
        )
        port = make_template(options, image, "", info).port
    except EngineRejected as error:
        yield wrong("image", error.message, "add the flag that this message names to `serve`")
        return
    if settings.worker_port is None and not config.get("ExposedPorts"):
        fix = f"add --worker-port N to `serve`, or put EXPOSE {port} into its Dockerfile"
        yield warning("worker's port", f"{name} exposes no port, so port {port} is assumed.", fix)
    else:
        yield ok("worker's port", f"Workers are called on port {port}; they must listen there on 0.0.0.0.")
    if settings.ready == "healthcheck" and not config.get("Healthcheck"):
        says = f"{name} has no HEALTHCHECK, but --ready is healthcheck."
        yield wrong("health check", says, "add --ready http or --ready tcp to `serve`")


async def _registry_finding(client: aiodocker.Docker, name: str) -> Finding:
    """Ask the registry of the image through the engine, with the user's own credentials."""
    reference = full_reference(name)
    credentials = await credentials_for(name, os.environ, home_folder())
    headers = {} if credentials.auth is None else {"X-Registry-Auth": _encoded(credentials.auth)}
    try:
        url = f"{client.docker_host}/distribution/{reference}/json"
        timeout = aiohttp.ClientTimeout(total=_REGISTRY_TIMEOUT_S)
        async with client.session.get(url, headers=headers, timeout=timeout) as response:
            body = await response.json(content_type=None)
            if response.status == 200:
                return ok(
                    "image", f"{name} is not here yet, and can be pulled.", f"`docker pull {name}` saves the wait"
                )
            reason = plain(body.get("message", response.status) if isinstance(body, dict) else response.status)
    except TimeoutError:
        reason = f"its registry did not answer within {_REGISTRY_TIMEOUT_S:g} s"
    except (aiohttp.ClientError, ValueError) as error:
        reason = plain(error) or type(error).__name__
    note = f" {credentials.note}" if credentials.note else ""
    fix = f"`docker build -t {name} .`, `docker login` if its registry requires it, or choose another one with --image"
    return wrong("image", f"{name} is not here and cannot be pulled: {reason.strip().rstrip('.')}.{note}", fix)


def _encoded(auth: Mapping[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(dict(auth)).encode()).decode()
