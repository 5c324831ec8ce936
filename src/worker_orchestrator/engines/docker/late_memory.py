"""The folder in memory in which a worker takes values, in the body of Docker's create call. No I/O.

It ends with the run of its container: a stop empties it, a new start has a new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker_orchestrator.engines.docker.dialect import Dialect
from worker_orchestrator.engines.late_archive import ROOM_BYTES, Owner

__all__ = ["add_memory", "labelled_mounts", "owned_memory"]


def add_memory(host_config: dict[str, Any], folder: str, dialect: Dialect) -> None:
    """The folder for values: a file system in memory that archives reach, and that ends with the run of its container.

    Docker's archives reach volumes only. An anonymous one is removed with its container. In Podman's the folder of the image
    must not be copied into the memory, for what an archive writes while the container does not run would come along.
    """
    if not folder:
        return
    size = f"size={ROOM_BYTES}"
    if dialect.archives_reach_memory:
        in_memory = {folder: f"rw,exec,nosuid,nodev,mode=0755,{size},notmpcopyup"}
        host_config["Tmpfs"] = {**host_config.get("Tmpfs", {}), **in_memory}
        return
    asked = {"type": "tmpfs", "device": "tmpfs", "o": f"{size},nr_inodes=8192,mode=0755,nosuid,nodev"}
    volume = {"NoCopy": True, "DriverConfig": {"Name": "local", "Options": asked}}
    host_config["Mounts"] = [{"Type": "volume", "Target": folder, "VolumeOptions": volume}]


def labelled_mounts(host_config: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """The volumes with whose they are: somebody may remove a container without its volumes."""
    if "Mounts" not in host_config:
        return {}
    mounts = host_config["Mounts"]
    return {"Mounts": [{**one, "VolumeOptions": {**one["VolumeOptions"], "Labels": labels}} for one in mounts]}


def owned_memory(body: Mapping[str, Any], owner: Owner, label: str) -> dict[str, Any]:
    """A create call whose folder for values is this user's, and that says so. Else it is root's, and only the engine writes.

    Machines of one template may differ in that: the number of a user by name is known only when one of them was made.
    """
    mounts = [{**one, "VolumeOptions": _owned(one["VolumeOptions"], owner)} for one in body["HostConfig"]["Mounts"]]
    return {
        **body,
        "Labels": {**body["Labels"], label: "true"},
        "HostConfig": {**body["HostConfig"], "Mounts": mounts},
    }


def _owned(volume: Mapping[str, Any], owner: Owner) -> dict[str, Any]:
    driver = volume["DriverConfig"]
    asked = {**driver["Options"], "o": f"{driver['Options']['o']},uid={owner[0]},gid={owner[1]}"}
    return {**volume, "DriverConfig": {**driver, "Options": asked}}
