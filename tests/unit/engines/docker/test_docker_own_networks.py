"""What is left over of networks for one worker each, and how old a network is."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast

import aiodocker
import pytest

from worker_orchestrator.engines.docker import own_networks
from worker_orchestrator.engines.docker.own_networks import OwnNetworks, Seen, _age_s
from worker_orchestrator.errors import EngineUnavailable

OLD, NEW = 3600.0, 1.0


class Removing(OwnNetworks):
    """One whose removals are only noted; `stuck` cannot be removed."""

    def __init__(self, stuck: str = "") -> None:
        super().__init__(cast("aiodocker.Docker", None), "owner", {"owner"})
        self.removed: list[str] = []
        self._stuck = stuck

    async def discard(self, machine_id: str) -> None:
        if machine_id == self._stuck:
            raise EngineUnavailable("It does not answer.")
        self.removed.append(machine_id)


def test_what_has_no_container_is_removed_once_it_is_a_minute_old() -> None:
    """A create makes the network first, so a young one may get its container yet."""
    networks = Removing()
    asyncio.run(networks.sweep([Seen("used", OLD), Seen("left", OLD), Seen("young", NEW)], {"used"}))
    assert networks.removed == ["left"]


def test_one_that_cannot_be_removed_keeps_no_other() -> None:
    networks = Removing(stuck="stuck")
    asyncio.run(networks.sweep([Seen("stuck", OLD), Seen("left", OLD)], set()))
    assert networks.removed == ["left"]


@pytest.mark.parametrize("hours", [-5.0, 0.0, 5.5])
def test_the_age_of_a_network_is_right_in_every_time_zone(hours: float) -> None:
    """Podman tells the time of its host's zone, with nine digits of a second."""
    made = datetime.now(timezone(timedelta(hours=hours))) - timedelta(seconds=100)
    text = made.strftime("%Y-%m-%dT%H:%M:%S.123456789") + made.isoformat()[-6:]
    assert 98 < _age_s(text) < 103
    assert 98 < _age_s((datetime.now(UTC) - timedelta(seconds=100)).strftime("%Y-%m-%dT%H:%M:%SZ")) < 103


@pytest.mark.parametrize("text", ["", "yesterday", "2026-01-01"])
def test_what_is_no_time_has_no_age(text: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        _age_s(text)


@pytest.mark.parametrize(
    ("outbound", "options"),
    [("any", {"isolate": "strict"}), ("host", {"isolate": "strict", "no_default_route": "true"})],
)
def test_the_network_of_a_worker_without_a_way_out_has_no_default_route(
    outbound: str, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, Any]] = []

    async def create_network(_client: object, body: dict[str, Any]) -> None:
        made.append(body)

    monkeypatch.setattr(own_networks, "create_network", create_network)
    asyncio.run(Removing().prepare("w1", outbound))
    assert [(one["name"], one["options"]) for one in made] == [("w1", options)]
