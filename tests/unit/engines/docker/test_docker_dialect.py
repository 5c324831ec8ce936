"""An engine is known by what it says of itself. The answers are those of real engines, cut to what matters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker_orchestrator.engines.docker.dialect import DOCKER, Dialect

DOCKER_20: Mapping[str, Any] = {
    "ID": "ABCD:EFGH",
    "Name": "host",
    "ServerVersion": "20.10.24+dfsg1",
    "CgroupVersion": "1",
    "CgroupDriver": "cgroupfs",
    "DockerRootDir": "/var/lib/docker",
    "LoggingDriver": "json-file",
    "SecurityOptions": ["name=seccomp,profile=default"],
    "DriverStatus": [["Backing Filesystem", "extfs"]],
}
DOCKER_28: Mapping[str, Any] = {
    **DOCKER_20,
    "ServerVersion": "28.5.2",
    "CgroupVersion": "2",
    "CgroupDriver": "systemd",
    "SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless", "name=userns", "name=cgroupns"],
    "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
}
PODMAN: Mapping[str, Any] = {
    "ID": "19ec7a2d-c58a-4a68-a9a1-9387ed4e235b",
    "Name": "host",
    "ServerVersion": "5.8.6",
    "BuildahVersion": "1.43.2",
    "CgroupVersion": "2",
    "DefaultRuntime": "crun",
    "DockerRootDir": "/var/lib/containers/storage",
    "LoggingDriver": "",
    "Rootless": False,
    "SecurityOptions": ["name=seccomp,profile=default"],
}


def test_docker_is_what_it_says() -> None:
    old, new = Dialect.of(DOCKER_20), Dialect.of(DOCKER_28)
    assert (str(old), old.number, old.cgroups) == ("Docker 20.10.24+dfsg1", (20, 10), 1)
    assert (str(new), new.number, new.cgroups) == ("Docker 28.5.2", (28, 5), 2)
    said = ("is_rootless", "has_user_namespaces", "has_containerd_store", "has_systemd_cgroups")
    assert [getattr(old, name) for name in said] == [False] * 4
    assert [getattr(new, name) for name in said] == [True] * 4
    assert (old.identity, old.command, old.log_files) == ("ABCD:EFGH", "docker", 3)


def test_podman_is_known_by_buildah_and_by_where_it_keeps_its_data() -> None:
    """Its id is another one at each call. A rootless one on the same computer keeps its data elsewhere."""
    podman = Dialect.of(PODMAN)
    assert (str(podman), podman.command, podman.log_files) == ("Podman 5.8.6", "podman", 1)
    assert Dialect.of({**PODMAN, "ID": "another"}).identity == podman.identity
    rootless = Dialect.of({**PODMAN, "Rootless": True, "DockerRootDir": "/home/me/.local/share/containers/storage"})
    assert rootless.is_rootless
    assert rootless.identity != podman.identity


def test_what_follows_differs_only_where_podman_differs() -> None:
    podman = Dialect.of(PODMAN)
    follows = ("isolates_by_network", "checks_health_by_systemd", "removes_slowly", "sizes_terminals_late")
    follows_not = ("answers_on_ipv6", "takes_runtime", "keeps_bridges")
    assert all(getattr(podman, name) and not getattr(DOCKER, name) for name in follows)
    assert all(getattr(DOCKER, name) and not getattr(podman, name) for name in follows_not)


def test_programs_wait_for_values_where_archives_are_slow_and_users_are_not_mapped() -> None:
    """Docker 24 is the first that does not start itself anew for an archive. What says no version is taken for a new one."""
    assert Dialect.of(DOCKER_20).takes_feeds
    assert Dialect.of({**DOCKER_20, "ServerVersion": "23.0.6"}).takes_feeds
    for version in ("24.0.0", "28.5.2", "", "dev"):
        assert not Dialect.of({**DOCKER_20, "ServerVersion": version}).takes_feeds
    for option in ("name=rootless", "name=userns"):
        assert not Dialect.of({**DOCKER_20, "SecurityOptions": [option]}).takes_feeds
    assert not Dialect.of({**PODMAN, "ServerVersion": "5.8.6"}).takes_feeds


def test_an_engine_that_says_little_is_taken_for_docker() -> None:
    assert Dialect.of({}) == Dialect()
