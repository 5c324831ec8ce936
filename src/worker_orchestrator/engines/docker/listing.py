"""Translates Docker's containers and events into instances and machine ids. No I/O.

Sources: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerList,
https://docs.docker.com/reference/api/engine/version/v1.41/#tag/System/operation/SystemEvents
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from aiodocker.containers import DockerContainer
from msgspec.structs import replace

from worker_orchestrator.core import reasons
from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.engines.docker.template import LABEL

__all__ = ["concerns_us", "doubtful_machine", "instance_of", "with_killer"]

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
_CONTAINER_ACTIONS: Final = frozenset({"die", "destroy", "pause", "unpause", "oom", "health_status: unhealthy"})
_IMAGE_ACTIONS: Final = frozenset({"tag", "untag", "delete", "load", "import", "pull"})
_NETWORK_ACTIONS: Final = frozenset({"connect", "disconnect"})
_DOUBTFUL_ACTIONS: Final = frozenset({"die", "pause", "unpause"})


def concerns_us(event: Mapping[str, Any], machines: Mapping[str, str]) -> bool:
    """Whether an event may change what a listing shows of our machines, or what a template is made of.

    `machines`: machine ids by container id, as the last listing showed them; events of networks name nothing else.
    """
    if event.get("Type") == "image":
        return event.get("Action") in _IMAGE_ACTIONS
    attributes = (event.get("Actor") or {}).get("Attributes") or {}
    if event.get("Type") == "network":
        return event.get("Action") in _NETWORK_ACTIONS and attributes.get("container") in machines
    return event.get("Action") in _CONTAINER_ACTIONS and f"{LABEL}.machine" in attributes


def doubtful_machine(event: Mapping[str, Any], machines: Mapping[str, str]) -> str | None:
    """The id of the machine that can serve no longer, or again, if an event that concerns us says so. `machines` as above.

    Docker reports both before a listing shows them, so the caller has to wait until one does. A machine that no listing has
    shown yet has its own name; another container with its labels may be a copy.
    """
    actor = event["Actor"]
    attributes = actor.get("Attributes") or {}
    if event.get("Type") == "network":
        return machines.get(attributes["container"])
    if event.get("Action") not in _DOUBTFUL_ACTIONS:
        return None
    machine_id: str | None = attributes.get(f"{LABEL}.machine")
    return machines.get(actor.get("ID", "")) or (machine_id if machine_id == attributes.get("name") else None)


def instance_of(container: DockerContainer) -> Instance:
    """The instance of one element of Docker's list of containers that is no copy.

    Its label says which machine it is, and not its name: people rename containers.
    """
    labels: Mapping[str, str] = container["Labels"]
    machine_id = labels[f"{LABEL}.machine"]
    name = next((name[1:] for name in container["Names"] or () if name.count("/") == 1), machine_id)
    status = _STATUS.get(container["State"], Status.UNKNOWN)
    code = _EXIT_CODE.search(container["Status"]) if status is Status.EXITED else None
    networks = (container["NetworkSettings"] or {}).get("Networks")
    ports = [port["PublicPort"] for port in container["Ports"] or () if "PublicPort" in port]
    return Instance(
        id=machine_id,
        owner=labels.get(f"{LABEL}.owner", ""),
        pool=labels.get(f"{LABEL}.pool", ""),
        template=labels.get(f"{LABEL}.template", ""),
        status=status,
        native_id=container["Id"],
        address=next((net["IPAddress"] for net in (networks or {}).values() if _has_address(net)), None),
        port=ports[0] if ports else None,
        killed=code is not None and int(code.group(1)) == _SIGKILL,
        detail=reasons.exited(int(code.group(1))) if code is not None else "",
        trouble=_trouble(status, name, container, is_cut_off=not ports and networks == {}),
        renamed="" if name == machine_id else name,
    )


def _has_address(network: Mapping[str, Any] | None) -> bool:
    return bool(network and network.get("IPAddress"))


def _trouble(status: Status, name: str, container: DockerContainer, *, is_cut_off: bool) -> str:
    """What somebody did to a container that has not ended, and how to put it right."""
    if status is Status.PAUSED:
        return f"The container is paused, so nothing in it answers. Run `docker unpause {name}` to continue it."
    if status is Status.RUNNING and is_cut_off:
        network = container["HostConfig"]["NetworkMode"]
        return (
            f"The container was disconnected from its network, so it cannot be reached. Run `docker network connect "
            f"{network} {name}` to reconnect it."
        )
    return ""


def with_killer(instance: Instance, *, from_outside: bool) -> Instance:
    """An instance that was ended by SIGKILL, with who sent that: somebody outside, or the kernel because memory ran out."""
    how = reasons.killed if from_outside else reasons.out_of_memory
    return replace(
        instance,
        killed=from_outside,
        out_of_memory=not from_outside,
        detail=how(_SIGKILL),
    )
