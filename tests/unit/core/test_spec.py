"""What a machine is compared with."""

from __future__ import annotations

from worker_orchestrator.core.spec import PoolSpec, Spec


def test_a_machine_is_outdated_if_new_ones_are_of_another_template() -> None:
    """While it is unknown what new ones are, nobody can say that."""
    assert PoolSpec("new").is_outdated("old")
    assert not PoolSpec("new").is_outdated("new")
    assert not PoolSpec(None).is_outdated("old")


def test_a_pool_may_have_a_start_timeout_of_its_own() -> None:
    spec = Spec({"a": PoolSpec("t", start_timeout_s=5.0), "b": PoolSpec("t")}, start_timeout_s=20.0)
    assert [spec.start_timeout_of(name) for name in ("a", "b", "gone")] == [5.0, 20.0, 20.0]
