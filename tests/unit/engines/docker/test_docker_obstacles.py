"""Each cause outside is told by the words that engines really use, and nothing of the worker's own is taken for one."""

from __future__ import annotations

from typing import Final

import pytest
from aiodocker import DockerError

from worker_orchestrator.engines.docker.calls import note_call, writing
from worker_orchestrator.engines.docker.obstacles import KINDS, LONGEST_QUOTE, obstacle, taken_port
from worker_orchestrator.errors import EngineError, EngineObstructed, EngineRejected, PortTaken

ENDPOINT: Final = "driver failed programming external connectivity on endpoint worker-1-abc (0123456789abcdef)"
SAYINGS: Final = [
    ("addresses", "no available IPv4 addresses on this network's address pools: worker-orchestrator-x (9f2a)"),
    ("networks", "could not find an available, non-overlapping IPv4 address pool among the defaults"),
    ("networks", "all predefined address pools have been fully subnetted"),
    ("networks", "Pool overlaps with other one on this address space"),
    ("networks", "failed to allocate gateway (172.18.0.1): Address already in use"),
    ("bridge", "adding interface veth1a2b3c to bridge br-9f2a failed: exchange full"),
    ("disk", "error creating overlay mount to /var/lib/docker/overlay2/x: no space left on device"),
    ("disk", "mkdir /var/lib/docker/overlay2/x: disk quota exceeded"),
    ("memory", "failed to create shim: fork/exec /usr/bin/containerd-shim: cannot allocate memory: unknown"),
    ("processes", "fork/exec /usr/bin/docker-proxy: resource temporarily unavailable"),
    ("files", "error creating fsnotify watcher: too many open files"),
    ("address", f"{ENDPOINT}: Error starting userland proxy: listen tcp6 [::1]:9093: bind: cannot assign requested address"),
    ("address", "listen tcp6 [::1]:9093: socket: address family not supported by protocol"),
    ("firewall", f"{ENDPOINT}:  (iptables failed: iptables --wait -t nat: No chain/target/match by that name."),
    ("conmon", "cannot remove container 0123456789ab as it could not be stopped: given PID did not die within timeout"),
    ("addresses", "IPAM error: failed to find free IP in range: 198.51.100.1 - 198.51.100.2"),
    ("firewall", "adding interface veth1 to bridge docker0 failed: could not find bridge docker0: route ip+net: no such"),
    ("kernel", "failed to add the host (veth1) <=> sandbox (veth2) pair interfaces: operation not supported"),
    ("denied", "authorization denied by plugin opa-docker-authz: no"),
    ("shim", "failed to create task for container: task 0123456789abcdef: already exists: unknown"),
    ("containerd", 'connection error: desc = "dial unix /run/containerd/containerd.sock: connect: connection refused"'),
]  # fmt: skip
OWN: Final = [
    'OCI runtime create failed: exec: "/bin/nothing": stat /bin/nothing: no such file or directory',
    "container init was OOM-killed (memory limit too low?)",
    "No such image: sha256:0123",
    "Minimum memory limit allowed is 6MB",
    "no such container",
    "",
]


def raised(message: str, status: int = 500) -> EngineError:
    with pytest.raises(EngineError) as refused, writing():
        raise DockerError(status, message)
    return refused.value


@pytest.mark.parametrize(("kind", "words"), SAYINGS)
def test_each_cause_has_its_kind_and_its_sentence(kind: str, words: str) -> None:
    error = raised(words)
    assert isinstance(error, EngineObstructed)
    assert error.kind == kind
    says = next(known.says for known in KINDS if known.name == kind)
    assert error.message.startswith(f"{says}. Docker says: ")
    assert ". " in says, "it says what to do"


def test_every_kind_is_met() -> None:
    assert {kind for kind, _ in SAYINGS} == {known.name for known in KINDS}


@pytest.mark.parametrize("words", OWN)
def test_what_is_the_workers_own_is_rejected(words: str) -> None:
    assert type(raised(words)) is EngineRejected


