"""What a worker container is made of and what it may do: the body of Docker's create call. No I/O.

Nothing here mounts a folder of the host, adds a capability or makes a worker privileged, and no setting can: a worker never
sees Docker's socket. The fingerprint covers all of the body but a machine's own name and ports, and the names of ports.
Labels carry only what never changes: whose machine it is and of which pool and template, where it is published, and what has
to be known of it when its pool is no longer in the settings. Docker keeps them as they are, and they do not count in the
fingerprint.
Source: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerCreate
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.docker.dialect import Dialect
from worker_orchestrator.engines.docker.image_config import check_image, worker_port
from worker_orchestrator.engines.docker.late_memory import add_memory, labelled_mounts
from worker_orchestrator.errors import EngineRejected

__all__ = [
    "ADVERTISED",
    "LABEL",
    "LATE_DIR",
    "LATE_OWNED",
    "LATE_POST",
    "LATE_USER",
    "NETWORK",
    "ON_LOOPBACK",
    "OUTBOUND",
    "POOL",
    "PORTS",
    "PUBLISHED",
    "READY",
    "READY_PATH",
    "READY_PORT",
    "TOKEN",
    "DockerOptions",
    "PublishOptions",
    "Template",
    "make_template",
]

LABEL: Final = "worker-orchestrator"
NETWORK: Final = f"{LABEL}.network"
PUBLISHED: Final = f"{LABEL}.published"
ADVERTISED: Final = f"{LABEL}.advertised"
POOL: Final = f"{LABEL}.pool"
READY: Final = f"{LABEL}.ready"
READY_PATH: Final = f"{LABEL}.ready-path"
READY_PORT: Final = f"{LABEL}.ready-port"
PORTS: Final = f"{LABEL}.ports"
"""The ports of the container with their names, such as "http=3000 hmr=24678"; a worker whose port has no name lacks it."""
OUTBOUND: Final = f"{LABEL}.outbound"
LATE_DIR: Final = f"{LABEL}.late-dir"
"""The folder in memory in which a worker takes values; one that was made without lacks it. Nor has it the next two then."""
LATE_USER: Final = f"{LABEL}.late-user"
"""Whom its image or its pool lets it run as, as Docker writes it; empty for root."""
LATE_OWNED: Final = f"{LABEL}.late-owned"
"""That this folder is its user's, so that a program of that user can write the values."""
LATE_POST: Final = f"{LABEL}.late-post"
"""The path on its own port to which values are posted."""
TOKEN: Final = "ORCHESTRATOR_TOKEN"  # noqa: S105 # a name
"""The variable with what proves to a worker that what is posted to it comes from this service."""
_FINGERPRINT_CHARS: Final = 16
_NANO: Final = 1_000_000_000
_OWN_NETWORK: Final = "own"
"""In what workers have in common, where each has a network of its own."""
_LABELS_OF_OTHERS: Final = (
    "com.docker.compose.",
    "com.docker.stack.",
    "com.docker.swarm.",
    "io.podman.compose.",
    "org.testcontainers",
)


@dataclass(frozen=True, slots=True)
class DockerOptions:
    """What the operator chose for the workers of one pool.

    Sizes are bytes; what is empty or 0 is left as the image or the engine has it.

    * `worker_port`        None: the image says which
    * `ports`              in place of that: names with ports of the container, the worker's own first
    * `ready_port`         the name of the one that is asked whether the worker is ready; empty: the first
    * `outbound`           "any", or "host": then a worker gets no answer from beyond this computer; or "names": it reaches a
                           proxy alone
    * `insecure_shared_network`  workers of the pool share a network on which they may reach each other
    * `log_limit`          of all log files of one worker together
    * `late_dir`           a folder in memory for the values that a project brings; empty: none
    * `late_post`          the path on the worker's port to which they are posted; empty: they are not
    * `parked`             so many workers are to be paused until somebody needs them; none is made in another way for that
    * `pod_template`       merged over the pods of an engine that makes pods; None: nothing. Docker never gets one
    """

    image: str
    worker_port: int | None = None
    ports: tuple[tuple[str, int], ...] = ()
    ready_port: str = ""
    env: Mapping[str, str] | None = None
    network: str = ""
    outbound: str = "any"
    insecure_shared_network: bool = False
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
    late_dir: str = ""
    late_post: str = ""
    parked: int = 0
    pod_template: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """Where the ports of workers are published: the same for all pools of a service.

    * `addresses`       of the engine's host: each port is published on all of them
    * `advertise_host`  the host in URLs: a container only remembers it
    """

    addresses: tuple[str, ...] = ("127.0.0.1",)
    advertise_host: str = "localhost"


