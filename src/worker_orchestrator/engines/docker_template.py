"""What a worker container is made of: from settings and an image to the body of Docker's create call. No I/O.

Labels carry only what never changes (owner, machine, pool, template): Docker cannot change them after a create.
Source: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerCreate
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from worker_orchestrator.errors import EngineRejected
from worker_orchestrator.machine import Machine

__all__ = ["LABEL", "DockerOptions", "Template", "make_template", "worker_port"]

LABEL: Final = "worker-orchestrator"
DEFAULT_WORKER_PORT: Final = 9092
_FINGERPRINT_CHARS: Final = 16


@dataclass(frozen=True, slots=True)
class DockerOptions:
    """What the operator chose. `worker_port` None: the image says; `publish_addresses`: host addresses of each port."""

    image: str
    worker_port: int | None = None
    env: Mapping[str, str] | None = None
    publish_addresses: tuple[str, ...] = ("127.0.0.1",)
    network: str = ""
    ready: str = "http"
    ready_path: str = "/"


@dataclass(frozen=True, slots=True)
class Template:
    """Everything that makes two workers alike, under its fingerprint."""

    fingerprint: str
    image_id: str
    port: int
    options: DockerOptions
    network: str

    def create_body(self, owner: str, machine: Machine) -> dict[str, Any]:
        """The JSON body of POST /containers/create for this machine."""
        port = f"{self.port}/tcp"
        bindings = [{"HostIp": address, "HostPort": str(machine.port)} for address in self.options.publish_addresses]
        return {
            "Image": self.image_id,
            "Env": [f"{name}={value}" for name, value in (self.options.env or {}).items()],
            "ExposedPorts": {port: {}},
            "Labels": {
                f"{LABEL}.owner": owner,
                f"{LABEL}.machine": machine.id,
                f"{LABEL}.pool": machine.pool,
                f"{LABEL}.template": machine.template,
            },
            "HostConfig": {
                "Init": True,
                "PortBindings": {port: bindings},
                "NetworkMode": self.network,
                "ExtraHosts": ["host.docker.internal:host-gateway"],
            },
        }


def make_template(options: DockerOptions, image: Mapping[str, Any], network: str) -> Template:
    """The template for an inspected image.

    Raises EngineRejected where the image does not say which of its ports is the worker's.
    """
    port = options.worker_port or worker_port(options.image, image)
    made_of = [image["Id"], port, sorted((options.env or {}).items()), options.publish_addresses, network]
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
    return Template(digest[:_FINGERPRINT_CHARS], image["Id"], port, options, network)


def worker_port(name: str, image: Mapping[str, Any]) -> int:
    """The single TCP port that the image exposes; 9092 where it exposes none."""
    exposed = (image.get("Config") or {}).get("ExposedPorts") or {}
    ports = sorted(int(key.partition("/")[0]) for key in exposed if key.endswith("/tcp") or "/" not in key)
    if len(ports) > 1:
        named = ", ".join(map(str, ports))
        raise EngineRejected(f"The image {name} exposes several ports ({named}): say which with --worker-port.")
    return ports[0] if ports else DEFAULT_WORKER_PORT
