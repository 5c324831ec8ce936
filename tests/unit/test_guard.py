"""Who may call."""

from __future__ import annotations

import pytest

from worker_orchestrator.http.guard import Guard, is_speculative

GUARD = Guard(allow_hosts=["Pool.Example"], allow_origins=["https://app.example/"])


def status(**headers: str) -> int:
    """The status that a request with these headers (`_` for `-`) is refused with; 200 if it may call."""
    given = {
        name.replace("_", "-").encode(): value.encode() for name, value in {"host": "localhost", **headers}.items()
    }
    reply = GUARD.refusal(given)
    return 200 if reply is None else reply.status


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:9092",
        "localhost.",
        "127.0.0.1:9092",
        "127.9.9.9",
        "[::1]:9092",
        "host.docker.internal:9092",
    ],
)
def test_names_of_this_machine_may_be_called(host: str) -> None:
    assert status(host=host) == 200


def test_an_allowed_name_may_be_called_in_any_case_and_on_any_port() -> None:
    assert status(host="pool.example:80") == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "0.0.0.0",
        "192.168.0.1",
        "a@localhost",
        "[::1",
    ],
)
def test_a_foreign_name_that_resolves_to_us_may_not(host: str) -> None:
    assert status(host=host) == 403


@pytest.mark.parametrize(
    "origin",
    ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:5173", "https://app.example", "HTTPS://APP.EXAMPLE"],
)
def test_an_origin_on_loopback_or_an_allowed_one_may_call_though_it_is_cross_site(origin: str) -> None:
    assert status(origin=origin, sec_fetch_site="cross-site") == 200


def test_our_own_origin_under_an_allowed_name_may_call() -> None:
    assert status(host="pool.example:9092", origin="http://pool.example:9092") == 200


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "https://evil.example",
        "http://localhost.evil.example",
        "file://",
        "http://app.example",
        "http://pool.example",
    ],
)
def test_every_other_origin_is_refused(origin: str) -> None:
    assert status(origin=origin) == 403


def test_what_a_browser_marks_cross_site_is_refused_and_what_it_marks_otherwise_is_not() -> None:
    assert status(sec_fetch_site="cross-site") == 403
    assert [status(sec_fetch_site=site) for site in ("none", "same-origin", "same-site")] == [200, 200, 200]


def test_a_page_that_may_call_may_read_the_reply_and_no_other() -> None:
    granted = dict(GUARD.cors({b"origin": b"http://localhost:3000"}))
    assert granted == {b"vary": b"Origin", b"access-control-allow-origin": b"http://localhost:3000"}
    assert dict(GUARD.cors({})) == {b"vary": b"Origin"}


def test_a_preflight_names_the_methods_and_grants_the_headers_that_it_asks_for() -> None:
    asked = {
        b"origin": b"http://localhost:3000",
        b"access-control-request-method": b"DELETE",
        b"access-control-request-headers": b"content-type",
        b"access-control-request-private-network": b"true",
    }
    granted = dict(GUARD.cors(asked))
    assert b"DELETE" in granted[b"access-control-allow-methods"]
    assert granted[b"access-control-allow-headers"] == b"content-type"
    assert granted[b"access-control-allow-private-network"] == b"true"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (b"sec-purpose", b"prefetch", True),
        (b"sec-purpose", b"prefetch;prerender", True),
        (b"purpose", b"Prefetch", True),
        (b"x-moz", b"prefetch", True),
        (b"sec-purpose", b"", False),
        (b"accept", b"prefetch", False),
    ],
)
def test_what_a_browser_fetches_on_speculation_is_known_by_its_headers(
    name: bytes, value: bytes, *, expected: bool
) -> None:
    assert is_speculative({name: value}) is expected
