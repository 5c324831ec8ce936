"""Whether this process is on the network of Docker's host: only a clear no is told."""

from __future__ import annotations

import asyncio
import math
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiodocker
import pytest

from worker_orchestrator.engines.docker import own_container
from worker_orchestrator.engines.docker.connect import Endpoint
from worker_orchestrator.engines.docker.engine import DockerEngine
from worker_orchestrator.engines.docker.whereabouts import is_on_loopback, misplacement
from worker_orchestrator.errors import EngineRejected

OURS, THEIRS = "127.0.0.1", "203.0.113.1"
HERE = {"KernelVersion": os.uname().release, "OperatingSystem": "Debian", "SecurityOptions": ["name=seccomp"]}
SOCKET = Endpoint("unix:///var/run/docker.sock", "the standard socket")


def network(**config: str) -> dict[str, Any]:
    return {"Driver": "bridge", "IPAM": {"Config": [config]}}


def told(*networks: dict[str, Any], info: dict[str, Any] | None = None, endpoint: Endpoint = SOCKET) -> str:
    async def answer(value: Any) -> Any:
        return value

    async def unknown(_: str) -> Any:
        raise aiodocker.DockerError(404, "No such container")

    client = SimpleNamespace(
        containers=SimpleNamespace(get=unknown),
        system=SimpleNamespace(info=lambda: answer({**HERE, **(info or {})})),
        networks=SimpleNamespace(list=lambda: answer(list(networks))),
    )
    return asyncio.run(misplacement(cast("Any", client), endpoint))


@pytest.fixture(autouse=True)
def on_linux(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(own_container, "_MOUNTS", tmp_path / "mountinfo")
    monkeypatch.setattr(own_container, "_PODMAN", tmp_path / "containerenv")


@pytest.mark.parametrize(
    "theirs",
    [
        network(Gateway=THEIRS),
        network(Gateway=f"{THEIRS}/24"),
        network(Subnet="203.0.113.0/24"),
        network(Gateway="2001:db8::1"),
    ],
)
def test_where_no_bridge_of_dockers_has_an_address_of_ours_this_is_another_network(theirs: dict[str, Any]) -> None:
    assert "runs in another network namespace than Docker" in told(theirs)
    assert "nsenter" in told(theirs)
    assert told(theirs, network(Gateway=OURS)) == "", "one is enough"


def test_a_container_is_told_what_to_do(tmp_path: Path) -> None:
    mounted = f"36 35 98:0 /var/lib/docker/containers/{'0a' * 32}/hostname /etc/hostname rw - ext4 /dev/vda rw\n"
    (tmp_path / "mountinfo").write_text(mounted)
    assert "`docker run --network host`" in told(network(Gateway=THEIRS))
    (tmp_path / "mountinfo").unlink()
    (tmp_path / "containerenv").touch()
    assert "`docker run --network host`" in told(network(Gateway=THEIRS))


@pytest.mark.parametrize(
    "info",
    [
        {"KernelVersion": "5.10.0-another"},
        {"OperatingSystem": "Docker Desktop"},
        {"SecurityOptions": ["name=seccomp", "name=rootless"]},
    ],
)
def test_an_engine_that_brings_the_ports_here_in_its_own_way_proves_nothing(info: dict[str, Any]) -> None:
    assert told(network(Gateway=THEIRS), info=info) == ""


@pytest.mark.parametrize(
    "networks",
    [
        [],
        [{"Driver": "macvlan", "IPAM": {"Config": [{"Gateway": THEIRS}]}}],
        [{"Driver": "bridge", "IPAM": {"Config": None}}],
        [{"Driver": "bridge", "IPAM": None}],
        [network()],
    ],
)
def test_an_engine_without_bridges_proves_nothing(networks: list[dict[str, Any]]) -> None:
    assert told(*networks) == ""


def test_an_engine_elsewhere_is_reached_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(network(Gateway=THEIRS), endpoint=Endpoint("tcp://my-host:2375", "DOCKER_HOST")) == ""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert told(network(Gateway=THEIRS)) == ""


@pytest.mark.parametrize(
    ("address", "is_it"),
    [
        ("localhost", True), ("127.0.0.1", True), ("127.0.0.2", True), ("::1", True), ("0.0.0.0", True), ("::", True),
        ("192.0.2.7", False), ("2001:db8::7", False), ("my-host", False),
    ],
)  # fmt: skip
def test_what_is_published_elsewhere_is_asked_for_there(address: str, *, is_it: bool) -> None:
    assert is_on_loopback(address) is is_it


def test_a_host_that_runs_containers_is_none(tmp_path: Path) -> None:
    """What Docker mounts for a container is a mount point there, and no root of a mount."""
    shared = f"700 29 0:60 / /var/lib/docker/containers/{'a' * 64}/mounts/shm rw - tmpfs shm rw\n"
    (tmp_path / "mountinfo").write_text(shared)
    assert "runs in another network namespace" in told(network(Gateway=THEIRS))


def test_a_host_from_whose_container_files_are_copied_is_none(tmp_path: Path) -> None:
    """Docker 20.10 mounts there what it mounts in a container, for as long as that takes."""
    root, below = f"/var/lib/docker/containers/{'0a' * 32}", f"/var/lib/docker/overlay2/{'0b' * 32}/merged/etc"
    mounts = [f"51 50 254:0 {root}/{name} {below}/{name} rw - ext4 /dev/vda rw\n" for name in ("hosts", "hostname")]
    (tmp_path / "mountinfo").write_text("".join(mounts))
    assert "runs in another network namespace" in told(network(Gateway=THEIRS))


def test_of_podman_nothing_is_concluded() -> None:
    """Its bridges exist only while a container is on them."""
    assert told(network(Gateway=THEIRS), info={"BuildahVersion": "1.43.0"}) == ""


def test_many_workers_that_start_at_once_ask_docker_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def misplaced(*_: object) -> str:
        asked.append(1)
        await asyncio.sleep(0.01)
        return "another network"

    monkeypatch.setattr("worker_orchestrator.engines.docker.engine.misplacement", misplaced)

    async def story() -> list[str]:
        known = SimpleNamespace(_asks_bearings=asyncio.Lock(), _bearings=(-math.inf, ""), _client=None, _endpoint=None)
        return await asyncio.gather(
            *(DockerEngine._misplaced_for(cast("DockerEngine", known), "127.0.0.1") for _ in range(200))
        )

    assert set(asyncio.run(story())) == {"another network"}
    assert len(asked) == 1


def test_an_engine_that_does_not_say_takes_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker fails a listing of networks, for example, while one of them is being removed."""

    async def fails(*_: object) -> str:
        raise EngineRejected("Docker refused: the network was not found.")

    monkeypatch.setattr("worker_orchestrator.engines.docker.engine.misplacement", fails)

    async def story() -> str:
        known = SimpleNamespace(
            _asks_bearings=asyncio.Lock(), _bearings=(-math.inf, "another network"), _client=None, _endpoint=None
        )
        return await DockerEngine._misplaced_for(cast("DockerEngine", known), "127.0.0.1")

    assert asyncio.run(story()) == "another network"
