"""Who may call."""

from __future__ import annotations

import pytest
from hypothesis import given as given_any
from hypothesis import strategies as st

from worker_orchestrator.http.access.guard import Guard

GUARD = Guard(
    allow_hosts=["Pool.Example"],
    allow_origins=["https://app.example/", "http://localhost:9500"],
    worker_ports=range(9093, 9999),
)
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"


def given(headers: dict[str, str]) -> dict[bytes, bytes]:
    named = {"host": "localhost", **headers}
    return {name.replace("_", "-").encode(): value.encode() for name, value in named.items()}


def status(**headers: str) -> int:
    """The status that a request with these headers (`_` for `-`) is refused with; 200 if it may call."""
    reply = GUARD.refusal(given(headers))
    return 200 if reply is None else reply.status


def status_of_assign(guard: Guard = GUARD, /, **headers: str) -> int:
    """The status that it is refused a machine with; 200 if it may have one."""
    reply = guard.assign_refusal(given(headers))
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
        "[::1].evil.example",
        "localhost:9092:80",
    ],
)
def test_a_foreign_name_that_resolves_to_us_may_not(host: str) -> None:
    assert status(host=host) == 403


def test_where_a_token_is_required_any_name_may_be_called_but_no_foreign_site_may_call() -> None:
    guard = Guard(any_host=True)
    for host in (b"", b"192.168.0.1:9092", b"pool.example", b"[2001:db8::1]:9092"):
        assert guard.refusal({b"host": host}) is None
    foreign = guard.refusal({b"host": b"pool.example", b"origin": b"https://evil.example"})
    cross_site = guard.refusal({b"host": b"pool.example", b"sec-fetch-site": b"cross-site"})
    assert [reply.status if reply else 200 for reply in (foreign, cross_site)] == [403, 403]


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
        "http://localhost.[::1]",
        "http://localhost:9093",
        "https://127.0.0.1:9998",
    ],
)
def test_every_other_origin_is_refused(origin: str) -> None:
    assert status(origin=origin) == 403


def test_what_a_browser_marks_cross_site_is_refused_and_what_it_marks_otherwise_is_not() -> None:
    assert status(sec_fetch_site="cross-site") == 403
    assert [status(sec_fetch_site=site) for site in ("none", "same-origin")] == [200, 200]


def test_the_page_of_a_worker_may_not_call_unless_it_is_allowed() -> None:
    """Some project wrote it, and its machine is not the only one here."""
    assert status(origin="http://localhost:9093", sec_fetch_site="same-site") == 403
    assert status(origin="http://localhost:9500", sec_fetch_site="same-site") == 200


@pytest.mark.parametrize(
    ("referer", "expected"),
    [
        ("http://localhost:3000/projects?id=1", 200),
        ("http://localhost:9093/", 403),
        ("http://evil.example/", 403),
        ("http://localhost:3000@evil.example/", 403),
        ("", 403),
    ],
)
def test_a_link_or_an_image_of_another_port_is_judged_by_its_referer(referer: str, expected: int) -> None:
    """Without an Origin, all pages on this host look alike: same-site."""
    assert status(sec_fetch_site="same-site", **({"referer": referer} if referer else {})) == expected


def test_a_page_that_may_call_may_read_the_reply_and_no_other() -> None:
    granted = dict(GUARD.cors({b"origin": b"http://localhost:3000"}))
    assert granted == {
        b"vary": b"Origin",
        b"access-control-allow-origin": b"http://localhost:3000",
        b"access-control-expose-headers": b"ETag, Retry-After, X-Request-Id",
    }
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


@pytest.mark.parametrize("asked", [{}, {b"access-control-request-headers": b"authorization"}])
def test_a_preflight_may_send_the_token(asked: dict[bytes, bytes]) -> None:
    origin = {b"origin": b"http://localhost:3000", b"access-control-request-method": b"GET"}
    assert b"authorization" in dict(GUARD.cors({**origin, **asked}))[b"access-control-allow-headers"]


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
    assert (status_of_assign(**{name.decode(): value.decode()}) == 503) is expected


