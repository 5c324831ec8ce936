"""What lacks its network for long was lost by Docker; what lacks it for a moment is ending."""

from __future__ import annotations

from msgspec.structs import replace

from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.engines.docker.lost_networks import LOST_AFTER_S, LostNetworks

LOST = Instance("w1", "o", "default", "t", Status.RUNNING, native_id="c1", trouble="It is lost.", needs_restart=True)
UNKNOWN = replace(LOST, trouble="", needs_restart=False)


def test_a_network_is_lost_once_listings_have_shown_that_for_a_while() -> None:
    networks, other = LostNetworks(), replace(UNKNOWN, id="w2", native_id="c2", trouble="It is paused.")
    assert networks.judged([LOST, other], 100.0) == [UNKNOWN, other]
    assert networks.judged([other, LOST], 100.0 + LOST_AFTER_S - 0.1) == [other, UNKNOWN]
    assert networks.judged(iter([LOST]), 100.0 + LOST_AFTER_S) == [LOST]


def test_a_network_that_was_there_in_between_is_waited_for_again() -> None:
    networks = LostNetworks()
    networks.judged([LOST], 100.0)
    networks.judged([UNKNOWN], 102.0)
    assert networks.judged([LOST], 104.0) == [UNKNOWN]
    assert networks.judged([replace(LOST, native_id="c9")], 110.0)[0].needs_restart is False, "another container"
