"""Sessions of browsers: who holds cookie and key is known, nobody else is, and not for ever."""

from __future__ import annotations

import pytest

from worker_orchestrator.http import sessions as module
from worker_orchestrator.http.sessions import Sessions


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
