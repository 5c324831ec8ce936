"""Networks without a way out, as they are found."""

from __future__ import annotations

from typing import Any

import pytest

from worker_orchestrator.engines.docker.fenced_networks import environment, fence_of, refuse_elsewhere
from worker_orchestrator.engines.fenced import Fence
from worker_orchestrator.errors import EngineRejected

DEAD = {"DefaultGatewayIPv4": "172.20.255.254"}


def network(**config: Any) -> dict[str, Any]:
    return {"Name": "n", "IPAM": {"Config": [{"Subnet": "172.20.0.0/16", "Gateway": "172.20.0.1", **config}]}}


def test_the_host_has_the_gateways_address_and_nobody_the_default_one() -> None:
    assert fence_of(network(AuxiliaryAddresses=DEAD)) == Fence("172.20.0.1", "172.20.0.0/16")


@pytest.mark.parametrize("found", [network(), {**network(AuxiliaryAddresses=DEAD), "EnableIPv6": True}, {"Name": "n"}])
def test_a_network_with_a_way_out_is_refused(found: dict[str, Any]) -> None:
    with pytest.raises(EngineRejected, match="`docker network rm n`"):
        fence_of(found)


def test_programs_find_the_proxy_by_each_name() -> None:
    found = environment(Fence("172.20.0.1", "172.20.0.0/16"))
    assert {found[name] for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")} == {
        "http://172.20.0.1:3129"
    }
    assert found["NO_PROXY"] == found["no_proxy"] == "localhost,127.0.0.1,::1"


def test_a_service_that_is_elsewhere_is_refused() -> None:
    with pytest.raises(EngineRejected, match="run the service on the engine's host"):
        refuse_elsewhere(Fence("192.0.2.1", "192.0.2.0/24"))
    refuse_elsewhere(Fence("127.0.0.1", "127.0.0.0/8"))
