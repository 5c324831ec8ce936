"""Who can reach the workers, as `doctor` tells it from the settings and what the engine says of itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from worker_orchestrator.cli.doctor.isolation_checks import check_isolation, check_published
from worker_orchestrator.engines.docker.dialect import Dialect
from worker_orchestrator.engines.docker.listed import Listed
from worker_orchestrator.engines.docker.publishing import unpublished
from worker_orchestrator.settings.settings import Settings

MACHINE = "worker-1700000000000-abcdefghi"
LABELS = {"worker-orchestrator.machine": MACHINE, "worker-orchestrator.published": "127.0.0.1 ::1"}


def verdicts(address: str, version: str, **info: Any) -> list[tuple[str, str]]:
    settings = replace(Settings(), publish_address=address)
    info = {"ServerVersion": version, **info}
    return [(found.verdict, found.says) for found in check_isolation(settings, info, Dialect.of(info))]


@pytest.mark.parametrize("version", ["20.10.24+dfsg1", "28.5.2"])
@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.1", "::"])
def test_published_beyond_loopback_workers_reach_each_other(address: str, version: str) -> None:
    """By the bridge's address on the host, through Docker's proxy: whatever the version is."""
    ((verdict, says),) = verdicts(address, version)
    assert (verdict, "so can other workers" in says, address in says) == ("warning", True, True)


@pytest.mark.parametrize(
    ("version", "info", "wanted"),
    [
        ("20.10.24+dfsg1", {}, ["warning"]),
        ("27.5.1", {"SecurityOptions": ["name=seccomp,profile=builtin"]}, ["warning"]),
        ("28.0.0", {}, []),
        ("29.1.2", {}, []),
        ("5.4.2", {"BuildahVersion": "1.39.3"}, []),
        ("26.1.5", {"OperatingSystem": "Docker Desktop"}, []),
        ("26.1.5", {"SecurityOptions": ["name=rootless"]}, []),
        ("unknown", {}, []),
        ("", {}, []),
    ],
)
@pytest.mark.parametrize("address", ["localhost", "127.0.0.1"])
def test_below_docker_28_a_neighbour_reaches_loopback_by_a_route(
    address: str, version: str, info: dict[str, Any], wanted: list[str]
) -> None:
    told = verdicts(address, version, **info)
    assert [verdict for verdict, _ in told] == wanted
    assert all("same link" in says and version in says for _, says in told)


def listed(*addresses: str, state: str = "running", **labels: str) -> Listed:
    ports = [{"IP": address, "PrivatePort": 9092, "PublicPort": 9093} for address in addresses]
    return cast("Listed", {"State": state, "Labels": {**LABELS, **labels}, "Ports": ports})


@pytest.mark.parametrize(
    ("worker", "lacks"),
    [
        (listed("127.0.0.1", "::1"), set()),
        (listed("127.0.0.1"), {"::1"}),
        (listed(), {"127.0.0.1", "::1"}),
        (listed(state="exited"), set()),
        (listed("0.0.0.0"), set()),
        ({**listed(), "Labels": {}}, set()),
        ({**listed(), "Labels": {}, "Ports": None}, set()),
    ],
)
def test_what_docker_did_not_publish_is_known_by_its_list(worker: Listed, lacks: set[str]) -> None:
    assert unpublished(worker) == lacks


def test_a_worker_that_is_published_on_less_is_told_once() -> None:
    (found,) = check_published([listed("127.0.0.1", "::1"), listed("127.0.0.1"), listed("127.0.0.1")])
    assert found.says == f"Docker published {MACHINE} not on ::1, as it does without its userland-proxy."
    assert list(check_published([listed("127.0.0.1", "::1")])) == []
