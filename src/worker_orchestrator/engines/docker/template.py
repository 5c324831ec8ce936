"""What a worker container is made of and what it may do: the body of Docker's create call. No I/O.

Nothing here mounts a folder of the host, adds a capability or makes a worker privileged, and no setting can: a worker never
sees Docker's socket. The fingerprint covers all of the body but a machine's own name and port.
Labels carry only what never changes (owner, machine, pool, template, where it is published): Docker keeps them as they are.
Source: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerCreate
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from worker_orchestrator.core.machine import Machine
from worker_orchestrator.errors import EngineRejected
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["ADVERTISED", "LABEL", "PUBLISHED", "DockerOptions", "Template", "make_template", "worker_port"]

LABEL: Final = "worker-orchestrator"
PUBLISHED: Final = f"{LABEL}.published"
ADVERTISED: Final = f"{LABEL}.advertised"
DEFAULT_WORKER_PORT: Final = 9092
_FINGERPRINT_CHARS: Final = 16
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_NANO: Final = 1_000_000_000
_LOG_FILES: Final = 3
_LABELS_OF_OTHERS: Final = (
    "com.docker.compose.",
    "com.docker.stack.",
    "com.docker.swarm.",
    "io.podman.compose.",
    "org.testcontainers",
)
_LOGS_IN_FILES: Final = frozenset({"json-file", "local"})


@dataclass(frozen=True, slots=True)
class DockerOptions:
    """What the operator chose. Sizes are bytes; what is empty or 0 is left as the image or the engine has it.

    * `worker_port`        None: the image says which
    * `publish_addresses`  host addresses on which each port is published
    * `advertise_host`     the host in URLs: a container only remembers it
    * `outbound`           "any", or "host": then a worker gets no answer from beyond this computer
    * `log_limit`          of all log files of one worker together
    """

    image: str
    worker_port: int | None = None
    env: Mapping[str, str] | None = None
    publish_addresses: tuple[str, ...] = ("127.0.0.1",)
    advertise_host: str = "localhost"
    network: str = ""
    outbound: str = "any"
    ready: str = "http"
    ready_path: str = "/"
    memory: int = 0
    cpus: float = 0.0
    pids_limit: int = 0
    cap_drop: tuple[str, ...] = ()
    allow_sudo: bool = False
    read_only: bool = False
    user: str = ""
    runtime: str = ""
    log_limit: int = 0


@dataclass(frozen=True, slots=True)
class Template:
    """Everything that makes two workers alike, under its fingerprint. `body`: what their create calls have in common."""

    fingerprint: str
    port: int
    publish_addresses: tuple[str, ...]
    advertise_host: str
    body: Mapping[str, Any]

    def create_body(self, owner: str, machine: Machine) -> dict[str, Any]:
        """The JSON body of POST /containers/create for this machine."""
        bindings = [{"HostIp": address, "HostPort": str(machine.port)} for address in self.publish_addresses]
        return {
            **self.body,
            "Labels": {
                **self.body.get("Labels", {}),
                f"{LABEL}.owner": owner,
                f"{LABEL}.machine": machine.id,
                f"{LABEL}.pool": machine.pool,
                f"{LABEL}.template": machine.template,
                PUBLISHED: " ".join(self.publish_addresses),
                ADVERTISED: self.advertise_host,
            },
            "HostConfig": {**self.body["HostConfig"], "PortBindings": {f"{self.port}/tcp": bindings}},
        }


def make_template(
    options: DockerOptions, image: Mapping[str, Any], network: str, engine: Mapping[str, Any]
) -> Template:
    """The template for an inspected image. `engine`: what Docker says of itself (GET /info).

    Raises EngineRejected if the image does not say which of its ports is the worker's, or the engine cannot do what was
    chosen.
    """
    _check(options, engine)
    _check_image(options, image.get("Config") or {})
    port = options.worker_port or worker_port(options.image, image)
    body: dict[str, Any] = {
        "Image": image["Id"],
        "Env": sorted(f"{name}={value}" for name, value in (options.env or {}).items()),
        "ExposedPorts": {f"{port}/tcp": {}},
        "HostConfig": {
            "NetworkMode": network,
            "ExtraHosts": ["host.docker.internal:host-gateway"],
            **_bounds(options),
            **_rights(options),
            **_log(options, engine),
        },
    }
    if options.user:
        body["User"] = options.user
    inherited = (image.get("Config") or {}).get("Labels") or {}
    if foreign := {label: "" for label in inherited if label.startswith(_LABELS_OF_OTHERS)}:
        # The tools that these labels belong to would take our workers for their own containers, and remove them. A container
        # cannot drop a label of its image, so the label is made empty.
        body["Labels"] = foreign
    made_of = json.dumps([body, options.publish_addresses], sort_keys=True)
    fingerprint = hashlib.sha256(made_of.encode()).hexdigest()[:_FINGERPRINT_CHARS]
    return Template(fingerprint, port, options.publish_addresses, options.advertise_host, body)


def _bounds(options: DockerOptions) -> dict[str, Any]:
    """How much a worker may take."""
    # An init as process 1 reaps what others leave behind, else zombies count until the limit of processes is reached.
    bounds: dict[str, Any] = {"Init": True}
    if options.pids_limit:
        # A fork bomb ends at the worker's limit, not at the host's.
        bounds["PidsLimit"] = options.pids_limit
    if options.memory:
        # Memory and swap together: with the first alone, Docker gives as much again in swap.
        bounds |= {"Memory": options.memory, "MemorySwap": options.memory}
    if options.cpus:
        bounds["NanoCpus"] = round(options.cpus * _NANO)
    return bounds


def _rights(options: DockerOptions) -> dict[str, Any]:
    """What a worker's processes may do. Docker's own seccomp and AppArmor profiles stay on."""
    rights: dict[str, Any] = {}
    if not options.allow_sudo:
        # No program gains rights that its caller lacks: setuid bits and file capabilities do nothing.
        rights["SecurityOpt"] = ["no-new-privileges"]
    if options.cap_drop:
        rights["CapDrop"] = list(options.cap_drop)
    if options.read_only:
        # Programs expect a /tmp, and some run what they unpack there.
        rights |= {"ReadonlyRootfs": True, "Tmpfs": {"/tmp": "rw,exec,nosuid,nodev,mode=1777"}}  # noqa: S108 # its own
    if options.runtime:
        rights["Runtime"] = options.runtime
    if options.outbound == "host":
        # The network stops answers (`network`). But Docker resolves names from outside of it, so a worker could send data
        # out in such a question. So it is given a resolver that does not exist, and gets an error after a second.
        rights |= {"Dns": ["127.0.0.1"], "DnsOptions": ["timeout:1", "attempts:1"]}
    return rights


def _log(options: DockerOptions, engine: Mapping[str, Any]) -> dict[str, Any]:
    """A limit for what a worker prints, which Docker keeps for ever by default. An engine that sends it away gets none."""
    driver = engine.get("LoggingDriver")
    if not options.log_limit or driver not in _LOGS_IN_FILES:
        return {}
    size = {"max-size": str(options.log_limit // _LOG_FILES), "max-file": str(_LOG_FILES)}
    return {"LogConfig": {"Type": driver, "Config": size}}


def _check(options: DockerOptions, engine: Mapping[str, Any]) -> None:
    """Refuse what this engine would refuse at every create, or would ignore silently."""
    if (kind := engine.get("OSType") or "linux") != "linux":
        raise EngineRejected(f"The engine runs {plain(kind, 40)} containers: switch it to Linux containers.")
    runtimes = sorted(engine.get("Runtimes") or ())
    if options.runtime and options.runtime not in runtimes:
        named = plain(", ".join(map(str, runtimes))) or "none"
        raise EngineRejected(
            f"The engine has no runtime {options.runtime} (it has: {named}). Install it, or choose another with --runtime."
        )
    processors = engine.get("NCPU") or 0
    if processors and options.cpus > processors:
        raise EngineRejected(f"--cpus is {options.cpus:g}, but the engine has only {processors}: choose less.")
    for chosen, can, flag in (
        (options.memory, engine.get("MemoryLimit", True), "--memory"),
        (options.cpus, engine.get("CpuCfsQuota", True), "--cpus"),
    ):
        if chosen and not can:
            raise EngineRejected(
                f"The engine cannot enforce {flag}: its cgroups lack it. Leave it out, or set them up."
            )


def _check_image(options: DockerOptions, config: Mapping[str, Any]) -> None:
    """Refuse an image whose workers could never come up."""
    said = [config[key] for key in ("Entrypoint", "Cmd") if key in config]  # some engines leave out what is empty
    if said and not any(said):
        raise EngineRejected(
            f"The image {options.image} does not say what to run: give it an ENTRYPOINT or a CMD, or choose another with "
            "--image."
        )
    test = (config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    if options.ready == "healthcheck" and test[0] == "NONE":
        raise EngineRejected(
            f"The image {options.image} has no HEALTHCHECK, but --ready is healthcheck: give it one, or choose --ready http "
            "or tcp."
        )


def worker_port(name: str, image: Mapping[str, Any]) -> int:
    """The single TCP port that the image exposes; 9092 if it exposes none."""
    exposed = (image.get("Config") or {}).get("ExposedPorts") or {}
    ports = sorted(
        (key.partition("/")[0] for key in exposed if key.endswith("/tcp") or "/" not in key), key=_numerically
    )
    if len(ports) > 1:
        raise EngineRejected(
            f"The image {name} exposes several ports ({plain(', '.join(ports), 100)}): say which with --worker-port."
        )
    if ports and not _PORT.fullmatch(ports[0]):
        shown = plain(ports[0], 40)
        raise EngineRejected(f"The image {name} exposes {shown!r}, which is not a port: name one with --worker-port.")
    return int(ports[0]) if ports else DEFAULT_WORKER_PORT


def _numerically(port: str) -> tuple[int, str]:
    return len(port), port
