"""Under which host a container is reached that was made when the settings said something else."""

from __future__ import annotations

from typing import cast

import pytest

from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.docker.dialect import DOCKER
from worker_orchestrator.engines.docker.listed import Listed
from worker_orchestrator.engines.docker.publishing import Place, place_of
from worker_orchestrator.engines.docker.template import DockerOptions, PublishOptions, Template, make_template

LOOPBACK = ("127.0.0.1", "::1")


def made_on(publish: PublishOptions) -> Template:
    return make_template(DockerOptions("image"), {"Id": "sha256:1", "Config": {}}, "net", DOCKER, publish)


def now_on(*addresses: str, host: str = "localhost") -> PublishOptions:
    return PublishOptions(addresses, host)


def a_container(*addresses: str, port: int | None = 9093, labels: dict[str, str] | None = None) -> Listed:
    ports = [{"IP": address, "PrivatePort": 9092, "PublicPort": port} for address in addresses]
    return cast("Listed", {"Labels": labels or {}, "Ports": [*ports, {"PrivatePort": 80}]})


@pytest.mark.parametrize(
    ("was", "publish"),
    [
        (LOOPBACK, now_on(*LOOPBACK)),
        (("127.0.0.1",), now_on(*LOOPBACK, host="tunnel.example.com")),  # made while this computer had no IPv6
        (("0.0.0.0", "::"), now_on(*LOOPBACK)),
        (("0.0.0.0",), now_on("192.0.2.7", host="192.0.2.7")),
        (("192.0.2.7",), now_on("192.0.2.7", host="new.example.com")),
        ((), now_on(*LOOPBACK)),  # it does not run, and was made before there was a label
    ],
)
def test_what_the_address_of_today_leads_to_has_the_host_of_today(
    was: tuple[str, ...], publish: PublishOptions
) -> None:
    assert place_of(a_container(*was), publish) is None


@pytest.mark.parametrize(
    ("was", "publish", "place"),
    [
        (LOOPBACK, now_on("0.0.0.0", host="192.0.2.7"), Place("127.0.0.1", "localhost")),
        (("::1",), now_on("192.0.2.7", host="192.0.2.7"), Place("::1", "localhost")),
        (("192.0.2.7",), now_on(*LOOPBACK), Place("192.0.2.7", "192.0.2.7")),
        (("2001:db8::7",), now_on("0.0.0.0"), Place("2001:db8::7", "2001:db8::7")),
    ],
)
def test_what_is_published_elsewhere_is_reached_there(
    was: tuple[str, ...], publish: PublishOptions, place: Place
) -> None:
    assert place_of(a_container(*was), publish) == place


def test_a_container_remembers_where_it_is_and_how_it_was_called_also_while_it_does_not_run() -> None:
    made = made_on(now_on("192.0.2.7", host="old.example.com"))
    body = made.create_body("owner", Machine("w1", "default", made.fingerprint, State.STARTING, 9093))
    place = Place("192.0.2.7", "old.example.com")
    assert place_of(a_container(labels=body["Labels"]), now_on(*LOOPBACK)) == place
    assert place_of(a_container("192.0.2.7", labels=body["Labels"]), now_on(*LOOPBACK)) == place
    assert place_of(a_container(labels=body["Labels"]), now_on("192.0.2.7")) is None


def test_another_address_is_another_template_and_another_name_for_it_is_none() -> None:
    """A new name leads to where the machines are already; a new address does not."""
    prints = [
        made_on(publish).fingerprint
        for publish in (now_on("192.0.2.7"), now_on("192.0.2.7", host="new.example.com"), now_on("192.0.2.8"))
    ]
    assert prints[0] == prints[1] != prints[2]
