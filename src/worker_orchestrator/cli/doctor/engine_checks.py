"""What `orchestrator doctor` asks the Docker engine. It reads, and nothing else: no pull, no container, no network."""

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

from worker_orchestrator.cli.doctor.finding import Finding, bad, good, odd
from worker_orchestrator.cli.doctor.network_checks import check_network
from worker_orchestrator.engines.docker.calls import NOT_FOUND, reading
from worker_orchestrator.engines.docker.connect import Endpoint, connect
from worker_orchestrator.engines.docker.credentials import (
    credentials_for,
    full_reference,
    home_folder,
)
from worker_orchestrator.engines.docker.template import LABEL, DockerOptions, make_template
from worker_orchestrator.errors import EngineError, EngineRejected, EngineUnavailable, InvalidSetting
from worker_orchestrator.settings.parsers import as_bytes
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["Engine", "check_engine"]

_HOST_GATEWAY: Final = (20, 10)
"""Docker knows `host-gateway` since then."""
_REGISTRY_TIMEOUT_S: Final = 10.0
_SKEW_S: Final = 5.0
_ON_A_BRIDGE: Final = 1000
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


class Engine:
    """What the other checks want to know of it: the ports that it has given to workers; None where nobody can tell."""

    def __init__(self) -> None:
        self.worker_ports: set[int] = set()
        self.is_local: bool | None = None
        self.root: Path | None = None


async def check_engine(settings: Settings, found: Engine) -> list[Finding]:
    """All that concerns the engine and the image."""
    try:
        endpoint, client = await connect(settings.docker_host or None)
    except InvalidSetting as error:
        return [bad("engine", error.message, "name an engine with --docker-host, or choose another `docker context`")]
    except EngineUnavailable as error:
        return [bad("engine", error.message, _start_docker(error.message))]
    try:
        with reading():
            info, version = await client.system.info(), await client.version()
            await _note(client, endpoint, info, found)
        findings = [*_engine(endpoint, info, version), *_host_gateway(version), _clock(info), *_limits(settings, info)]
        findings += await check_network(client, settings, info)
        return findings + await _image(client, settings, info)
    except EngineError as error:
        return [bad("engine", error.message, "see what the engine's own log says: `journalctl -u docker`")]
    finally:
        await client.close()


def _start_docker(said: str) -> str:
    if "permission denied" in said:
        return "`sudo usermod -aG docker $USER`, then log in anew (or `newgrp docker`)"
    if sys.platform == "darwin" or os.name == "nt":
        return "start Docker Desktop"
    if shutil.which("dockerd") or shutil.which("docker"):
        return "`sudo systemctl start docker` (or `sudo service docker start`)"
    return "install Docker: `curl -fsSL https://get.docker.com | sudo sh` (on Debian: `sudo apt-get install docker.io`)"


async def _note(client: aiodocker.Docker, endpoint: Endpoint, info: Mapping[str, Any], found: Engine) -> None:
    found.is_local = endpoint.is_local
    found.root = Path(str(info["DockerRootDir"])) if endpoint.is_local and info.get("DockerRootDir") else None
    workers = await client.containers.list(all=True, filters=json.dumps({"label": [f"{LABEL}.machine"]}))
    ports = (port for worker in workers for port in worker["Ports"] or ())
    found.worker_ports = {port["PublicPort"] for port in ports if port.get("PublicPort")}


def _engine(endpoint: Endpoint, info: Mapping[str, Any], version: Mapping[str, Any]) -> Iterator[Finding]:
    yield good("engine", f"Docker {version.get('Version', '?')} answers at {endpoint.url} ({endpoint.source}).")
    if info.get("OSType", "linux") != "linux":
        yield bad("engine", f"It runs {info['OSType']} containers.", "switch it to Linux containers")


def _host_gateway(version: Mapping[str, Any]) -> Iterator[Finding]:
    number = tuple(map(int, re.findall(r"\d+", str(version.get("Version", "")))[:2]))
    components = [str(component.get("Name", "")) for component in version.get("Components") or ()]
    if any("podman" in component.lower() for component in components):
        needed, name = (4, 7), "Podman"
    else:
        needed, name = _HOST_GATEWAY, "Docker"
    if len(number) == 2 and number < needed:
        fix = f"install {name} {needed[0]}.{needed[1]:02} or newer"
        yield bad("host.docker.internal", f"{name} {version['Version']} cannot lead workers to this host.", fix)
    else:
        yield good("host.docker.internal", f"{name} leads workers to this host under that name.")


