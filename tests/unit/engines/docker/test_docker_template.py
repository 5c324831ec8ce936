"""The body of Docker's create call: what is in it by default, what each setting adds, and that all of it counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest

from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.docker.template import DockerOptions, Template, make_template
from worker_orchestrator.errors import EngineRejected

IMAGE: Mapping[str, Any] = {"Id": "sha256:abc", "Config": {"ExposedPorts": {"8080/tcp": {}}}}
ENGINE: Mapping[str, Any] = {
    "LoggingDriver": "json-file",
    "Runtimes": {"runc": {}, "runsc": {}},
    "NCPU": 4,
    "MemoryLimit": True,
    "CpuCfsQuota": True,
}
PLAIN = DockerOptions("image")
MACHINE = Machine("worker-1700000000000-abcdefghi", "default", "f00d", State.STARTING, 9093)
CHOSEN: Mapping[str, Any] = {
    "worker_port": 80,
    "env": {"A": "b"},
    "publish_addresses": ("127.0.0.1", "::1"),
    "outbound": "host",
    "memory": 2**29,
    "cpus": 1.5,
    "pids_limit": 100,
    "cap_drop": ("NET_RAW",),
    "allow_sudo": True,
    "read_only": True,
    "user": "web",
    "runtime": "runsc",
    "log_limit": 3_000_000,
}
"""Another value of every option that makes another worker."""


def template(options: DockerOptions = PLAIN, **engine: Any) -> Template:
    return make_template(options, IMAGE, "net", {**ENGINE, **engine})


def host_config(options: DockerOptions = PLAIN, **engine: Any) -> Any:
    return template(options, **engine).create_body("owner", MACHINE)["HostConfig"]


def test_nothing_is_mounted_added_or_privileged_whatever_is_chosen() -> None:
    every = replace(PLAIN, **CHOSEN)
    for body in (host_config(), host_config(every)):
        assert not {"Binds", "Mounts", "Volumes", "VolumesFrom", "CapAdd", "Privileged", "Devices", "PidMode"} & set(
            body
        )
    assert set(host_config()) == {"NetworkMode", "ExtraHosts", "Init", "SecurityOpt", "PortBindings"}
    assert host_config()["SecurityOpt"] == ["no-new-privileges"]


@pytest.mark.parametrize("name", CHOSEN)
def test_every_option_that_changes_a_worker_changes_the_template(name: str) -> None:
    assert template(replace(PLAIN, **{name: CHOSEN[name]})).fingerprint != template().fingerprint


def test_no_option_is_forgotten_here() -> None:
    """`image` and `network` count as what they were resolved to; `ready` is a matter of who asks."""
    assert set(CHOSEN) == {field.name for field in fields(DockerOptions)} - {
        "image",
        "network",
        "ready",
        "ready_path",
        "advertise_host",
    }


def test_the_image_and_the_network_count_and_the_machine_does_not() -> None:
    same = make_template(PLAIN, IMAGE, "net", ENGINE)
    assert same.fingerprint == template().fingerprint
    assert make_template(PLAIN, {**IMAGE, "Id": "sha256:def"}, "net", ENGINE).fingerprint != same.fingerprint
    assert make_template(PLAIN, IMAGE, "other", ENGINE).fingerprint != same.fingerprint
    assert make_template(replace(PLAIN, ready="tcp"), IMAGE, "net", ENGINE).fingerprint == same.fingerprint
    backwards = replace(PLAIN, env={"B": "1", "A": "2"})
    assert template(backwards).fingerprint == template(replace(PLAIN, env={"A": "2", "B": "1"})).fingerprint


def test_a_machine_brings_its_labels_and_its_port() -> None:
    body = template(replace(PLAIN, publish_addresses=("127.0.0.1", "::1"))).create_body("owner", MACHINE)
    ports = [{"HostIp": "127.0.0.1", "HostPort": "9093"}, {"HostIp": "::1", "HostPort": "9093"}]
    assert body["HostConfig"]["PortBindings"] == {"8080/tcp": ports}
    assert body["Labels"] == {
        "worker-orchestrator.owner": "owner",
        "worker-orchestrator.machine": MACHINE.id,
        "worker-orchestrator.pool": "default",
        "worker-orchestrator.template": "f00d",
        "worker-orchestrator.published": "127.0.0.1 ::1",
        "worker-orchestrator.advertised": "localhost",
    }


def test_bounds_are_told_in_dockers_units() -> None:
    held = host_config(replace(PLAIN, memory=2**29, cpus=1.5, pids_limit=100))
    assert (held["Memory"], held["MemorySwap"], held["NanoCpus"], held["PidsLimit"]) == (
        2**29,
        2**29,
        1_500_000_000,
        100,
    )


def test_a_read_only_worker_has_a_tmp() -> None:
    held = host_config(replace(PLAIN, read_only=True))
    assert held["ReadonlyRootfs"] is True
    assert held["Tmpfs"] == {"/tmp": "rw,exec,nosuid,nodev,mode=1777"}


@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_logs_that_docker_keeps_in_files_are_limited(driver: str) -> None:
    limited = host_config(replace(PLAIN, log_limit=3_000_000), LoggingDriver=driver)
    assert limited["LogConfig"] == {"Type": driver, "Config": {"max-size": "1000000", "max-file": "3"}}


@pytest.mark.parametrize("driver", ["journald", "none", "awslogs", "", None])
def test_logs_that_go_elsewhere_are_left_alone(driver: str | None) -> None:
    assert "LogConfig" not in host_config(replace(PLAIN, log_limit=3_000_000), LoggingDriver=driver)


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
        ({"cpus": 1.0}, {"CpuCfsQuota": False}, "The engine cannot enforce --cpus: its cgroups lack it."),
        ({"memory": 2**29}, {"MemoryLimit": False}, "The engine cannot enforce --memory: its cgroups lack it."),
    ],
)
def test_what_the_engine_cannot_do_is_refused(options: dict[str, Any], engine: dict[str, Any], said: str) -> None:
    """A bound that is not kept is worse than none."""
    with pytest.raises(EngineRejected) as refused:
        template(replace(PLAIN, **options), **engine)
    assert refused.value.message.startswith(said)


def test_an_engine_that_does_not_say_what_it_can_is_trusted() -> None:
    assert make_template(replace(PLAIN, memory=2**29, cpus=1.0), IMAGE, "net", {}).fingerprint


# what is known of an image before anything is started


def of_image(options: DockerOptions = PLAIN, **config: Any) -> Template:
    return make_template(options, {"Id": "sha256:abc", "Config": config}, "net", ENGINE)


@pytest.mark.parametrize(
    "config", [{}, {"Healthcheck": None}, {"Healthcheck": {}}, {"Healthcheck": {"Test": ["NONE"]}}]
)
def test_an_image_without_the_healthcheck_that_is_asked_for_is_refused(config: Mapping[str, Any]) -> None:
    """No worker of it could ever be ready. Without that setting it will do."""
    with pytest.raises(EngineRejected, match=r"image has no HEALTHCHECK, but --ready is healthcheck: .* --ready http"):
        of_image(replace(PLAIN, ready="healthcheck"), **config)
    assert of_image(**config).port == 9092
    assert of_image(replace(PLAIN, ready="healthcheck"), Healthcheck={"Test": ["CMD", "true"]}).port == 9092


def test_an_image_that_says_it_runs_nothing_is_refused() -> None:
    """One of an engine that leaves out what is empty is tried."""
    with pytest.raises(EngineRejected, match="does not say what to run"):
        of_image(Cmd=None, Entrypoint=None)
    assert of_image(Cmd=["sh"], Entrypoint=None).port == 9092
    assert of_image(Cmd=None, Entrypoint=["sh"]).port == 9092


def test_an_engine_of_other_containers_is_refused() -> None:
    with pytest.raises(EngineRejected, match="runs windows containers"):
        template(OSType="windows")
    assert template(OSType="linux").port == 8080


def test_labels_of_other_tools_are_empty_and_those_of_an_image_without_any_cost_no_roll_out() -> None:
    """Compose and others remove what bears a label of theirs, be it from the image. A container cannot be without it."""
    labels = {"com.docker.compose.project": "shop", "org.testcontainers": "true", "maintainer": "me"}
    labelled = {**IMAGE, "Config": {**IMAGE["Config"], "Labels": labels}}
    body = make_template(PLAIN, labelled, "net", ENGINE).create_body("owner", MACHINE)
    assert (body["Labels"]["com.docker.compose.project"], body["Labels"]["org.testcontainers"]) == ("", "")
    assert "maintainer" not in body["Labels"]
    assert body["Labels"]["worker-orchestrator.machine"] == MACHINE.id
    unlabelled = {**IMAGE, "Config": {**IMAGE["Config"], "Labels": {"maintainer": "me"}}}
    assert make_template(PLAIN, unlabelled, "net", ENGINE).fingerprint == template().fingerprint