def test_a_browser_that_does_not_say_which_page_asks_gets_no_machine() -> None:
    """Under a name that is not loopback, over plain HTTP, a foreign page's image looks like an address that was typed."""
    assert status_of_assign(host="pool.example:9092", user_agent=BROWSER) == 403
    assert status_of_assign(host="host.docker.internal:9092", user_agent=BROWSER) == 403
    assert status_of_assign(host="localhost:9092", user_agent=BROWSER) == 200
    assert status_of_assign(host="pool.example", user_agent=BROWSER, sec_fetch_site="none") == 200
    assert status_of_assign(host="pool.example", user_agent=BROWSER, origin="https://app.example") == 200
    assert status_of_assign(host="pool.example", user_agent="curl/8.0") == 200
    assert status_of_assign(Guard(any_host=True), host="pool.example", user_agent=BROWSER) == 200


# the dashboard's page, to which other sites may lead


def status_of_page(**headers: str) -> int:
    reply = GUARD.page_refusal(given(headers))
    return 200 if reply is None else reply.status


TAB = {"sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}


@pytest.mark.parametrize("site", ["cross-site", "same-site", "same-origin", "none"])
def test_any_site_may_lead_a_person_to_a_page_that_commands_nothing(site: str) -> None:
    assert status_of_page(**TAB, sec_fetch_site=site) == 200
    assert status_of_page(**TAB, sec_fetch_site=site, referer="https://evil.example/") == 200


@pytest.mark.parametrize(
    "change",
    [
        {"sec_fetch_dest": "iframe"},
        {"sec_fetch_dest": "object"},
        {"sec_fetch_dest": ""},
        {"sec_fetch_mode": "no-cors"},
        {"sec_fetch_mode": "cors", "sec_fetch_dest": "empty"},
        {"sec_fetch_mode": ""},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"host": "evil.example"},
    ],
)
def test_no_site_may_frame_or_fetch_it_and_no_foreign_name_leads_to_it(change: dict[str, str]) -> None:
    assert status_of_page(**{**TAB, "sec_fetch_site": "cross-site", **change}) == 403


def test_such_a_link_leads_to_nothing_else() -> None:
    assert status(**TAB, sec_fetch_site="cross-site") == 403


HEADERS = st.fixed_dictionaries(
    {"host": st.sampled_from(["localhost", "localhost:9092", "pool.example", "evil.example", "192.168.0.1", ""])},
    optional={
        "origin": st.sampled_from(["http://localhost:9092", "https://app.example", "https://evil.example", "null"]),
        "referer": st.sampled_from(["http://localhost:9093/x", "http://localhost:9092/", "https://evil.example/"]),
        "sec_fetch_site": st.sampled_from(["same-origin", "same-site", "cross-site", "none"]),
        "purpose": st.just("prefetch"),
        "sec_purpose": st.sampled_from(["prefetch;prerender", ""]),
        "x_moz": st.just("prefetch"),
        "access_control_request_method": st.just("GET"),
        "user_agent": st.sampled_from([BROWSER, "curl/7.88.1", ""]),
    },
)


@given_any(requests=st.lists(HEADERS, min_size=1, max_size=4), any_host=st.booleans())
def test_the_short_way_lets_nobody_pass_whom_the_long_way_refuses(
    *, requests: list[dict[str, str]], any_host: bool
) -> None:
    """Nor the other way round; however often the same headers come, and whoever came before."""
    guard = Guard(["Pool.Example"], ["https://app.example/"], worker_ports=range(9093, 9999), any_host=any_host)
    for headers in [given(request) for request in requests for _ in range(2)] + [given(requests[0])] * 2:
        may_call = guard.refusal(headers) is None and guard.assign_refusal(headers) is None
        assert guard.lets_pass(headers) == (may_call and b"access-control-request-method" not in headers)
