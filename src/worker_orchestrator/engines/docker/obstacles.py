"""Which refusals of Docker are neither the worker's fault nor its image's, and what to do about each.

This is the one place where they are distinguished, by the texts of Docker, containerd, runc and the kernel. Each kind has
its own sentence. A refusal that matches nothing here is the worker's or its image's own fault.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, NamedTuple

from worker_orchestrator.core.reasons import sentence
from worker_orchestrator.errors import EngineObstructed
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["ADDRESS", "KINDS", "is_port_taken", "obstacle", "taken_port"]

ADDRESS: Final = "address"
"""The kind of an address of the host on which ports were to be published, and that it does not have."""
LONGEST_QUOTE: Final = 300
_IDS: Final = re.compile(r"\b[0-9a-f]{12,64}\b")
"""Ids of containers, networks and layers, which differ at every try."""


class Kind(NamedTuple):
    """One cause outside: a word for it, the texts by which it is recognized, and a sentence that says what to do."""

    name: str
    words: str
    says: str


KINDS: Final = (
    Kind(
        "addresses",
        r"no available IPv[46] addresses on (?:this|the) network|failed to find free IP in range",
        "The workers' network has no address left. Release machines, serve with a smaller --max-machines, or name a larger "
        "network with --network",
    ),
    Kind(
        "networks",
        r"could not find an available, non-overlapping IPv[46] address pool|all predefined address pools have been fully|"
        r"pool overlaps with other one on this address space|failed to allocate gateway",
        "Docker has no address range left for the workers' network. Remove networks that nobody uses "
        "(`docker network prune`), give Docker more of them (default-address-pools in its daemon.json), "
        "or name an existing network with --network",
    ),
    Kind(
        "bridge",
        r"to bridge \S+ failed: exchange full",
        "The workers' network is full, since a bridge takes 1,023 containers. Serve with a smaller --max-machines, or "
        "release machines",
    ),
    Kind(
        "disk",
        r"no space left on device|disk quota exceeded",
        "Docker's disk is full. Free some space there (`docker system prune` removes what is unused)",
    ),
    Kind(
        "memory",
        r"cannot allocate memory|not enough memory",
        "Docker's host has no memory left. End something there, or serve with less (--min-idle, --max-machines, --memory)",
    ),
    Kind(
        "processes",
        r"resource temporarily unavailable|failed to create new OS thread|pthread_create failed",
        "Docker's host cannot start more processes. End some there, raise its limits (TasksMax of docker.service, "
        "kernel.pid_max), or allow a worker more with --pids-limit",
    ),
    Kind(
        "files",
        r"too many open files",
        "Docker's host cannot open more files. Raise its limits (LimitNOFILE of docker.service, "
        "fs.inotify.max_user_instances)",
    ),
    Kind(
        ADDRESS,
        r"cannot assign requested address|address family not supported by protocol",
        "Docker's host does not have the address on which this worker's port is published (is IPv6 switched off there?). "
        "Give it that address again, or for new workers choose another with --publish-address",
    ),
    Kind(
        "conmon",
        r"given PID did not die within timeout",
        "Podman cannot end a container whose process was killed: its own process beside it (conmon) hangs, as after much "
        "input to a terminal that no program read. End that process (`ps -ef | grep conmon` shows the name of the "
        "container)",
    ),
    Kind(
        "firewall",
        r"could not find bridge|ip6?tables failed|No chain/target/match by that name|"
        r"unable to enable (?:DNAT|SNAT|ACCEPT|SKIP DNAT) rule",
        "Docker's rules in the host's firewall, or its bridge, are gone, as after a restart of firewalld. Restart Docker "
        "(`sudo systemctl restart docker`)",
    ),
    Kind(
        "kernel",
        r"pair interfaces: operation not supported|failed to create the host .* pair",
        "The host's kernel lacks what Docker needs for networks, as after an update of it. Restart the host",
    ),
    Kind(
        "denied",
        r"authorization denied by plugin",
        "A plug-in of Docker forbids it. Allow it there, or choose other settings",
    ),
    Kind(
        "containerd",
        r"containerd\.sock|containerd is not running",
        "Docker and its containerd do not agree, as after one of them was killed. Restart both "
        "(`sudo systemctl restart containerd docker`)",
    ),
    Kind(
        "shim",
        r"task \S+: already exists",
        "Docker cannot start a container whose process beside it (containerd-shim) outlived a killed Docker. End that one "
        "(`pkill -KILL -f \"containerd-shim.*$(docker inspect -f '{{.Id}}' CONTAINER)\"`, as root)",
    ),
)
_OF_DOCKER: Final = frozenset({"networks", "firewall", "kernel", "denied", "containerd", "shim"})
_PORT_TAKEN: Final = re.compile(
    r"port is already allocated|address already in use|failed to bind host port|ports are not available", re.IGNORECASE
)
_HOST_PORT: Final = re.compile(r":(\d{1,5})\b")
_KINDS: Final = [(kind, re.compile(kind.words, re.IGNORECASE)) for kind in KINDS]


def is_port_taken(message: str) -> bool:
    """Whether this message of Docker says that another process has the host port."""
    return _PORT_TAKEN.search(message) is not None


def taken_port(message: str, ports: Collection[int]) -> int | None:
    """Which of these host ports such a message says is taken; None if it says that of none of them, or of several.

    Docker names an address and the port ("Bind for 127.0.0.1:9093 failed"), often with the port of the container as well.
    """
    named = {int(port) for port in _HOST_PORT.findall(message)} & set(ports)
    return named.pop() if len(named) == 1 else None


def obstacle(message: str, call: str = "", engine: str = "Docker") -> EngineObstructed | None:
    """The cause outside that this message of the engine names; None if it names none. `call` says which call it answers."""
    for kind, words in _KINDS:
        if words.search(message):
            return EngineObstructed(
                sentence(f"{_says(kind, engine)}. {engine} says: {_short(message)}{_IDS.sub('…', call)}"),
                kind=kind.name,
            )
    return None


def _says(kind: Kind, engine: str) -> str:
    """Its sentence with the name and the command of this engine. What only Docker says, and only it is told, stays."""
    if engine == "Docker" or kind.name in _OF_DOCKER:
        return kind.says
    return kind.says.replace("Docker", engine).replace("docker", engine.lower())


def _short(message: str) -> str:
    """On one line, without ids, so that the same cause is told in the same words each time."""
    return plain(_IDS.sub("…", message), LONGEST_QUOTE)