ON_LOOPBACK: Final = PublishOptions()


@dataclass(frozen=True, slots=True)
class Template:
    """Everything that makes two workers of a pool alike, under its fingerprint.

    `body`: what their create calls have in common. `network`: the one that they share; None if each has its own. `user`:
    whom they run as, as Docker writes it.
    """

    fingerprint: str
    port: int
    options: DockerOptions
    publish: PublishOptions
    body: Mapping[str, Any]
    network: str | None
    user: str = ""

    def create_body(self, owner: str, machine: Machine, token: str = "") -> dict[str, Any]:
        """The JSON body of POST /containers/create for this machine, whose own token this is, if it gets one.

        Raises EngineRejected if its ports have other names.
        """
        network = self.network or machine.id
        return {
            **self.body,
            **({"Env": [*self.body["Env"], f"{TOKEN}={token}"]} if self.options.late_post else {}),
            "Labels": {
                **self.body.get("Labels", {}),
                f"{LABEL}.owner": owner,
                f"{LABEL}.machine": machine.id,
                POOL: machine.pool,
                f"{LABEL}.template": machine.template,
                NETWORK: network,
                PUBLISHED: " ".join(self.publish.addresses),
                ADVERTISED: self.publish.advertise_host,
                READY: self.options.ready,
                READY_PATH: self.options.ready_path,
                OUTBOUND: self.options.outbound,
                **_port_labels(self.options),
                **_late_labels(self.options, self.user),
            },
            "HostConfig": {
                **self.body["HostConfig"],
                **labelled_mounts(self.body["HostConfig"], {f"{LABEL}.owner": owner, f"{LABEL}.machine": machine.id}),
                "NetworkMode": network,
                "PortBindings": {
                    f"{port}/tcp": [
                        {"HostIp": address, "HostPort": str(host_port)} for address in self.publish.addresses
                    ]
                    for port, host_port in self._published(machine)
                },
            },
        }

    def _published(self, machine: Machine) -> list[tuple[int, int | None]]:
        """Each port of the container with the host port that this machine has for it."""
        names = [name for name, _ in self.options.ports]
        if names != [name for name, _ in machine.ports]:
            raise EngineRejected(f"The settings give the ports of {machine.id} other names than it was recorded with.")
        if not names:
            return [(self.port, machine.port)]
        host_ports = dict(machine.ports)
        return [(port, host_ports[name]) for name, port in self.options.ports]


def make_template(
    options: DockerOptions,
    image: Mapping[str, Any],
    network: str | None,
    dialect: Dialect,
    publish: PublishOptions = ON_LOOPBACK,
) -> Template:
    """The template for an inspected image, on this network; None: on one of its own for each worker, named like it.

    Raises EngineRejected if the image does not say which of its ports is the worker's, or could never come up.
    """
    check_image(options, image.get("Config") or {})
    ports = [port for _, port in options.ports] or [options.worker_port or worker_port(options.image, image)]
    body: dict[str, Any] = {
        "Image": image["Id"],
        "Env": sorted(f"{name}={value}" for name, value in (options.env or {}).items()),
        "ExposedPorts": {f"{port}/tcp": {} for port in ports},
        "HostConfig": {
            "NetworkMode": network or _OWN_NETWORK,
            **({} if options.outbound == "names" else {"ExtraHosts": ["host.docker.internal:host-gateway"]}),
            **_bounds(options, dialect),
            **_rights(options, dialect),
            **_log(options, dialect),
        },
    }
    add_memory(body["HostConfig"], options.late_dir, dialect)
    if options.user:
        body["User"] = options.user
    inherited = (image.get("Config") or {}).get("Labels") or {}
    if foreign := {label: "" for label in inherited if label.startswith(_LABELS_OF_OTHERS)}:
        # The tools that these labels belong to would take our workers for their own containers, and remove them. A container
        # cannot drop a label of its image, so the label is made empty.
        body["Labels"] = foreign
    # A machine keeps the names that it was made with, so one with other names is another machine.
    named = [options.ports] if options.ports else []
    late = [{"post": options.late_post}] if options.late_post else []  # its worker has a token, and others have none
    made_of = json.dumps([body, publish.addresses, *named, *late], sort_keys=True)
    fingerprint = hashlib.sha256(made_of.encode()).hexdigest()[:_FINGERPRINT_CHARS]
    user = options.user or str((image.get("Config") or {}).get("User") or "")
    return Template(fingerprint, ports[0], options, publish, body, network, user)


