"""What counts as use of a worker: traffic above the noise, work above a share of a processor, and whatever was not seen."""

from __future__ import annotations

from typing import Any

import pytest

from worker_orchestrator.core.activity import ActivityRules, Counters, Traffic, are_comparable, shows_activity

ANY, OFF = Traffic.ANY, Traffic.OFF
BEFORE: dict[str, Any] = {"received_bytes": 1000, "sent_bytes": 1000, "cpu_s": 5.0, "run": "a"}


def used(rules: ActivityRules, passed_s: float = 10.0, **now: Any) -> bool | None:
    """Whether a worker was used in so many seconds, in which only these counters changed."""
    return shows_activity(Counters(at=100, **BEFORE), Counters(at=100 + passed_s, **{**BEFORE, **now}), rules)


@pytest.mark.parametrize(
    ("rules", "now", "is_used"),
    [
        (ActivityRules(traffic_min=200), {}, False),
        (ActivityRules(traffic_min=200), {"received_bytes": 1200}, False),
        (ActivityRules(traffic_min=200), {"received_bytes": 1201}, True),
        (ActivityRules(traffic_min=0), {"received_bytes": 1001}, True),
        (ActivityRules(traffic_min=200), {"sent_bytes": 9999, "cpu_s": 9.0}, False),
        (ActivityRules(ANY, 200), {"sent_bytes": 1201}, True),
        (ActivityRules(ANY, 200), {"sent_bytes": 1100, "received_bytes": 1100}, False),
        (ActivityRules(ANY, 200), {"sent_bytes": 1100, "received_bytes": 1101}, True),
        (ActivityRules(OFF), {"received_bytes": 9999, "sent_bytes": 9999}, False),
        (ActivityRules(OFF, cpu=0.05), {"cpu_s": 5.5}, False),
        (ActivityRules(OFF, cpu=0.05), {"cpu_s": 5.51}, True),
        (ActivityRules(traffic_min=200, cpu=0.05), {"received_bytes": 1201}, True),
        (ActivityRules(traffic_min=200, cpu=0.05), {"cpu_s": 6.0}, True),
        (ActivityRules(traffic_min=200, cpu=0.05), {}, False),
    ],
)
def test_a_worker_is_used_by_what_its_pool_counts(rules: ActivityRules, now: dict[str, Any], *, is_used: bool) -> None:
    assert used(rules, **now) is is_used


@pytest.mark.parametrize("name", ["received_bytes", "sent_bytes", "cpu_s"])
def test_a_counter_that_went_back_is_use(name: str) -> None:
    assert used(ActivityRules(ANY, 10**6, cpu=64.0), **{name: 0}) is True


@pytest.mark.parametrize(
    ("before", "now", "are"), [("a", "b", True), ("", "", True), ("", "a", False), ("a", "", False)]
)
def test_what_one_source_counted_is_not_compared_with_what_another_did(before: str, now: str, *, are: bool) -> None:
    """Each of them counts something else: the difference is no use of the worker."""
    assert are_comparable(Counters(at=100, run=before), Counters(at=110, run=now)) is are


def test_another_run_of_the_container_is_use() -> None:
    """Also with a rule that counts nothing: somebody has started it again."""
    assert used(ActivityRules(OFF), run="b") is True


@pytest.mark.parametrize(
    ("rules", "lacks"),
    [
        (ActivityRules(), "received_bytes"),
        (ActivityRules(ANY), "received_bytes"),
        (ActivityRules(ANY), "sent_bytes"),
        (ActivityRules(OFF, cpu=0.5), "cpu_s"),
    ],
)
def test_what_is_not_counted_proves_nothing(rules: ActivityRules, lacks: str) -> None:
    known, unknown = Counters(at=1, **BEFORE), Counters(at=2, **{**BEFORE, lacks: None})
    assert shows_activity(known, unknown, rules) is None
    assert shows_activity(unknown, known, rules) is None


def test_what_is_counted_may_show_use_where_something_else_is_not() -> None:
    assert used(ActivityRules(traffic_min=0, cpu=0.5), received_bytes=1001, cpu_s=None) is True


def test_the_engine_is_asked_only_where_something_counts() -> None:
    assert ActivityRules().needs_counters
    assert ActivityRules(OFF, cpu=0.1).needs_counters
    assert not ActivityRules(OFF).needs_counters


def test_the_noise_is_less_than_one_small_request() -> None:
    assert (ActivityRules().traffic, ActivityRules().traffic_min, ActivityRules().cpu) == (Traffic.INBOUND, 256, None)
    assert [each.value for each in Traffic] == ["inbound", "any", "off"]