@pytest.mark.parametrize(
    "words", [f"{ENDPOINT}: Bind for 127.0.0.1:9093 failed: port is already allocated", "address already in use"]
)
def test_a_port_that_somebody_has_is_still_a_port(words: str) -> None:
    assert isinstance(raised(words), PortTaken)


@pytest.mark.parametrize(
    ("words", "port"),
    [
        (f"{ENDPOINT}: Bind for 127.0.0.1:9094 failed: port is already allocated", 9094),
        (f"{ENDPOINT}: Bind for :::9093 failed: port is already allocated", 9093),
        ("failed to bind host port for 127.0.0.1:9094:172.19.0.2:3000/tcp, address already in use", 9094),
        ("failed to bind host port 127.0.0.1:9094/tcp: address already in use", 9094),
        ("listen tcp4 0.0.0.0:9093: bind: address already in use", 9093),
        ("rootlessport listen tcp [::1]:9093: bind: address already in use", 9093),
        (
            "ports are not available: exposing port TCP 127.0.0.1:9094 -> 127.0.0.1:0: listen tcp 127.0.0.1:9094: bind",
            9094,
        ),
        ("failed to bind host port for 127.0.0.1:9094:172.19.0.2:9093/tcp, address already in use", None),
        ("Bind for 127.0.0.1:90945 failed: port is already allocated", None),
        ("address already in use", None),
    ],
)
def test_which_port_is_taken_is_told_where_that_is_clear(words: str, port: int | None) -> None:
    """Two of the machine's ports in one message may be a host port and a port of the container."""
    assert taken_port(words, (9093, 9094)) == port


def test_what_helps_is_told_where_docker_itself_keeps_the_port() -> None:
    refusal = DockerError(500, "Bind for ::1:9093 failed: port is already allocated")
    note_call(refusal, "POST", "containers/x/start")
    with pytest.raises(PortTaken) as refused, writing():
        raise refusal
    assert refused.value.message == (
        "Docker refused to start the container: Bind for ::1:9093 failed: port is already allocated. "
        "If no other container has it, Docker kept it when it was killed: restart Docker (`sudo systemctl restart docker`)."
    )


def test_the_same_cause_is_said_in_the_same_words_each_time() -> None:
    """Ids differ at every try; a message is one line, and no longer than it need be."""
    said = [
        obstacle(f"no space left on device: /var/lib/docker/{number:064x}\n\ton {number:012x}" + " more" * 200)
        for number in (1, 2)
    ]
    assert said[0] is not None
    assert said[1] is not None
    assert said[0].message == said[1].message
    told = said[0].message.partition("Docker says: ")[2]
    assert LONGEST_QUOTE - 5 < len(told) <= LONGEST_QUOTE
    assert "\n" not in told


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("no such container", "Podman refused to start the container: no such container."),
        (
            "mkdir /var/lib/containers/x: no space left on device",
            "Podman's disk is full. Free some space there (`podman system prune` removes what is unused). Podman says: ",
        ),
        (
            "crun: cgroups in hybrid mode not supported, drop all controllers from cgroupv2: OCI runtime error",
            (
                "Podman refused to start the container: crun: cgroups in hybrid mode not supported, drop all controllers "
                "from cgroupv2: OCI runtime error. What helps: install runc, and set `runtime = "
            ),
        ),
        (
            "Bind for 127.0.0.1:9093 failed: port is already allocated",
            "Podman refused to start the container: Bind for 127.0.0.1:9093 failed: port is already allocated.",
        ),
        ("context canceled", "Podman is stopping (context canceled, in answer to POST containers/x/start)."),
    ],
)
def test_an_engine_that_is_not_docker_is_named(words: str, says: str) -> None:
    refusal = DockerError(500, words)
    note_call(refusal, "POST", "containers/x/start", "Podman")
    with pytest.raises(EngineError) as refused, writing():
        raise refusal
    assert refused.value.message.startswith(says)
    assert "Docker" not in refused.value.message
