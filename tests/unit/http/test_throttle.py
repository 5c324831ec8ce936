"""How much one client may ask."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker_orchestrator.http.access.throttle import Buckets, Strikes, client_of, is_on_loopback

STEADY = settings(derandomize=True, deadline=None)
GAPS = st.lists(st.floats(0, 0.5), min_size=1, max_size=200)


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::1", "::1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:2", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
    ],
)
def test_a_client_is_an_address_and_in_ipv6_its_network(address: str, client: str) -> None:
    assert client_of(address) == client


def test_loopback_is_known_in_every_spelling() -> None:
    loopback = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", ""]
    assert all(is_on_loopback(client_of(address)) for address in loopback)
    assert not any(is_on_loopback(client_of(address)) for address in ["192.0.2.7", "2001:db8::1", "::2"])


def test_a_full_bucket_allows_twice_the_rate_at_once_and_then_the_rate() -> None:
    buckets = Buckets(10)
    assert [buckets.take("a", 5.0) for _ in range(20)] == [0.0] * 20
    assert buckets.take("a", 5.0) == pytest.approx(0.1)
    assert buckets.take("b", 5.0) == 0.0
    assert [buckets.take("a", 5.1 + 0.1 * n) for n in range(50)] == [0.0] * 50


@STEADY
@given(rate=st.integers(1, 50), gaps=GAPS)
def test_nobody_gets_more_than_the_burst_and_the_rate_since(rate: int, gaps: list[float]) -> None:
    """Over every stretch of time, whatever the pauses."""
    buckets, now, granted = Buckets(rate), 0.0, list[float]()
    for gap in gaps:
        now += gap
        if not buckets.take("a", now):
            granted.append(now)
    for i, first in enumerate(granted):
        for j in range(i, len(granted)):
            assert j - i + 1 <= 2 * rate + rate * (granted[j] - first) + 1e-6


@STEADY
@given(rate=st.integers(1, 50), gaps=GAPS)
def test_whoever_waits_as_long_as_he_is_told_may_go_on(rate: int, gaps: list[float]) -> None:
    buckets, now = Buckets(rate), 0.0
    for gap in gaps:
        now += gap
        wait_s = buckets.take("a", now)
        assert 0 <= wait_s <= 1 / rate + 1e-6
        if wait_s:
            now += wait_s
            assert buckets.take("a", now) == 0.0


@STEADY
@given(gaps=st.lists(st.floats(0, 30), min_size=1, max_size=100))
def test_in_no_minute_more_than_ten_failures_count(gaps: list[float]) -> None:
    strikes, now, counted = Strikes(), 0.0, list[float]()
    for gap in gaps:
        now += gap
        recent = [time for time in counted if now - time < 60]
        wait_s = strikes.add("a", now)
        assert (wait_s == 0) is (len(recent) < 10)
        if wait_s:
            assert wait_s == pytest.approx(60 - (now - recent[0]))
        else:
            counted.append(now)


def test_only_so_many_clients_are_kept_and_those_that_were_seen_last() -> None:
    buckets = Buckets(0.5, clients=2)
    assert [buckets.take(client, 0.0) for client in "abac"] == [0.0, 0.0, pytest.approx(2.0), 0.0]
    assert len(buckets._full_at) == 2
    assert buckets.take("a", 0.0) > 0
    assert buckets.take("b", 0.0) == 0.0  # it was forgotten, and begins anew
    strikes = Strikes(clients=3)
    for number in range(100):
        strikes.add(f"client {number}", 0.0)
    assert len(strikes._times) == 3
