"""Translates pods into instances. No I/O.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from worker_orchestrator.core import reasons
from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.engines.kubernetes.template import LATE_DIR, MACHINE, OWNER, POOL, TEMPLATE, WORKER
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["host_port_of", "instance_of", "is_copy", "is_lost", "labels_of", "port_of"]

_SIGKILL: Final = 137
_HOPELESS: Final = frozenset({
    "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "RegistryUnavailable",
    "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff",
})  # fmt: skip
"""Why the kubelet does not start a container, though it says that it waits."""
_NO_ROOM: Final = (
    "OutOf",
    "NodeAffinity",
    "NodePorts",
    "UnexpectedAdmissionError",
    "NodeShutdown",
    "Terminated",
    "Shutdown",
)
"""How the reason begins for which a kubelet took a pod that was given to it not at all."""


def labels_of(pod: Mapping[str, Any]) -> Mapping[str, str]:
    """What its annotations and labels say of it: annotations have in full what labels may have as a hash."""
    metadata = pod["metadata"]
    return {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}


def is_copy(pod: Mapping[str, Any]) -> bool:
    """Whether somebody made it of one of ours, labels included, as `kubectl debug --copy-to` does.

    Ours have the name of their machine.
    """
    return bool(pod["metadata"]["name"] != labels_of(pod).get(MACHINE))


def is_lost(pod: Mapping[str, Any]) -> bool:
    """Whether its node does not report any more, so that nobody knows whether it runs.

    Then the node's controller says that the pod is not ready, though its containers were when they were last seen.
    """
    status = pod.get("status") or {}
    if status.get("phase") == "Unknown" or status.get("reason") == "NodeLost":
        return True
    ready, containers = _condition(status, "Ready"), _condition(status, "ContainersReady")
    return (
        status.get("phase") == "Running"
        and ready.get("status") in {"False", "Unknown"}
        and containers.get("status") == "True"
        and ready.get("reason") != "ReadinessGatesNotReady"
    )


def instance_of(pod: Mapping[str, Any], lost_since: float | None = None) -> Instance:
    """The instance of a pod with our label. `lost_since`: since when (loop time) its node has not reported, if so."""
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    known = labels_of(pod)
    told = _status_of(metadata, status, is_lost=lost_since is not None)
    # Once it has ended, its node may give the address to another pod.
    has_address = told["status"] in {Status.RUNNING, Status.UNKNOWN, Status.TERMINATING}
    host_port = host_port_of(spec)
    address = (status.get("hostIP" if host_port else "podIP") or None) if has_address else None
    return Instance(
        id=known[MACHINE],
        owner=known.get(OWNER, ""),
        pool=known.get(POOL, ""),
        template=known.get(TEMPLATE, ""),
        native_id=metadata["uid"],
        address=address,
        host=address or "",
        port=(host_port or port_of(spec)) if address else None,
        is_configurable=LATE_DIR in known,
        unreachable_since=lost_since if told["status"] is Status.UNKNOWN else None,
        **told,
    )


def port_of(spec: Mapping[str, Any]) -> int | None:
    """The worker's port, by the spec of its pod."""
    return _first_port(spec, "containerPort")


def host_port_of(spec: Mapping[str, Any]) -> int | None:
    """The port of its node that leads to the worker, by the spec of its pod; None without."""
    return _first_port(spec, "hostPort")


def _first_port(spec: Mapping[str, Any], kind: str) -> int | None:
    workers = [each for each in spec.get("containers") or () if each.get("name") == WORKER]
    return next((int(port[kind]) for each in workers for port in each.get("ports") or () if port.get(kind)), None)


def _status_of(metadata: Mapping[str, Any], status: Mapping[str, Any], *, is_lost: bool) -> dict[str, Any]:
    """What of an instance follows from the status of its pod."""
    phase, reason = status.get("phase"), str(status.get("reason") or "")
    if metadata.get("deletionTimestamp"):
        return {"status": Status.TERMINATING}
    if is_lost:
        return {"status": Status.UNKNOWN}
    worker = _worker_of(status)
    state = worker.get("state") or {}
    if phase == "Failed" and reason.startswith(_NO_ROOM) and "terminated" not in state:
        return {
            "status": Status.PENDING,
            "unplaced": _said(f"The node did not take it ({reason})", status.get("message")),
        }
    if "terminated" in state:
        return _ended(state["terminated"], status)
    if phase in {"Failed", "Succeeded"}:
        said = f"The pod ended ({reason})" if reason else "The pod ended before its worker ran"
        return {"status": Status.EXITED, "killed": bool(reason), "detail": _said(said, _why(status))}
    if "running" in state:  # whatever containers beside it do
        return {"status": Status.RUNNING}
    waits = _waiting(status)
    if waits is not None:
        why = f"The kubelet does not start it ({plain(waits.get('reason'), 60)})"
        return {"status": Status.EXITED, "detail": _said(why, waits.get("message"))}
    return {"status": Status.PENDING, "unplaced": _unplaced(status)}


def _ended(ended: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
    """How the worker's container ended."""
    code = int(ended.get("exitCode") or 0)
    if reason := str(status.get("reason") or ""):  # as when it was evicted
        return {
            "status": Status.EXITED,
            "killed": True,
            "detail": _said(f"The pod ended ({reason})", status.get("message")),
        }
    if ended.get("reason") == "OOMKilled":
        return {"status": Status.EXITED, "out_of_memory": True, "detail": reasons.out_of_memory(code)}
    if ended.get("reason") in {"ContainerCannotRun", "StartError"}:
        return {"status": Status.EXITED, "detail": _said("Its container cannot run", ended.get("message"))}
    if code == _SIGKILL:
        return {"status": Status.EXITED, "killed": True, "detail": reasons.killed(code)}
    return {"status": Status.EXITED, "detail": reasons.exited(code)}


def _worker_of(status: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((each for each in status.get("containerStatuses") or () if each.get("name") == WORKER), {})


def _waiting(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Why a container of it will not come up, in the kubelet's words; None if it may."""
    every = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    waiting = [(each.get("state") or {}).get("waiting") or {} for each in every]
    return next((each for each in waiting if each.get("reason") in _HOPELESS), None)


def _why(status: Mapping[str, Any]) -> str:
    """What the pod says itself, else how a container that prepares it ended."""
    if status.get("message"):
        return str(status["message"])
    for each in status.get("initContainerStatuses") or ():
        ended = (each.get("state") or {}).get("terminated") or {}
        if ended.get("exitCode"):
            return f"{each.get('name')} exited with code {ended['exitCode']}"
    return ""


def _unplaced(status: Mapping[str, Any]) -> str:
    """Why no node has room for it; empty if one has, or will soon, since others are removed for it."""
    scheduled = _condition(status, "PodScheduled")
    if (
        scheduled.get("status") != "False"
        or scheduled.get("reason") != "Unschedulable"
        or status.get("nominatedNodeName")
    ):
        return ""
    return _said("No node has room for it", scheduled.get("message"))


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((each for each in status.get("conditions") or () if each.get("type") == kind), {})


def _said(what: str, words: Any) -> str:
    """A sentence, with the words of others if there are any."""
    said = plain(words or "")
    return reasons.sentence(f"{what}: {said}" if said else what)
