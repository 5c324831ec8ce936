"""Sessions of browsers: who holds cookie and key is known, nobody else is, and not for ever."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from worker_orchestrator.http.access import sessions as module
from worker_orchestrator.http.access.sessions import Lease, Sessions


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    return Sessions(clock)


def given(cookie: str = "", key: str = "", **more: str) -> dict[bytes, bytes]:
    named = {"cookie": cookie and f"orchestrator_session={cookie}", "x-session-key": key, **more}
    return {name.replace("_", "-").encode(): value.encode() for name, value in named.items() if value}


def test_cookie_and_key_together_are_known_and_neither_is_alone(sessions: Sessions) -> None:
    cookie, key = sessions.open({})
    assert sessions.holds(given(cookie, key))
    for headers in (
        {},
        given(cookie),
        given(key=key),
        given(cookie, cookie),
        given(key, key),
        given(key, cookie),
        given(cookie, key[:-1]),
        given(cookie, f"{key}x"),
        given(cookie[:-1], key),
        given(f"{cookie}x", key),
    ):
        assert not sessions.holds(headers)


def test_the_key_of_another_session_opens_nothing(sessions: Sessions) -> None:
    cookie, key = sessions.open({})
    other_cookie, other_key = sessions.open({})
    assert len({cookie, key, other_cookie, other_key}) == 4
    assert not sessions.holds(given(cookie, other_key))
    assert not sessions.holds(given(other_cookie, key))


def test_cookies_that_somebody_else_set_do_no_harm(sessions: Sessions) -> None:
    """The page of a worker can set some for localhost, also of our name."""
    cookie, key = sessions.open({})
    for value in (
        f"a=b; orchestrator_session={cookie}",
        f"orchestrator_session=evil; orchestrator_session={cookie}; c=d",
        f"orchestrator_session=;;=;orchestrator_session={cookie};",
        f"xorchestrator_session=x;orchestrator_session={cookie}",
    ):
        assert sessions.holds({b"cookie": value.encode(), b"x-session-key": key.encode()})
    assert not sessions.holds({b"cookie": f"other_session={cookie}".encode(), b"x-session-key": key.encode()})


def test_a_cookie_that_somebody_made_up_never_becomes_a_session(sessions: Sessions) -> None:
    cookie, key = sessions.open(given("planted"))
    assert cookie != "planted"
    assert not sessions.holds(given("planted", key))


def test_a_socket_may_name_the_key_as_a_protocol(sessions: Sessions) -> None:
    cookie, key = sessions.open({})
    for named in (f"orchestrator, key.{key}", f"key.{key},orchestrator"):
        assert sessions.holds(given(cookie, sec_websocket_protocol=named))
    for named in ("orchestrator", "orchestrator, key.", f"orchestrator, {key}", "key.x, orchestrator", f"key.{key}x"):
        assert not sessions.holds(given(cookie, sec_websocket_protocol=named))
    assert not sessions.holds(given(sec_websocket_protocol=f"orchestrator, key.{key}"))


def test_tabs_of_one_browser_share_a_session_with_a_key_each_and_end_together(sessions: Sessions) -> None:
    cookie, first = sessions.open({})
    again, second = sessions.open(given(cookie))
    assert again == cookie
    assert first != second
    assert sessions.holds(given(cookie, first))
    assert sessions.holds(given(cookie, second))
    sessions.end(given(cookie, second))
    assert not sessions.holds(given(cookie, first))
    assert not sessions.holds(given(cookie, second))


def test_nobody_ends_a_session_without_its_key(sessions: Sessions) -> None:
    cookie, key = sessions.open({})
    for headers in ({}, given(cookie), given(cookie, "x"), given(key=key)):
        sessions.end(headers)
    assert sessions.holds(given(cookie, key))


def test_a_key_lasts_for_twelve_hours_whoever_comes_later(sessions: Sessions, clock: Clock) -> None:
    cookie, key = sessions.open({})
    clock.now += 6 * 3600
    _, later = sessions.open(given(cookie))
    clock.now += 6 * 3600 - 1
    assert sessions.holds(given(cookie, key))
    clock.now += 1
    assert not sessions.holds(given(cookie, key))
    assert sessions.holds(given(cookie, later))
    clock.now += 6 * 3600
    assert not sessions.holds(given(cookie, later))
    assert sessions.open(given(cookie))[0] != cookie, "what has ended does not come back"


def test_there_is_an_end_to_what_is_kept(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SESSIONS", 3)
    monkeypatch.setattr(module, "KEYS", 2)
    opened = [sessions.open({}) for _ in range(4)]
    assert [sessions.holds(given(*one)) for one in opened] == [False, True, True, True]
    cookie, first = opened[-1]
    keys = [first, *(sessions.open(given(cookie))[1] for _ in range(2))]
    assert [sessions.holds(given(cookie, key)) for key in keys] == [False, True, True]


def test_neither_cookie_nor_key_is_kept(sessions: Sessions) -> None:
    """A dump of the process holds what they are recognised by, and not what lets anybody in."""
    cookie, key = sessions.open({})
    kept = repr(sessions._sessions)
    assert cookie not in kept
    assert key not in kept


def test_the_sessions_of_two_services_on_one_host_have_names_of_their_own(clock: Clock) -> None:
    """A browser gives each of them the cookies of both."""
    first, second = Sessions(clock, "first"), Sessions(clock, "second")
    cookies = {one.cookie: one.open({}) for one in (first, second)}
    assert list(cookies) == ["orchestrator_session_first", "orchestrator_session_second"]
    jar = "; ".join(f"{name}={value}" for name, (value, _) in cookies.items()).encode()
    for one in (first, second):
        assert one.holds({b"cookie": jar, b"x-session-key": cookies[one.cookie][1].encode()})


def lease_of(sessions: Sessions, cookie: str, key: str) -> Lease:
    found = sessions.lease(given(cookie, key))
    assert found is not None
    return found


async def is_over(lease: Lease) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(lease.over(), 0.01)
        return True
    return False


def test_what_a_session_began_ends_with_it(sessions: Sessions, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whichever way it ends, in all tabs; that of another goes on."""

    async def main() -> None:
        cookie, key = sessions.open({})
        _, tab = sessions.open(given(cookie))
        other = lease_of(sessions, *sessions.open({}))
        ends = [lease_of(sessions, cookie, one) for one in (key, tab)]
        assert [await is_over(one) for one in (*ends, other)] == [False, False, False]
        sessions.end(given(cookie, key))
        assert [await is_over(one) for one in (*ends, other)] == [True, True, False]

        monkeypatch.setattr(module, "KEYS", 1)
        cookie, key = sessions.open({})
        pushed_out = lease_of(sessions, cookie, key)
        sessions.open(given(cookie))
        assert await is_over(pushed_out)
        assert sessions.lease(given(cookie, key)) is None

        monkeypatch.setattr(module, "SESSIONS", 1)
        few = Sessions(clock)
        pushed_out = lease_of(few, *few.open({}))
        few.open({})
        assert await is_over(pushed_out)

        cookie, key = sessions.open({})
        clock.now += module.LASTS_S - 0.02
        late = lease_of(sessions, cookie, key)
        await asyncio.wait_for(late.over(), 5)

    asyncio.run(main())
