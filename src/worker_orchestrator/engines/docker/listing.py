"""Translates Docker's containers and events into instances and machine ids. No I/O.

Sources: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerList,
https://docs.docker.com/reference/api/engine/version/v1.41/#tag/System/operation/SystemEvents
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from aiodocker.containers import DockerContainer
from msgspec.structs import replace

from worker_orchestrator.core import reasons
from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.engines.base import EndOf, RecoveryOf
from worker_orchestrator.engines.docker.dialect import DOCKER, Dialect
from worker_orchestrator.engines.docker.listed import Listed
from worker_orchestrator.engines.docker.template import LABEL, LATE_DIR, LATE_POST, NETWORK, PORTS

__all__ = ["concerns_us", "doubtful_machine", "end_awaited_s", "instance_of", "started_container", "with_killer"]

_EXIT_CODE: Final = re.compile(r"\((\d+)\)")
_SIGKILL: Final = 137
_MADE_UP: Final = "bridge"
"""The name and the id of a network that Podman shows where there is none. Real ones have another id."""

_STATUS: Final[Mapping[str, Status]] = {
    "created": Status.CREATED,
    "running": Status.RUNNING,
    "paused": Status.PAUSED,
    "restarting": Status.PENDING,
    "exited": Status.EXITED,
    "dead": Status.EXITED,
    "initialized": Status.CREATED,
    "stopped": Status.EXITED,
    "removing": Status.TERMINATING,
    "stopping": Status.TERMINATING,
}
_LOST: Final = (
    "The container runs without the network that it should be on, as after Docker was killed, so it cannot be reached. "
    "Run `docker restart {}`."
)
_CONTAINER_ACTIONS: Final = frozenset({
    "die", "kill", "destroy", "remove", "pause", "unpause", "oom", "health_status: unhealthy",
})  # fmt: skip
"""Podman says `remove` for `destroy`."""
_IMAGE_ACTIONS: Final = frozenset({"tag", "untag", "delete", "load", "import", "pull"})
_NETWORK_ACTIONS: Final = frozenset({"connect", "disconnect"})
_DOUBTFUL_ACTIONS: Final = frozenset({"die", "kill", "pause", "unpause"})
_HARMLESS_SIGNALS: Final = frozenset({"1", "10", "12", "17", "18", "23", "28"})
"""HUP, USR1, USR2, CHLD, CONT, URG, WINCH. Of the first three many workers reload, and the others end none that has not
asked for them. Where a worker does end, there are other signs of that."""
_KILLED_WITHIN_S: Final = 2.0
_STOPPED_WITHIN_S: Final = 0.5


def concerns_us(event: Mapping[str, Any], machines: Mapping[str, str]) -> bool:
    """Whether an event may change what a listing shows of our machines, or what a template is made of.

    `machines`: machine ids by container id, as the last listing showed them; events of networks name nothing else.
    """
    if event.get("Type") == "image":
        return event.get("Action") in _IMAGE_ACTIONS
    attributes = (event.get("Actor") or {}).get("Attributes") or {}
    if event.get("Type") == "network":
        return event.get("Action") in _NETWORK_ACTIONS and _container_on(event) in machines
    action = event.get("Action")
    if action == "kill" and attributes.get("signal") in _HARMLESS_SIGNALS:
        return False
    if action == "health_status":  # Podman names the result apart
        action = f"{action}: {attributes.get('HealthStatus')}"
    return action in _CONTAINER_ACTIONS and f"{LABEL}.machine" in attributes


def doubtful_machine(event: Mapping[str, Any], machines: Mapping[str, str]) -> str | None:
    """The id of the machine that can serve no longer, or again, if an event that concerns us says so. `machines` as above.

    It is an `EndOf` where a run of it has ended, and a `RecoveryOf` where it was put on a network: of a container that
    starts, that may be told after its worker has answered. Docker reports both before a listing shows them, so the caller
    has to wait until one does. A machine that no listing has shown yet has its own name; another container with its labels
    may be a copy.
    """
    actor = event["Actor"]
    if event.get("Type") == "network":
        machine_id = machines.get(_container_on(event))
        return RecoveryOf(machine_id) if machine_id is not None and event.get("Action") == "connect" else machine_id
    machine_id = _machine_of(actor, machines) if event.get("Action") in _DOUBTFUL_ACTIONS else None
    return EndOf(machine_id) if machine_id is not None and event.get("Action") == "die" else machine_id


def _machine_of(actor: Mapping[str, Any], machines: Mapping[str, str]) -> str | None:
    attributes = actor.get("Attributes") or {}
    machine_id: str | None = attributes.get(f"{LABEL}.machine")
    return machines.get(actor.get("ID", "")) or (machine_id if machine_id == attributes.get("name") else None)


def _container_on(event: Mapping[str, Any]) -> str:
    """The id of the container that an event of a network is about. Podman names it in place of the network."""
    actor = event.get("Actor") or {}
    return str((actor.get("Attributes") or {}).get("container") or actor.get("ID", ""))


def end_awaited_s(event: Mapping[str, Any]) -> float:
    """For how many seconds an event that casts doubt lets the end of its container be expected, which is running yet.

    After SIGKILL it is certain. After another signal many a worker ends at once, and others take their time: whatever they
    do later is another sign. Podman does not name the signal.
    """
    if event.get("Action") != "kill":
        return 0.0
    signal = event["Actor"]["Attributes"].get("signal")
    return _KILLED_WITHIN_S if signal == "9" else _STOPPED_WITHIN_S


def started_container(
    event: Mapping[str, Any], machines: Mapping[str, str], owners: Collection[str]
) -> tuple[str, str] | None:
    """The container that began to run, and whose machine it is, if an event says so. `machines` as above."""
    actor = event.get("Actor") or {}
    is_start = event.get("Type") == "container" and event.get("Action") == "start"
    if not is_start or (actor.get("Attributes") or {}).get(f"{LABEL}.owner") not in owners:
        return None
    machine_id = _machine_of(actor, machines)
    return None if machine_id is None else (actor.get("ID", ""), machine_id)


def instance_of(container: Listed | DockerContainer, dialect: Dialect = DOCKER) -> Instance:
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
    named = _named(labels, container["Ports"] or ())
    is_cut_off = status in {Status.RUNNING, Status.PAUSED} and _is_cut_off(networks, ports, dialect)
    is_lost = status is Status.RUNNING and not ports and _is_lost(networks, dialect)
    return Instance(
        id=machine_id,
        owner=labels.get(f"{LABEL}.owner", ""),
        pool=labels.get(f"{LABEL}.pool", ""),
        template=labels.get(f"{LABEL}.template", ""),
        status=status,
        native_id=container["Id"],
        address=next((address for net in (networks or {}).values() if (address := _address(net))), None),
        port=named[0][1] if named else ports[0] if ports else None,
        killed=code is not None and int(code.group(1)) == _SIGKILL,
        detail=reasons.exited(int(code.group(1))) if code is not None else "",
        trouble=_LOST.format(name) if is_lost else _trouble(status, name, container, dialect, is_cut_off=is_cut_off),
        renamed="" if name == machine_id else name,
        ports=named,
        is_configurable=LATE_DIR in labels or LATE_POST in labels,
        is_cut_off=is_cut_off,
        needs_restart=is_lost,
    )


def _named(labels: Mapping[str, str], ports: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, int], ...]:
    """The host ports by name, as the label of a container says which is which; empty unless each has its own."""
    if PORTS not in labels:
        return ()
    published = {str(port.get("PrivatePort")): port["PublicPort"] for port in ports if "PublicPort" in port}
    pairs = [pair.partition("=") for pair in labels[PORTS].split()]
    found = {name: published[port] for name, _, port in pairs if port in published}
    return tuple(found.items()) if len(set(found.values())) == len(pairs) else ()


def _address(network: Mapping[str, Any] | None) -> str | None:
    return network.get("IPAddress") if network else None


def _is_cut_off(networks: Mapping[str, Any] | None, ports: Sequence[int], dialect: Dialect) -> bool:
    """Whether it is on no network. Podman goes on naming its ports, and shows a made-up network of what was paused then."""
    if not dialect.isolates_by_network:
        return networks == {} and not ports
    return all(name == net.get("NetworkID") == _MADE_UP and not _address(net) for name, net in (networks or {}).items())


def _is_lost(networks: Mapping[str, Any] | None, dialect: Dialect) -> bool:
    """Whether Docker names a network and has led nothing to it.

    So Docker 28 shows a container that was just starting when dockerd was killed, and, for a moment, each one that ends.
    """
    if dialect.isolates_by_network or not networks:
        return False
    return not any(map(_address, networks.values()))


def _trouble(
    status: Status, name: str, container: Listed | DockerContainer, dialect: Dialect, *, is_cut_off: bool
) -> str:
    """What somebody did to a container that has not ended, and how to put it right."""
    command = dialect.command
    connect = ""
    if is_cut_off:
        mode = (
            container["Labels"].get(NETWORK) or container["HostConfig"]["NetworkMode"]
        )  # Podman's list lacks the latter
        connect = f"{command} network connect {mode} {name}"
    if status is Status.PAUSED and is_cut_off and dialect.isolates_by_network:
        return (  # it would lose its host port for good the other way round
            f"The container is paused and was disconnected from its network, so it cannot be reached. Run `{connect}`, and "
            f"only then `{command} unpause {name}`."
        )
    if status is Status.PAUSED:
        return f"The container is paused, so nothing in it answers. Run `{command} unpause {name}` to continue it."
    if is_cut_off:
        return f"The container was disconnected from its network, so it cannot be reached. Run `{connect}` to reconnect it."
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
