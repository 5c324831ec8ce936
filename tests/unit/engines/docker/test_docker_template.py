"""The body of Docker's create call: what is in it by default, what each setting adds, and that all of it counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest
from msgspec import structs

from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.docker.dialect import DOCKER, Dialect
from worker_orchestrator.engines.docker.template import (
    ON_LOOPBACK,
    DockerOptions,
    PublishOptions,
    Template,
    make_template,
)
from worker_orchestrator.errors import EngineRejected

IMAGE: Mapping[str, Any] = {"Id": "sha256:abc", "Config": {"ExposedPorts": {"8080/tcp": {}}}}
ENGINE: Mapping[str, Any] = {"LoggingDriver": "json-file"}
PLAIN = DockerOptions("image")
MACHINE = Machine("worker-1700000000000-abcdefghi", "default", "f00d", State.STARTING, 9093)
CHOSEN: Mapping[str, Any] = {
    "worker_port": 80,
    "env": {"A": "b"},
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
"""Another value of every option that makes another worker, but for `ports`, which stands in for `worker_port`."""
LATE: Mapping[str, Any] = {"late_dir": "/run/project", "late_post": "/configure"}
PORTS = (("http", 3000), ("hmr", 24678))


def template(options: DockerOptions = PLAIN, publish: PublishOptions = ON_LOOPBACK, **engine: Any) -> Template:
    return make_template(options, IMAGE, "net", Dialect.of({**ENGINE, **engine}), publish)


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


@pytest.mark.parametrize("name", [*CHOSEN, *LATE])
def test_every_option_that_changes_a_worker_changes_the_template(name: str) -> None:
    assert template(replace(PLAIN, **{name: {**CHOSEN, **LATE}[name]})).fingerprint != template().fingerprint


def test_no_option_is_forgotten_here() -> None:
    """`image` and the networks count as what they were resolved to; `ready` is a matter of who asks, and `parked` of when.

    So is the name of the host in URLs.
    """
    assert {*CHOSEN, *LATE, "ports"} == {field.name for field in fields(DockerOptions)} - {
        "image",
        "network",
        "insecure_shared_network",
        "ready",
        "ready_path",
        "ready_port",
        "parked",
        "pod_template",
    }


def test_the_image_and_the_network_count_and_the_machine_does_not() -> None:
    same = make_template(PLAIN, IMAGE, "net", DOCKER)
    assert same.fingerprint == template().fingerprint
    assert make_template(PLAIN, {**IMAGE, "Id": "sha256:def"}, "net", DOCKER).fingerprint != same.fingerprint
    assert make_template(PLAIN, IMAGE, "other", DOCKER).fingerprint != same.fingerprint
    assert make_template(replace(PLAIN, ready="tcp"), IMAGE, "net", DOCKER).fingerprint == same.fingerprint
    assert make_template(replace(PLAIN, parked=3), IMAGE, "net", DOCKER).fingerprint == same.fingerprint
    assert template(publish=PublishOptions(("127.0.0.1", "::1"))).fingerprint != same.fingerprint
    assert template(publish=PublishOptions(advertise_host="example.com")).fingerprint == same.fingerprint
    backwards = replace(PLAIN, env={"B": "1", "A": "2"})
    assert template(backwards).fingerprint == template(replace(PLAIN, env={"A": "2", "B": "1"})).fingerprint


def test_a_machine_brings_its_labels_and_its_port() -> None:
    body = template(publish=PublishOptions(("127.0.0.1", "::1"))).create_body("owner", MACHINE)
    ports = [{"HostIp": "127.0.0.1", "HostPort": "9093"}, {"HostIp": "::1", "HostPort": "9093"}]
    assert body["HostConfig"]["PortBindings"] == {"8080/tcp": ports}
    assert body["Labels"] == {
        "worker-orchestrator.owner": "owner",
        "worker-orchestrator.machine": MACHINE.id,
        "worker-orchestrator.pool": "default",
        "worker-orchestrator.template": "f00d",
        "worker-orchestrator.network": "net",
        "worker-orchestrator.published": "127.0.0.1 ::1",
        "worker-orchestrator.advertised": "localhost",
        "worker-orchestrator.ready": "http",
        "worker-orchestrator.ready-path": "/",
        "worker-orchestrator.outbound": "any",
    }


@pytest.mark.parametrize(
    ("options", "publish", "fingerprint"),
    [
        (PLAIN, ON_LOOPBACK, "91ab87b4cd1bad91"),
        (replace(PLAIN, **CHOSEN), PublishOptions(("127.0.0.1", "::1"), "example.com"), "5e2828b2e48bb909"),
        (replace(PLAIN, ready="tcp", ready_path="/ready", network="net"), ON_LOOPBACK, "91ab87b4cd1bad91"),
    ],
)
def test_a_newer_version_gives_the_same_fingerprint(
    options: DockerOptions, publish: PublishOptions, fingerprint: str
) -> None:
    """Else each upgrade of the service would replace every idle machine. These are older than pools."""
    assert template(options, publish).fingerprint == fingerprint


def test_each_named_port_is_exposed_and_published_on_all_addresses() -> None:
    made = template(replace(PLAIN, ports=PORTS, ready_port="hmr"), PublishOptions(("127.0.0.1", "::1")))
    assert (made.port, set(made.body["ExposedPorts"])) == (3000, {"3000/tcp", "24678/tcp"})
    body = made.create_body("owner", replace_ports(MACHINE, ("http", 9093), ("hmr", 9094)))
    assert body["HostConfig"]["PortBindings"] == {
        "3000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "9093"}, {"HostIp": "::1", "HostPort": "9093"}],
        "24678/tcp": [{"HostIp": "127.0.0.1", "HostPort": "9094"}, {"HostIp": "::1", "HostPort": "9094"}],
    }
    labels = body["Labels"]
    assert labels["worker-orchestrator.ports"] == "http=3000 hmr=24678"
    assert labels["worker-orchestrator.ready-port"] == "hmr"


@pytest.mark.parametrize("ports", [(), (("http", 9093), ("ws", 9094)), (("hmr", 9093), ("http", 9094))])
def test_a_machine_whose_ports_have_other_names_is_not_made(ports: tuple[tuple[str, int], ...]) -> None:
    made = template(replace(PLAIN, ports=PORTS))
    with pytest.raises(EngineRejected, match="other names than it was recorded with"):
        made.create_body("owner", replace_ports(MACHINE, *ports))


def replace_ports(machine: Machine, *ports: tuple[str, int]) -> Machine:
    return structs.replace(machine, ports=ports)


def test_names_and_numbers_and_order_of_ports_count() -> None:
    """A machine keeps the names that it was made with, and its URL is that of the first one. Who is asked does not count."""
    named = replace(PLAIN, ports=PORTS)
    others = (
        PLAIN,
        replace(PLAIN, worker_port=3000),
        replace(PLAIN, ports=PORTS[:1]),
        replace(PLAIN, ports=PORTS[::-1]),
        replace(PLAIN, ports=(PORTS[0], ("ws", 24678))),
        replace(PLAIN, ports=(PORTS[0], ("hmr", 24679))),
    )
    fingerprints = {template(options).fingerprint for options in (named, *others)}
    assert len(fingerprints) == 1 + len(others)
    assert template(replace(named, ready_port="hmr")).fingerprint == template(named).fingerprint


def test_named_ports_need_not_be_exposed_by_the_image_which_may_expose_any_others() -> None:
    image = {**IMAGE, "Config": {"ExposedPorts": {"80/tcp": {}, "81/tcp": {}}}}
    assert make_template(replace(PLAIN, ports=PORTS), image, "net", DOCKER).port == 3000
    with pytest.raises(EngineRejected) as refused:
        make_template(PLAIN, image, "net", DOCKER)
    assert refused.value.message == (
        "The image image exposes several ports (80, 81): say which with --worker-port, or name those that are to be reached "
        "with --ports."
    )


def test_bounds_are_told_in_dockers_units() -> None:
    held = host_config(replace(PLAIN, memory=2**29, cpus=1.5, pids_limit=100))
    assert (held["Memory"], held["MemorySwap"], held["NanoCpus"], held["PidsLimit"]) == (
        2**29,
        2**29,
        1_500_000_000,
        100,
    )


def test_no_limit_of_processes_is_asked_for_where_the_engine_would_set_one_itself() -> None:
    """Podman takes silence for 2,048. On Docker silence is enough, and workers that run have been made so."""
    made = make_template(PLAIN, IMAGE, "net", Dialect(name="Podman", version="5.4.2"))
    assert made.body["HostConfig"]["PidsLimit"] == 0
    assert "PidsLimit" not in host_config(PLAIN)


def test_a_read_only_worker_has_a_tmp() -> None:
    held = host_config(replace(PLAIN, read_only=True))
    assert held["ReadonlyRootfs"] is True
    assert held["Tmpfs"] == {"/tmp": "rw,exec,nosuid,nodev,mode=1777"}
    podman = host_config(replace(PLAIN, read_only=True), BuildahVersion="1.43.2")
    assert podman["Tmpfs"] == {**held["Tmpfs"], "/run": "ro", "/var/tmp": "ro"}


@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_logs_that_docker_keeps_in_files_are_limited(driver: str) -> None:
    limited = host_config(replace(PLAIN, log_limit=3_000_000), LoggingDriver=driver)
    assert limited["LogConfig"] == {"Type": driver, "Config": {"max-size": "1000000", "max-file": "3"}}


def test_podman_writes_one_file_and_names_no_driver() -> None:
    limited = host_config(replace(PLAIN, log_limit=3_000_000), LoggingDriver="", BuildahVersion="1.43.2")
    assert limited["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "3000000"}}


def test_a_worker_with_a_network_of_its_own_is_on_the_one_of_its_name() -> None:
    """Which is no part of the template: all machines of it are alike."""
    made = make_template(PLAIN, IMAGE, None, DOCKER)
    assert made.create_body("owner", MACHINE)["HostConfig"]["NetworkMode"] == MACHINE.id
    assert MACHINE.id not in str(made.body)
    assert made.fingerprint != template().fingerprint


@pytest.mark.parametrize("driver", ["journald", "none", "awslogs", "", None])
def test_logs_that_go_elsewhere_are_left_alone(driver: str | None) -> None:
    assert "LogConfig" not in host_config(replace(PLAIN, log_limit=3_000_000), LoggingDriver=driver)


# what is known of an image before anything is started


def of_image(options: DockerOptions = PLAIN, **config: Any) -> Template:
    return make_template(options, {"Id": "sha256:abc", "Config": config}, "net", DOCKER)


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


def test_labels_of_other_tools_are_empty_and_those_of_an_image_without_any_cost_no_roll_out() -> None:
    """Compose and others remove what bears a label of theirs, be it from the image. A container cannot be without it."""
    labels = {"com.docker.compose.project": "shop", "org.testcontainers": "true", "maintainer": "me"}
    labelled = {**IMAGE, "Config": {**IMAGE["Config"], "Labels": labels}}
    body = make_template(PLAIN, labelled, "net", DOCKER).create_body("owner", MACHINE)
    assert (body["Labels"]["com.docker.compose.project"], body["Labels"]["org.testcontainers"]) == ("", "")
    assert "maintainer" not in body["Labels"]
    assert body["Labels"]["worker-orchestrator.machine"] == MACHINE.id
    unlabelled = {**IMAGE, "Config": {**IMAGE["Config"], "Labels": {"maintainer": "me"}}}
    assert make_template(PLAIN, unlabelled, "net", DOCKER).fingerprint == template().fingerprint


def test_values_come_into_a_volume_in_memory_that_says_whose_it_is() -> None:
    """The labels say how the worker takes values, when the settings say something else."""
    chosen = replace(PLAIN, user="web", late_dir="/run/project")
    body = template(chosen).create_body("owner", MACHINE, "t0ken")
    labels = {"worker-orchestrator.owner": "owner", "worker-orchestrator.machine": MACHINE.id}
    asked = {"type": "tmpfs", "device": "tmpfs", "o": "size=16777216,nr_inodes=8192,mode=0755,nosuid,nodev"}
    volume = {"NoCopy": True, "DriverConfig": {"Name": "local", "Options": asked}, "Labels": labels}
    assert body["HostConfig"]["Mounts"] == [{"Type": "volume", "Target": "/run/project", "VolumeOptions": volume}]
    assert "Tmpfs" not in body["HostConfig"]
    late = {name: value for name, value in body["Labels"].items() if ".late-" in name}
    assert late == {"worker-orchestrator.late-dir": "/run/project", "worker-orchestrator.late-user": "web"}
    assert body["Env"] == [], "no token without a port to which values are posted"
    assert template(chosen).fingerprint == template(chosen).fingerprint


def test_on_podman_they_come_into_a_memory_over_which_nothing_is_copied() -> None:
    for read_only in (False, True):
        chosen = replace(PLAIN, late_dir="/run/project", read_only=read_only)
        host = template(chosen, BuildahVersion="1").create_body("owner", MACHINE)["HostConfig"]
        assert "Mounts" not in host
        assert host["Tmpfs"]["/run/project"] == "rw,exec,nosuid,nodev,mode=0755,size=16777216,notmpcopyup"
        assert ("/tmp" in host["Tmpfs"]) is read_only


def test_the_user_is_that_of_the_image_unless_another_is_chosen() -> None:
    image = {**IMAGE, "Config": {**IMAGE["Config"], "User": "web:100"}}
    for user, is_known_as in (("", "web:100"), ("5", "5")):
        made = make_template(replace(PLAIN, user=user, late_dir="/run/project"), image, "net", DOCKER)
        assert made.create_body("owner", MACHINE)["Labels"]["worker-orchestrator.late-user"] == is_known_as


def test_each_worker_that_is_posted_to_has_a_token_of_its_own() -> None:
    """Which is no part of the template."""
    made = template(replace(PLAIN, env={"A": "b"}, late_post="/configure"))
    assert made.create_body("owner", MACHINE, "t0ken")["Env"] == ["A=b", "ORCHESTRATOR_TOKEN=t0ken"]
    assert made.create_body("owner", MACHINE)["Labels"]["worker-orchestrator.late-post"] == "/configure"
    assert "Mounts" not in made.body["HostConfig"]
    assert made.body["Env"] == ["A=b"]


def test_a_worker_that_reaches_names_writes_no_frames_asks_no_dns_and_knows_no_host() -> None:
    config = host_config(DockerOptions("image", outbound="names", cap_drop=("CHOWN",)))
    assert config["CapDrop"] == ["CHOWN", "NET_RAW"]
    assert config["Dns"] == ["127.0.0.1"]
    assert "ExtraHosts" not in config
    assert host_config(DockerOptions("image", outbound="names", cap_drop=("NET_RAW",)))["CapDrop"] == ["NET_RAW"]
