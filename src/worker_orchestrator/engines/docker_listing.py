"""How Docker's own words for containers and events read in ours. No I/O.

Sources: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerList,
https://docs.docker.com/reference/api/engine/version/v1.41/#tag/System/operation/SystemEvents
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from aiodocker.containers import DockerContainer
from msgspec.structs import replace

from worker_orchestrator.engines.docker_template import LABEL
from worker_orchestrator.machine import Instance, Status

__all__ = ["concerns_us", "instance_of", "judged"]

_EXIT_CODE: Final = re.compile(r"\((\d+)\)")
_SIGKILL: Final = 137

_STATUS: Final[Mapping[str, Status]] = {
    "created": Status.CREATED,
    "running": Status.RUNNING,
    "paused": Status.PAUSED,
    "restarting": Status.PENDING,
    "exited": Status.EXITED,
    "dead": Status.EXITED,
    "removing": Status.TERMINATING,
    "stopping": Status.TERMINATING,
}
_TELLING: Final = frozenset({"die", "destroy", "pause", "unpause", "oom", "health_status: unhealthy"})
_IMAGE_TELLING: Final = frozenset({"tag", "untag", "delete", "load", "import", "pull"})


def concerns_us(event: Mapping[str, Any]) -> bool:
    """Whether an event may change what a listing shows of our machines, or what a template is made of."""
    if event.get("Type") == "image":
        return event.get("Action") in _IMAGE_TELLING
    attributes = (event.get("Actor") or {}).get("Attributes") or {}
    return event.get("Action") in _TELLING and f"{LABEL}.machine" in attributes


def ended(event: Mapping[str, Any]) -> str | None:
    """The id of the machine whose container has ended, if an event that concerns us says so; a copy bears another name."""
    attributes = event["Actor"]["Attributes"] if event.get("Action") == "die" else {}
    machine_id = attributes.get(f"{LABEL}.machine")
    return machine_id if machine_id is not None and machine_id == attributes.get("name") else None


def instance_of(container: DockerContainer) -> Instance:
    """An instance from one element of Docker's list of containers.

    Its id is its name: under another name than its label says it is a copy, or was renamed, and no machine of ours.
    """
    labels: Mapping[str, str] = container["Labels"]
    status = _STATUS.get(container["State"], Status.UNKNOWN)
    code = _EXIT_CODE.search(container["Status"]) if status is Status.EXITED else None
    networks = (container["NetworkSettings"] or {}).get("Networks") or {}
    ports = [port["PublicPort"] for port in container["Ports"] or () if "PublicPort" in port]
    return Instance(
        id=next((name[1:] for name in container["Names"] or () if name.count("/") == 1), labels[f"{LABEL}.machine"]),
        owner=labels.get(f"{LABEL}.owner", ""),
        pool=labels.get(f"{LABEL}.pool", ""),
        template=labels.get(f"{LABEL}.template", ""),
        status=status,
        native_id=container["Id"],
        address=next((net["IPAddress"] for net in networks.values() if net and net.get("IPAddress")), None),
        port=ports[0] if ports else None,
        killed=code is not None and int(code.group(1)) == _SIGKILL,
        detail=f"exit code {code.group(1)}" if code is not None else "",
    )


def judged(instance: Instance, *, from_outside: bool) -> Instance:
    """An instance that SIGKILL ended, with who sent it: somebody outside, or the kernel because memory ran out."""
    detail = "killed from outside" if from_outside else "out of memory"
    return replace(instance, killed=from_outside, detail=f"{instance.detail}, {detail}")
