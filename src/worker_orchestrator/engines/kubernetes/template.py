"""What a worker's pod is made of and what it may do. No I/O.

A machine is one bare pod that is never restarted. Its labels carry only what never changes, and are short; its annotations
have the same in full. The fingerprint covers all of the pod but its own name and whose it is.
Source: https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.20/#pod-v1-core
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.engines.kubernetes.merging import KEYS, PREFIX, merged
from worker_orchestrator.engines.late_archive import ROOM_BYTES
from worker_orchestrator.errors import EngineRejected

__all__ = [
    "LATE_DIR", "MACHINE", "OWNER", "POOL", "PREFIX", "READY", "READY_PATH", "TEMPLATE", "WORKER", "Template", "dropped",
    "label_value", "make_template",
]  # fmt: skip

WORKER: Final = "worker"
"""The name of the worker's container in its pod."""
OWNER: Final = f"{PREFIX}owner"
MACHINE: Final = f"{PREFIX}machine"
POOL: Final = f"{PREFIX}pool"
TEMPLATE: Final = f"{PREFIX}template"
READY: Final = f"{PREFIX}ready"
READY_PATH: Final = f"{PREFIX}ready-path"
LATE_DIR: Final = f"{PREFIX}late-dir"
DEFAULT_PORT: Final = 9092
_FINGERPRINT_CHARS: Final = 16
_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_HASH_CHARS: Final = 32
_FOR_EVER: Final = [
    {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"},
    {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"},
]
"""A node that does not report for a while keeps its workers: a project's files are worth waiting for."""


@dataclass(frozen=True, slots=True)
class Template:
    """Everything that makes two workers of a pool alike, under its fingerprint."""

    fingerprint: str
    options: DockerOptions
    body: Mapping[str, Any]

    def pod(self, owner: str, machine: Machine, host_port: int | None = None) -> dict[str, Any]:
        """The pod of this machine, to be posted. `host_port`: of its node, which leads to the worker."""
        known = {OWNER: owner, MACHINE: machine.id, POOL: machine.pool, TEMPLATE: machine.template}
        asked = {READY: self.options.ready, READY_PATH: self.options.ready_path}
        if self.options.late_dir:
            asked[LATE_DIR] = self.options.late_dir
        metadata = self.body["metadata"]
        spec = self.body["spec"]
        return {
            **self.body,
            "spec": spec if host_port is None else _on_node(spec, _port(self.options), host_port),
            "metadata": {
                **metadata,
                "name": machine.id,
                "labels": {**metadata["labels"], **{key: label_value(value) for key, value in known.items()}},
                "annotations": {**metadata["annotations"], **known, **asked},
            },
        }


def _on_node(spec: Mapping[str, Any], worker_port: int, host_port: int) -> dict[str, Any]:
    """The spec of a pod whose worker is also reached at this port of its node."""
    containers = [
        each
        if each["name"] != WORKER
        else {
            **each,
            "ports": [
                {**port, "hostPort": host_port} if port.get("containerPort") == worker_port else port
                for port in each["ports"]
            ],
        }
        for each in spec["containers"]
    ]
    return {**spec, "containers": containers}


def label_value(text: str) -> str:
    """The text if it may be a label's value, else a hash of it: labels have at most 63 characters of a few kinds."""
    return text if _LABEL.fullmatch(text) else hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARS]


def make_template(options: DockerOptions, *, on_nodes: bool = False) -> Template:
    """The template of a pool with these options; `on_nodes`: its workers are reached at ports of their nodes.

    Raises EngineRejected if its `pod_template` does not go with them.
    """
    body = merged(_own(options), options.pod_template or {})
    made_of = json.dumps([body, "node"] if on_nodes else body, sort_keys=True)
    fingerprint = hashlib.sha256(made_of.encode()).hexdigest()[:_FINGERPRINT_CHARS]
    return Template(fingerprint, options, body)


def dropped(sent: Any, kept: Any, path: str = "") -> str:
    """The place of something in what was sent that is not in what the server made of it; empty if all of it is.

    Old servers drop what they do not know. They also leave out what is empty or false, which says nothing.
    """
    if isinstance(sent, Mapping):
        for key, value in sent.items():
            where = f"{path}.{key}" if path else str(key)
            if value and not (isinstance(kept, Mapping) and key in kept):
                return where
            if value and (lost := dropped(value, kept[key], where)):
                return lost
    elif isinstance(sent, list) and isinstance(kept, list):
        key = KEYS.get(path.rpartition(".")[2])
        for place, one in enumerate(sent):
            where = f"{path}[]"
            other = _counterpart(one, kept, place, key)
            if other is None:
                return where
            if lost := dropped(one, other, where):
                return lost
    return ""


def _counterpart(sent: Any, kept: list[Any], place: int, key: str | None) -> Any:
    """What became of an entry of a list: by its key, since a webhook may have put others before it, else by its place."""
    if key is not None and isinstance(sent, Mapping) and key in sent:
        return next((one for one in kept if isinstance(one, Mapping) and one.get(key) == sent[key]), None)
    return kept[place] if place < len(kept) else None


def _own(options: DockerOptions) -> dict[str, Any]:
    """What the settings say without a `pod_template`."""
    container: dict[str, Any] = {
        "name": WORKER,
        "image": options.image,
        "env": [{"name": name, "value": escaped(value)} for name, value in sorted((options.env or {}).items())],
        "ports": [{"containerPort": _port(options), "protocol": "TCP"}],
        "securityContext": _rights(options),
    }
    if limits := _limits(options):
        container["resources"] = {"limits": limits}
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "tolerations": [dict(each) for each in _FOR_EVER],
        "containers": [container],
    }
    if options.read_only:
        container["volumeMounts"] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 # its own
        spec["volumes"] = [{"name": "tmp", "emptyDir": {"medium": "Memory"}}]
    add_memory(spec, container, options.late_dir)
    if options.runtime:
        spec["runtimeClassName"] = options.runtime
    metadata = {"labels": {"app.kubernetes.io/managed-by": "worker-orchestrator"}, "annotations": {}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def add_memory(spec: dict[str, Any], container: dict[str, Any], folder: str) -> None:
    """The folder for a project's values, if there is to be one: a file system in memory, which goes with the pod."""
    if folder:
        volume = {"name": "late", "emptyDir": {"medium": "Memory", "sizeLimit": str(ROOM_BYTES)}}
        spec["volumes"] = [*spec.get("volumes", ()), volume]
        container["volumeMounts"] = [*container.get("volumeMounts", ()), {"name": "late", "mountPath": folder}]


def escaped(value: str) -> str:
    """A value that a worker gets as it is: of two `$` the kubelet makes one, and `$(NAME)` it replaces."""
    return value.replace("$", "$$")


def _port(options: DockerOptions) -> int:
    """An image cannot be asked here, so a worker whose port is not set has the one of the settings' documentation."""
    return options.worker_port or DEFAULT_PORT


def _limits(options: DockerOptions) -> dict[str, str]:
    limits = {"memory": str(options.memory)} if options.memory else {}
    return limits | ({"cpu": f"{round(options.cpus * 1000)}m"} if options.cpus else {})


def _rights(options: DockerOptions) -> dict[str, Any]:
    """What a worker's processes may do, as on Docker. Raises EngineRejected for a user by name."""
    rights: dict[str, Any] = {"allowPrivilegeEscalation": options.allow_sudo}
    if options.cap_drop:
        rights["capabilities"] = {"drop": list(options.cap_drop)}
    if options.read_only:
        rights["readOnlyRootFilesystem"] = True
    if options.user:
        numbers = re.fullmatch(r"(\d{1,10})(?::(\d{1,10}))?", options.user, re.ASCII)
        if numbers is None:
            raise EngineRejected(
                f"Kubernetes takes a worker's user as a number only, but --user is {options.user}. Give it, such as 1000."
            )
        rights["runAsUser"] = int(numbers[1])
        if numbers[2]:
            rights["runAsGroup"] = int(numbers[2])
    return rights