def _late_labels(options: DockerOptions, user: str) -> dict[str, str]:
    """What says how a container takes values, when the settings say something else."""
    labels = {LATE_DIR: options.late_dir, LATE_USER: user} if options.late_dir else {}
    return labels | ({LATE_POST: options.late_post} if options.late_post else {})


def _port_labels(options: DockerOptions) -> dict[str, str]:
    """What says which port of a container is which, when the settings name others or none any more."""
    if not options.ports:
        return {}
    named = {PORTS: " ".join(f"{name}={port}" for name, port in options.ports)}
    return named | {READY_PORT: options.ready_port} if options.ready_port else named


def _bounds(options: DockerOptions, dialect: Dialect) -> dict[str, Any]:
    """How much a worker may take."""
    # An init as process 1 reaps what others leave behind, else zombies count until the limit of processes is reached.
    bounds: dict[str, Any] = {"Init": True}
    if options.pids_limit or dialect.limits_processes_unasked:
        # A fork bomb ends at the worker's limit, not at the host's.
        bounds["PidsLimit"] = options.pids_limit
    if options.memory:
        # Memory and swap together: with the first alone, Docker gives as much again in swap.
        bounds |= {"Memory": options.memory, "MemorySwap": options.memory}
    if options.cpus:
        bounds["NanoCpus"] = round(options.cpus * _NANO)
    return bounds


def _rights(options: DockerOptions, dialect: Dialect) -> dict[str, Any]:
    """What a worker's processes may do. Docker's own seccomp and AppArmor profiles stay on."""
    rights: dict[str, Any] = {}
    if not options.allow_sudo:
        # No program gains rights that its caller lacks: setuid bits and file capabilities do nothing.
        rights["SecurityOpt"] = ["no-new-privileges"]
    # With raw packets a worker could write frames past its routes (`fenced_networks`).
    dropped = [*options.cap_drop, *({"NET_RAW"} - {*options.cap_drop} if options.outbound == "names" else ())]
    if dropped:
        rights["CapDrop"] = dropped
    if options.read_only:
        # Programs expect a /tmp, and some run what they unpack there.
        in_memory = {"/tmp": "rw,exec,nosuid,nodev,mode=1777"} | dict.fromkeys(dialect.opens_in_read_only, "ro")  # noqa: S108 # its own
        rights |= {"ReadonlyRootfs": True, "Tmpfs": in_memory}
    if options.runtime:
        rights["Runtime"] = options.runtime
    if options.outbound != "any":
        # The network stops answers (`network`). But Docker resolves names from outside of it, so a worker could send data
        # out in such a question. So it is given a resolver that does not exist, and gets an error after a second.
        rights |= {"Dns": ["127.0.0.1"], "DnsOptions": ["timeout:1", "attempts:1"]}
    return rights


def _log(options: DockerOptions, dialect: Dialect) -> dict[str, Any]:
    """A limit for what a worker prints, which Docker keeps for ever by default. An engine that sends it away gets none."""
    if not options.log_limit or not dialect.log_driver:
        return {}
    size = {"max-size": str(options.log_limit // dialect.log_files)}
    if dialect.log_files > 1:
        size["max-file"] = str(dialect.log_files)
    return {"LogConfig": {"Type": dialect.log_driver, "Config": size}}
