"""Which callers are let in."""

from __future__ import annotations

import pytest

from worker_orchestrator.http.access.callers import Callers, Kind
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


def guess(callers: Callers, *tokens: str, way: str = "", address: str = REMOTE) -> list[int]:
    """What each of these tokens gets that comes from there, by this way."""
    by = {b"x-forwarded-for": way.encode()} if way else {}
    return [status(callers.refusal(address, {**bearer(token), **by})) for token in tokens]


GUESSES = [f"guess-{number}" for number in range(10)]


def test_after_ten_wrong_tokens_in_a_minute_the_right_one_gets_the_answer_of_a_wrong_one(clock: Clock) -> None:
    """Else any rate of guesses would find it. Not in the short way, nor for a session."""
    callers = Callers(TOKEN, None, clock)
    assert guess(callers, *GUESSES) == [401] * 10
    assert guess(callers, TOKEN, "other") == [429, 429]
    right, wrong = (callers.refusal(REMOTE, bearer(token)) for token in (TOKEN, "other"))
    assert right == wrong
    assert not callers.are_free(REMOTE, bearer(TOKEN))
    assert not callers.are_known(REMOTE, bearer(TOKEN))
    login = callers.token_refusal(REMOTE, {}, TOKEN.encode())
    assert login == wrong
    clock.now += 60
    assert guess(callers, TOKEN, "other") == [200, 401]


def test_who_guesses_at_one_address_keeps_nobody_out_at_another(clock: Clock) -> None:
    callers = Callers(TOKEN, None, clock)
    guess(callers, *GUESSES)
    assert guess(callers, TOKEN, address="192.0.2.8") == [200]
    assert guess(callers, TOKEN) == [429]


def test_who_guesses_behind_a_proxy_keeps_nobody_out_who_was_right_before(clock: Clock) -> None:
    """The proxy adds whom it hears; a caller may have made up what stands before that."""
    callers = Callers(TOKEN, None, clock)
    assert guess(callers, TOKEN, way="198.51.100.1") == [200]
    for made_up in ("", "198.51.100.1, ", "198.51.100.9, "):
        guess(callers, *GUESSES, way=f"{made_up}203.0.113.5")
    assert guess(callers, TOKEN, way="203.0.113.5") == [429]
    assert guess(callers, TOKEN, way="198.51.100.1") == [200]
    clock.now += 3599
    guess(callers, *GUESSES, way="203.0.113.5")
    assert guess(callers, TOKEN, way="198.51.100.1") == [200]
    clock.now += 3600
    guess(callers, *GUESSES, way="203.0.113.5")
    assert guess(callers, TOKEN, way="198.51.100.1") == [429], "nobody has heard of it for an hour"


def test_whatever_way_is_claimed_only_so_many_guesses_are_looked_at(clock: Clock) -> None:
    """Ten as a stranger, and ten in the name of each who was right from the same address."""
    callers = Callers(TOKEN, None, clock)
    guess(callers, TOKEN, way="198.51.100.1")
    looked_at = [guess(callers, f"guess-{number}", way=f"192.0.2.{number % 250}") for number in range(1000)]
    assert looked_at.count([401]) == 10
    assert [guess(callers, f"more-{number}", way="198.51.100.1") for number in range(1000)].count([401]) == 0, (
        "see Strikes"
    )
    assert guess(callers, TOKEN, way="198.51.100.1") == [429]


def test_a_program_with_an_old_token_keeps_nobody_out(clock: Clock) -> None:
    callers = Callers(TOKEN, None, clock)
    assert guess(callers, *["an old token"] * 1000) == [401] * 10 + [429] * 990
    assert guess(callers, TOKEN) == [200]


def test_old_sessions_keep_the_token_out_nowhere_and_no_guess_keeps_out_a_session(clock: Clock) -> None:
    """As tabs of a browser that go on asking after a restart of the service."""
    callers = Callers(TOKEN, None, clock)
    for number in range(1000):
        callers.refusal(REMOTE, {b"cookie": b"orchestrator_session=old", b"x-session-key": b"%d" % number})
    assert guess(callers, TOKEN) == [200]
    cookie, key = callers.sessions.open({})
    guess(callers, *GUESSES)
    session = {b"cookie": f"orchestrator_session={cookie}".encode(), b"x-session-key": key.encode()}
    assert guess(callers, TOKEN) == [429]
    assert callers.refusal(REMOTE, session) is None


def test_the_eleventh_try_with_a_wrong_token_in_a_minute_is_put_off(clock: Clock) -> None:
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


def test_what_a_stranger_may_ask_for_has_a_rate_of_its_own(clock: Clock) -> None:
    callers = Callers(TOKEN, None, clock)
    asked = {kind: [status(callers.too_often(REMOTE, kind)) for _ in range(201)] for kind in Kind}
    assert asked == {kind: [200] * 200 + [429] for kind in Kind}
    strict = Callers(TOKEN, 1, clock)
    assert [status(strict.too_often(REMOTE, Kind.PROBE)) for _ in range(3)] == [200, 200, 429]
    assert [status(strict.too_often(REMOTE, Kind.PAGE)) for _ in range(201)] == [200] * 200 + [429], (
        "a page is many files"
    )


def test_a_limit_that_was_asked_for_counts_for_everybody_and_zero_for_nobody(clock: Clock) -> None:
    limited, free = Callers("", 2, clock), Callers("", 0, clock)
    for address in ("127.0.0.1", "::1", REMOTE):
        assert [status(limited.refusal(address, {})) for _ in range(5)] == [200] * 4 + [429]
        assert [status(free.refusal(address, {})) for _ in range(500)] == [200] * 500


def test_wrong_tokens_do_not_use_up_the_requests_of_the_right_one(clock: Clock) -> None:
    callers = Callers(TOKEN, 2, clock)
    assert [status(callers.refusal(REMOTE, bearer("wrong"))) for _ in range(20)] == [401] * 10 + [429] * 10
    assert [status(callers.refusal(REMOTE, bearer(TOKEN))) for _ in range(5)] == [200] * 4 + [429]
