"""What an engine cannot keep is refused before anything is started, with what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from worker_orchestrator.engines.docker.dialect import Dialect
from worker_orchestrator.engines.docker.promises import EngineHost, has_health_check, refuse_unkept, why_not_parked
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.errors import EngineRejected

DOCKER: Mapping[str, Any] = {
    "ID": "1",
    "Runtimes": {"runc": {}, "runsc": {}},
    "NCPU": 4,
    "MemoryLimit": True,
    "CpuCfsQuota": True,
    "PidsLimit": True,
}
PODMAN: Mapping[str, Any] = {**DOCKER, "BuildahVersion": "1.43.2", "ServerVersion": "5.8.6", "DefaultRuntime": "crun"}
ROOTLESS: Mapping[str, Any] = {"SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"]}
PLAIN = DockerOptions("image")
NO_SYSTEMD = EngineHost(may_have_systemd=False)
IPTABLES = EngineHost(firewall_driver="iptables")


def refusal(options: Mapping[str, Any], info: Mapping[str, Any], host: EngineHost = EngineHost()) -> str:  # noqa: B008
    """What is said; empty where nothing is refused."""
    try:
        addresses = options.get("publish_addresses", ())
        of_pool = {name: value for name, value in options.items() if name != "publish_addresses"}
        refuse_unkept(replace(PLAIN, **of_pool), Dialect.of(info), info, host, addresses)
    except EngineRejected as error:
        return error.message
    return ""


@pytest.mark.parametrize(
    ("options", "engine", "said"),
    [
        (
            {"runtime": "kata"},
            {},
            "The engine has no runtime kata (it has: runc, runsc). Install it, or choose another ",
        ),
        ({"runtime": "kata"}, {"Runtimes": None}, "The engine has no runtime kata (it has: none)."),
        ({"cpus": 4.5}, {}, "--cpus is 4.5, but the engine has only 4: choose less."),
        ({"cpus": 1.0}, {"CpuCfsQuota": False}, "The engine cannot enforce --cpus: its cgroups lack what that needs."),
        ({"memory": 2**29}, {"MemoryLimit": False}, "The engine cannot enforce --memory: its cgroups lack what"),
        ({"pids_limit": 9}, {"PidsLimit": False}, "The engine cannot enforce --pids-limit: its cgroups lack what"),
        ({"late_dir": "/run/p"}, {"Plugins": {"Volume": ["nfs"]}}, "The engine has no volumes of its driver local, in"),
        (
            {"late_post": "/p", "env": {"ORCHESTRATOR_TOKEN": "1"}},
            {},
            "--env sets ORCHESTRATOR_TOKEN, in which each worker gets a token of its own with --late-post: give yours",
        ),
        (
            {"parked": 1},
            {"CgroupDriver": "none"},
            "The engine cannot pause workers, as --parked needs it: it has no control",
        ),
        (
            {"parked": 1, "ready": "healthcheck"},
            {},
            "--parked is for workers that go on within milliseconds, but after a pause",
        ),
        ({}, {"OSType": "windows"}, "The engine runs windows containers: switch it to Linux containers."),
    ],
)
def test_what_docker_cannot_do_is_refused(options: dict[str, Any], engine: dict[str, Any], said: str) -> None:
    """A bound that is not kept is worse than none."""
    assert refusal(options, {**DOCKER, **engine}).startswith(said)


def test_a_rootless_engine_needs_its_cgroups_delegated() -> None:
    said = refusal({"memory": 2**29}, {**DOCKER, **ROOTLESS, "MemoryLimit": False})
    assert "a rootless engine needs them delegated to its user" in said


@pytest.mark.parametrize(
    "options", [{"memory": 2**29}, {"cpus": 1.0}, {"pids_limit": 9}], ids=lambda options: next(iter(options))
)
def test_limits_that_a_rootless_engine_only_seems_to_keep_are_refused(options: dict[str, Any]) -> None:
    """On cgroups version 1 Podman says that it can, and starts the container without them."""
    rootless = {**PODMAN, "SecurityOptions": ["name=rootless"]}
    assert "a rootless engine needs them delegated to its user" in refusal(options, {**rootless, "CgroupVersion": "1"})
    assert refusal(options, {**rootless, "CgroupVersion": "2"}) == ""
    assert refusal(options, {**PODMAN, "CgroupVersion": "1"}) == ""


@pytest.mark.parametrize(
    ("check", "has"),
    [(None, False), ({"Test": ["NONE"]}, False), ({"Test": []}, False), ({"Test": ["CMD", "true"]}, True)],
)
def test_workers_of_an_image_with_a_health_check_are_not_parked(check: Any, *, has: bool) -> None:
    """The engine would hang if it began one just as it pauses the container."""
    is_checked = has_health_check({"Config": {"Healthcheck": check}})
    assert is_checked is has
    said = why_not_parked(PLAIN, Dialect.of(DOCKER), is_checked=is_checked)
    assert said.startswith("The image has a HEALTHCHECK." if has else "")
    assert bool(said) is has
    assert not has_health_check({})


@pytest.mark.parametrize("engine", [DOCKER, PODMAN])
def test_workers_that_a_rootless_engine_cannot_pause_are_not_parked(engine: dict[str, Any]) -> None:
    """On cgroups version 1 it refuses each pause."""
    rootless = {**engine, **ROOTLESS}
    said = refusal({"parked": 1}, {**rootless, "CgroupVersion": "1"})
    assert said.startswith("The engine cannot pause workers, as --parked needs it")
    assert said.endswith("which takes cgroups version 2 and systemd), or choose --parked 0.")
    assert refusal({}, {**rootless, "CgroupVersion": "1"}) == ""
    assert refusal({"parked": 1}, {**rootless, "CgroupVersion": "2", "CgroupDriver": "systemd"}) == ""
    assert refusal({"parked": 1}, {**engine, "CgroupVersion": "1", "CgroupDriver": "cgroupfs"}) == ""


@pytest.mark.parametrize("engine", [DOCKER, PODMAN])
def test_a_rootless_engine_cannot_leave_the_way_to_the_host_alone_open(engine: dict[str, Any]) -> None:
    said = refusal({"outbound": "host"}, {**engine, **ROOTLESS})
    assert said.startswith("A rootless engine leads workers to its host by the same way as to everybody else")
    assert refusal({"outbound": "host"}, engine) == ""


@pytest.mark.parametrize(
    ("options", "host", "said"),
    [
        (
            {"publish_addresses": ("127.0.0.1", "::1")},
            EngineHost(),
            "Podman accepts to publish on ::1, but nothing answers",
        ),
        ({"runtime": "runsc"}, EngineHost(), "Podman ignores --runtime, and would use crun: set `runtime = "),
        (
            {"ready": "healthcheck"},
            NO_SYSTEMD,
            "Podman lets systemd run the health checks of containers, and this host",
        ),
        ({}, IPTABLES, "Podman uses iptables here (by its containers.conf or by netavark's own choice), with"),
    ],
)
def test_what_podman_would_drop_without_a_word_is_refused(options: dict[str, Any], host: EngineHost, said: str) -> None:
    """Docker keeps all of it."""
    assert refusal(options, PODMAN, host).startswith(said)
    assert refusal(options, DOCKER, host) == ""


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (
            {**PODMAN, "ServerVersion": "4.3.1"},
            "Podman 4.3.1 cannot lead workers to its host: install Podman 4.7 or",
        ),
        (
            {**DOCKER, "ServerVersion": "19.03.15"},
            "Docker 19.03.15 cannot lead workers to its host: install Docker 20.10",
        ),
        ({**PODMAN, "ServerVersion": "4.7.0"}, ""),
        ({**DOCKER, "ServerVersion": "20.10.0"}, ""),
        (PODMAN, ""),
    ],
)
def test_an_engine_too_old_to_lead_workers_to_its_host_is_refused(engine: dict[str, Any], said: str) -> None:
    """Podman 4.3 would start them, with a word in /etc/hosts where the address should be."""
    found = refusal({"insecure_shared_network": True}, engine)
    assert found.startswith(said)
    assert bool(found) == bool(said)


@pytest.mark.parametrize(
    ("options", "host"),
    [
        ({"runtime": "crun"}, EngineHost()),
        ({"ready": "healthcheck"}, EngineHost()),
        ({"insecure_shared_network": True}, IPTABLES),
        ({"network": "mine"}, IPTABLES),
        ({}, NO_SYSTEMD),
    ],
)
def test_what_podman_keeps_is_not_refused(options: dict[str, Any], host: EngineHost) -> None:
    assert refusal(options, PODMAN, host) == ""


def test_an_engine_that_does_not_say_what_it_can_is_trusted() -> None:
    assert refusal({"memory": 2**29, "cpus": 1.0, "pids_limit": 9}, {}) == ""


@pytest.mark.parametrize("engine", [DOCKER, {**DOCKER, "Plugins": {"Volume": ["local"]}}, PODMAN])
def test_values_for_running_workers_are_kept_in_memory_everywhere(engine: Mapping[str, Any]) -> None:
    assert refusal({"late_dir": "/run/project", "late_post": "/configure", "env": {"A": "b"}}, engine) == ""


@pytest.mark.parametrize(
    ("engine", "addresses", "said"),
    [
        (PODMAN, (), "Podman keeps its networks where no proxy"),
        ({**DOCKER, **ROOTLESS}, (), "A rootless engine keeps its networks where no proxy"),
        (
            DOCKER,
            ("127.0.0.1", "192.0.2.1"),
            "Workers with --outbound of names have no way back to callers that reach them on 192",
        ),
        (DOCKER, ("127.0.0.1", "::1"), ""),
    ],
)
def test_names_need_a_proxy_on_the_host_and_workers_on_loopback(
    engine: Mapping[str, Any], addresses: tuple[str, ...], said: str
) -> None:
    found = refusal({"outbound": "names", "publish_addresses": addresses}, engine)
    assert found.startswith(said)
    assert bool(found) == bool(said)