def _clock(info: Mapping[str, Any]) -> Finding:
    told = re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", str(info.get("SystemTime", "")))
    if told is None:
        return good("engine's clock", "It does not tell its time.")
    text = str(info["SystemTime"])
    zone = re.search(r"(Z|[+-]\d\d:\d\d)$", text)
    there = datetime.fromisoformat(told[0] + (zone[0] if zone else "Z"))
    skew = (datetime.now(UTC) - there).total_seconds()
    if abs(skew) <= _SKEW_S:
        return good("engine's clock", "It agrees with ours.")
    late = "behind" if skew > 0 else "ahead of"
    return odd(
        "engine's clock", f"It is {abs(skew):.0f} s {late} ours.", "set both by NTP: `sudo timedatectl set-ntp true`"
    )


def _limits(settings: Settings, info: Mapping[str, Any]) -> Iterator[Finding]:
    if settings.pids_limit and info.get("PidsLimit") is False:
        yield odd(
            "limits",
            "The engine cannot limit processes: its cgroups lack `pids`.",
            "set them up, or take --pids-limit 0",
        )
    if settings.memory and info.get("SwapLimit") is False:
        yield odd("limits", "The engine cannot limit swap.", "boot with `swapaccount=1`, or switch swap off")
    total = as_bytes(settings.memory) * settings.max_machines
    there = int(info.get("MemTotal") or 0)
    if there and total > there:
        says = f"{settings.max_machines} machines of {settings.memory} want more memory than the engine's {there >> 20} MiB."
        yield odd("limits", says, "choose less with --memory or --max-machines")
    if settings.max_machines > _ON_A_BRIDGE:
        yield odd(
            "limits", "One Docker network takes 1,023 containers.", f"choose --max-machines {_ON_A_BRIDGE} or less"
        )


# the image


async def _image(client: aiodocker.Docker, settings: Settings, info: Mapping[str, Any]) -> list[Finding]:
    try:
        with reading():
            image = dict(await client.images.inspect(settings.image))
    except EngineRejected as error:
        if not isinstance(error.__cause__, aiodocker.DockerError) or error.__cause__.status != NOT_FOUND:
            return [bad("image", error.message, "check its name: --image")]
        return [await _pullable(client, settings.image)]
    return list(_present(settings, image, info))


def _present(settings: Settings, image: Mapping[str, Any], info: Mapping[str, Any]) -> Iterator[Finding]:
    name, config = settings.image, image.get("Config") or {}
    engine = str(info.get("Architecture", ""))
    ours, its = _ARCHITECTURES.get(engine, engine), str(image.get("Architecture", ""))
    if its and ours and its != ours:
        fix = f"`docker build --platform linux/{ours} -t {name} .`, or pull it for {ours}"
        yield odd("image", f"{name} is for {its}, the engine is {ours}: it is emulated, or does not start.", fix)
    else:
        yield good("image", f"{name} is there, for {its}.")
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
        yield bad("image", error.message, "serve it with the flag that this names")
        return
    if settings.worker_port is None and not config.get("ExposedPorts"):
        fix = f"serve it with --worker-port N, or put EXPOSE {port} into its Dockerfile"
        yield odd("worker's port", f"{name} exposes no port, so {port} is taken for granted.", fix)
    else:
        yield good("worker's port", f"Workers are asked on port {port}; they must listen there on 0.0.0.0.")
    if settings.ready == "healthcheck" and not config.get("Healthcheck"):
        says = f"{name} has no HEALTHCHECK, but --ready is healthcheck."
        yield bad("health check", says, "serve it with --ready http or tcp")


async def _pullable(client: aiodocker.Docker, name: str) -> Finding:
    """Ask its registry by way of the engine, with the user's own credentials."""
    reference = full_reference(name)
    given = await credentials_for(name, os.environ, home_folder())
    headers = {} if given.auth is None else {"X-Registry-Auth": _encoded(given.auth)}
    try:
        url = f"{client.docker_host}/distribution/{reference}/json"
        timeout = aiohttp.ClientTimeout(total=_REGISTRY_TIMEOUT_S)
        async with client.session.get(url, headers=headers, timeout=timeout) as response:
            said = await response.json(content_type=None)
            if response.status == 200:
                return good(
                    "image", f"{name} is not here yet, and can be pulled.", f"`docker pull {name}` saves the wait"
                )
            why = plain(said.get("message", response.status) if isinstance(said, dict) else response.status)
    except TimeoutError:
        why = f"its registry did not answer within {_REGISTRY_TIMEOUT_S:g} s"
    except (aiohttp.ClientError, ValueError) as error:
        why = plain(error) or type(error).__name__
    note = f" {given.note}" if given.note else ""
    fix = f"`docker build -t {name} .`, `docker login` where its registry wants that, or another one with --image"
    return bad("image", f"{name} is not here and cannot be pulled: {why.strip().rstrip('.')}.{note}", fix)


def _encoded(auth: Mapping[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(dict(auth)).encode()).decode()
