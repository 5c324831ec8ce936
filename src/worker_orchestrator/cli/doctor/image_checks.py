"""What `orchestrator doctor` checks of the images of the pools. It only reads: no pull."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

import aiodocker
import aiohttp
from msgspec.structs import replace

from worker_orchestrator.cli.doctor.finding import Finding, ok, warning, wrong
from worker_orchestrator.core.spec import DEFAULT_POOL
from worker_orchestrator.engines.docker.calls import is_missing, reading
from worker_orchestrator.engines.docker.credentials import (
    credentials_for,
    full_reference,
    home_folder,
)
from worker_orchestrator.engines.docker.dialect import Dialect
from worker_orchestrator.engines.docker.pool_options import in_pool, without_flags
from worker_orchestrator.engines.docker.template import DockerOptions, make_template
from worker_orchestrator.errors import EngineRejected
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["check_images", "of_pool"]

_REGISTRY_TIMEOUT_S: Final = 10.0
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


async def check_images(
    client: aiodocker.Docker, pools: Mapping[str, DockerOptions], info: Mapping[str, Any]
) -> list[Finding]:
    """Findings about the image of each pool; once where several pools use one in the same way."""
    findings, seen = list[Finding](), set[tuple[str, int | None, tuple[tuple[str, int], ...], str]]()
    for pool, options in pools.items():
        used = (options.image, options.worker_port, options.ports, options.ready)
        if used not in seen:
            seen.add(used)
            findings += [of_pool(pool, finding) for finding in await _image(client, options, info)]
    return findings


def of_pool(pool: str, finding: Finding) -> Finding:
    """The finding as one about this pool, which it names unless it is the default one."""
    if pool == DEFAULT_POOL:
        return finding
    fix = without_flags(finding.fix.replace(" to `serve`", f" to `[pools.{pool}]` in orchestrator.toml"))
    return replace(finding, says=in_pool(pool, finding.says), fix=fix)


async def _image(client: aiodocker.Docker, options: DockerOptions, info: Mapping[str, Any]) -> list[Finding]:
    try:
        with reading():
            image = dict(await client.images.inspect(options.image))
    except EngineRejected as error:
        if not is_missing(error):
            return [wrong("image", error.message, "check the name in --image")]
        return [await _registry_finding(client, options.image)]
    return list(_image_findings(options, image, info))


def _image_findings(options: DockerOptions, image: Mapping[str, Any], info: Mapping[str, Any]) -> Iterator[Finding]:
    name, config = options.image, image.get("Config") or {}
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
        port = make_template(options, image, "", Dialect.of(info)).port
    except EngineRejected as error:
        yield wrong("image", error.message, "change the setting that this message names")
        return
    if options.ports:
        said = ", ".join(f"{each} ({name})" for name, each in options.ports)
        yield ok("worker's port", f"Workers are called on the ports {said}; they must listen there on 0.0.0.0.")
    elif options.worker_port is None and not config.get("ExposedPorts"):
        fix = f"add --worker-port N to `serve`, or put EXPOSE {port} into its Dockerfile"
        yield warning("worker's port", f"{name} exposes no port, so port {port} is assumed.", fix)
    else:
        yield ok("worker's port", f"Workers are called on port {port}; they must listen there on 0.0.0.0.")
    if options.ready == "healthcheck" and not config.get("Healthcheck"):
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
