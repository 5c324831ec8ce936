"""What a project hears of the requests that the proxy refused to its worker."""

from __future__ import annotations

from worker_orchestrator.control.telling.refused import RefusedRequests
from worker_orchestrator.core.machine import Machine, State


def a_machine(machine_id: str = "w1", generation: int = 1) -> Machine:
    return Machine(machine_id, "default", "t", State.READY, 9093, generation=generation)


def test_hosts_are_named_with_how_often_and_without_paths() -> None:
    """The path of a URL may hold a secret."""
    refused = RefusedRequests()
    for what in ("a.example:443", "http://user:pw@b.example/secret?x=1", "a.example:443"):
        refused.note(a_machine(), what)
    assert "requests to a.example:443 (2 times), b.example. What" in refused.told(a_machine())


def test_the_next_project_hears_nothing_of_it() -> None:
    refused = RefusedRequests()
    refused.note(a_machine(generation=1), "a.example:443")
    assert refused.told(a_machine(generation=2)) == ""


def test_what_is_kept_is_bounded() -> None:
    refused = RefusedRequests()
    for number in range(50):
        refused.note(a_machine(), f"h{number}.example:443")
    told = refused.told(a_machine())
    assert told.count(".example") == 10
    assert "h49.example" in told
    for number in range(1500):
        refused.note(a_machine(f"m{number}"), "a.example:443")
    assert len(refused._counts) == 1000
