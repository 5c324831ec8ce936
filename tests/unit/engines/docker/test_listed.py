"""What Docker's list of containers says, and what of it is kept."""

from __future__ import annotations

import msgspec
import pytest

from worker_orchestrator.engines.docker.listed import containers_in

CONTAINER = {
    "Id": "c1",
    "Names": ["/w1"],
    "Image": "worker",
    "ImageID": "sha256:1",
    "Command": "serve",
    "Created": 1700000000,
    "Ports": [{"IP": "127.0.0.1", "PrivatePort": 8080, "PublicPort": 9093, "Type": "tcp"}],
    "Labels": {"worker-orchestrator.machine": "w1"},
    "State": "running",
    "Status": "Up 1 second",
    "HostConfig": {"NetworkMode": "ours"},
    "NetworkSettings": {"Networks": {"ours": {"IPAddress": "172.17.0.2", "Gateway": "172.17.0.1", "MacAddress": "02"}}},
    "Mounts": [{"Type": "tmpfs", "Destination": "/run"}],
}


def test_what_nobody_asks_for_is_skipped() -> None:
    (found,) = containers_in(msgspec.json.encode([CONTAINER]))
    assert found == {
        "Id": "c1",
        "Names": ["/w1"],
        "ImageID": "sha256:1",
        "Ports": [{"IP": "127.0.0.1", "PrivatePort": 8080, "PublicPort": 9093}],
        "Labels": {"worker-orchestrator.machine": "w1"},
        "State": "running",
        "Status": "Up 1 second",
        "HostConfig": {"NetworkMode": "ours"},
        "NetworkSettings": {"Networks": {"ours": {"IPAddress": "172.17.0.2"}}},
    }


def test_what_an_engine_leaves_out_is_left_out() -> None:
    """Podman's list has no HostConfig, and null where there is nothing."""
    (found,) = containers_in(b'[{"Id": "c1", "Names": null, "Ports": null, "NetworkSettings": null, "Labels": {}}]')
    assert found == {"Id": "c1", "Names": None, "Ports": None, "NetworkSettings": None, "Labels": {}}


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[1]", b'[{"Id": 1}]', b'[{"Id": "c1", "Labels": null}]', b'[{"Id": "c1"']
)
def test_a_reply_of_another_shape_is_none(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        containers_in(body)
