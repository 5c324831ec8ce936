"""Which callers are let in."""

from __future__ import annotations

import pytest

from worker_orchestrator.http.callers import Callers
from worker_orchestrator.http.reply import Reply

TOKEN = "0123456789abcdef"
REMOTE = "192.0.2.7"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def bearer(token: str) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + token.encode("latin-1")}


def status(reply: Reply | None) -> int:
    return 200 if reply is None else reply.status


@pytest.mark.parametrize("given", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER  {TOKEN}"])
def test_the_right_token_is_let_in(clock: Clock, given: str) -> None:
    assert Callers(TOKEN, None, clock).refusal(REMOTE, {b"authorization": given.encode()}) is None


@pytest.mark.parametrize(
    "given",
    ["", "Bearer", "Bearer ", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN.upper()}",
     f"Bearer {TOKEN} {TOKEN}", f"Bearer{TOKEN}", "Bearer \xff\x00"],
)  # fmt: skip
def test_anything_else_is_asked_for_it(clock: Clock, given: str) -> None:
    reply = Callers(TOKEN, None, clock).refusal("127.0.0.1", {b"authorization": given.encode("latin-1")})
    assert reply is not None
    assert reply.status == 401
    assert reply.headers == [(b"www-authenticate", b"Bearer")]
    assert TOKEN.encode() not in reply.encoded()


def test_without_a_token_nobody_needs_one(clock: Clock) -> None:
    assert Callers("", None, clock).refusal(REMOTE, bearer("whatever")) is None


def test_the_eleventh_wrong_token_in_a_minute_is_put_off_but_never_the_right_one(clock: Clock) -> None:
    callers = Callers(TOKEN, None, clock)
    assert [status(callers.refusal(REMOTE, bearer("wrong"))) for _ in range(12)] == [401] * 10 + [429] * 2
    reply = callers.refusal(REMOTE, bearer("wrong"))
    assert reply is not None
    assert reply.headers == [(b"retry-after", b"60")]
    assert callers.refusal(REMOTE, bearer(TOKEN)) is None
    assert status(callers.refusal("192.0.2.8", bearer("wrong"))) == 401
    clock.now += 60
    assert status(callers.refusal(REMOTE, bearer("wrong"))) == 401


def test_who_sends_no_token_always_hears_what_to_send_and_is_never_counted(clock: Clock) -> None:
    """Nor for the cookie of an old session, which a browser sends by itself."""
    callers, cookie = Callers(TOKEN, None, clock), {b"cookie": b"orchestrator_session=old"}
    none = [{}, {b"authorization": b" "}, cookie]
    assert [status(callers.refusal(REMOTE, headers)) for headers in none * 10] == [401] * 30
    assert [status(callers.refusal(REMOTE, bearer("wrong"))) for _ in range(11)] == [401] * 10 + [429]
    assert [status(callers.refusal(REMOTE, headers)) for headers in none] == [401] * 3


def test_a_session_that_is_wrong_counts_as_a_wrong_token(clock: Clock) -> None:
    callers, wrong = Callers(TOKEN, None, clock), {b"cookie": b"orchestrator_session=old", b"x-session-key": b"old"}
    assert [status(callers.refusal(REMOTE, wrong)) for _ in range(11)] == [401] * 10 + [429]


def test_by_default_a_remote_caller_has_a_limit_and_a_local_one_has_none(clock: Clock) -> None:
    callers = Callers("", None, clock)
    assert all(callers.refusal("127.0.0.1", {}) is None for _ in range(1000))
    assert [status(callers.refusal(REMOTE, {})) for _ in range(201)] == [200] * 200 + [429]
    reply = callers.refusal(REMOTE, {})
    assert reply is not None
    assert reply.headers == [(b"retry-after", b"1")]
    assert b"Too many requests came from this address, more than --rate-limit" in reply.encoded()
    clock.now += 0.01
    assert callers.refusal(REMOTE, {}) is None


def test_a_limit_that_was_asked_for_counts_for_everybody_and_zero_for_nobody(clock: Clock) -> None:
    limited, free = Callers("", 2, clock), Callers("", 0, clock)
    for address in ("127.0.0.1", "::1", REMOTE):
        assert [status(limited.refusal(address, {})) for _ in range(5)] == [200] * 4 + [429]
        assert [status(free.refusal(address, {})) for _ in range(500)] == [200] * 500


def test_wrong_tokens_do_not_use_up_the_requests_of_the_right_one(clock: Clock) -> None:
    callers = Callers(TOKEN, 2, clock)
    assert [status(callers.refusal(REMOTE, bearer("wrong"))) for _ in range(20)] == [401] * 10 + [429] * 10
    assert [status(callers.refusal(REMOTE, bearer(TOKEN))) for _ in range(5)] == [200] * 4 + [429]
