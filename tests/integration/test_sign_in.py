"""A browser signs in to a running service: with the token, and in no other way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tests.integration.calling import Answer, call
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

TOKEN = "a-token-of-more-than-16-characters"
BEARER = {"authorization": f"Bearer {TOKEN}"}
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
PRIVATE = ["/v1/machines", "/v1/history", "/v1/health", "/machines/list", "/health", "/metrics", "/"]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Running]:
    """A service that wants a token."""
    secret = tmp_path / "token"
    secret.touch(0o600)
    secret.write_text(TOKEN)
    with a_service(tmp_path, "--engine", "memory", "--token-file", str(secret), start=False) as service:
        start(service)
        yield service
        assert TOKEN not in service.log
        assert "Traceback" not in service.log


def start(service: Running) -> None:
    service.start(await_answer=False)

    def answers() -> bool:
        try:
            return service.get("/login").status == 200
        except OSError:
            return False

    eventually(answers, "it answers")


def ask(service: Running, method: str, path: str, body: object = None, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return call(service.ports.api, method, path, body, named)


def sign_in(service: Running, **headers: str) -> dict[str, str]:
    """The headers of a session."""
    answer = ask(service, "POST", "/login", {"token": TOKEN}, **headers)
    assert answer.status == 200, answer.text
    cookie, *attributes = answer.headers["set-cookie"].split("; ")
    assert attributes == ["HttpOnly", "SameSite=Strict", "Path=/"]
    assert answer.headers["cache-control"] == "no-store"
    assert list(answer.json) == ["key"]
    assert answer.json["key"] not in cookie
    return {"cookie": cookie, "x_session_key": answer.json["key"]}


def state(service: Running, headers: Mapping[str, str]) -> Any:
    return ask(service, "GET", "/login", **headers).json


def test_a_session_may_do_what_the_token_may_until_it_is_ended(guarded: Running) -> None:
    """From the question whether one is needed to the end."""
    assert state(guarded, {}) == {"required": True, "signed_in": False}
    session = sign_in(guarded)
    assert state(guarded, session) == {"required": True, "signed_in": True}
    assert [ask(guarded, "GET", path, **session).status for path in PRIVATE] == [200] * len(PRIVATE)
    assert ask(guarded, "PUT", "/v1/projects/mine/machine", {}, **session).status == 201
    assert ask(guarded, "DELETE", "/v1/projects/mine/machine", **session).status == 200
    gone = ask(guarded, "POST", "/logout", **session)
    assert gone.status == 204
    assert "Max-Age=0" in gone.headers["set-cookie"]
    assert state(guarded, session) == {"required": True, "signed_in": False}
    assert ask(guarded, "GET", "/v1/machines", **session).status == 401


def test_half_of_a_session_is_none(guarded: Running) -> None:
    """A worker's page gets the browser's cookie, and a page that was shared may show the key."""
    session = sign_in(guarded)
    for half in ({"cookie": session["cookie"]}, {"x_session_key": session["x_session_key"]}):
        assert {ask(guarded, "GET", path, **half).status for path in PRIVATE} <= {401, 429}
        assert ask(guarded, "DELETE", "/v1/machines/worker-1-a", **half).status in {401, 429}
        assert ask(guarded, "POST", "/logout", **half).status == 204
    assert state(guarded, session)["signed_in"], "and it ends nothing"


def test_the_token_itself_still_opens_everything(guarded: Running) -> None:
    assert [ask(guarded, "GET", path, **BEARER).status for path in PRIVATE] == [200] * len(PRIVATE)


def test_whether_somebody_is_signed_in_says_nothing_of_a_token(guarded: Running) -> None:
    """Else it could be guessed there as often as one likes."""
    for token in (TOKEN, "wrong"):
        assert state(guarded, {"authorization": f"Bearer {token}"}) == {"required": True, "signed_in": False}


def test_wrong_tokens_count_wherever_they_are_sent(guarded: Running) -> None:
    """Ten in a minute: some in the header, some at the login. One that was wrong before is no new guess."""
    statuses = [ask(guarded, "GET", "/v1/machines", authorization="Bearer wrong").status for _ in range(5)]
    statuses += [ask(guarded, "POST", "/login", {"token": "wrong"}).status for _ in range(7)]
    assert statuses == [401] * 10 + [429] * 2
    assert ask(guarded, "GET", "/v1/machines", authorization="Bearer wrong").status == 429
    assert ask(guarded, "GET", "/v1/machines").status == 401, "who sends none guesses nothing"
    assert "retry-after" in ask(guarded, "POST", "/login", {"token": "wrong"}).headers
    sign_in(guarded)
    for number in range(10):
        door = number % 3
        if door == 0:
            ask(guarded, "GET", "/v1/machines", authorization=f"Bearer {number}")
        elif door == 1:
            ask(guarded, "POST", "/login", {"token": f"{number}"})
        else:
            ask(guarded, "GET", "/mine", authorization=f"Bearer {number}")
    assert ask(guarded, "POST", "/login", {"token": TOKEN}).status == 429, "nor is the right one looked at now"


def test_who_probes_hears_why_it_is_not_ready_only_where_it_may_call(tmp_path: Path) -> None:
    """Of images, addresses and paths; a load balancer needs the status alone."""
    secret = tmp_path / "token"
    secret.touch(0o600)
    secret.write_text(TOKEN)
    for name, flags in (("open", ()), ("guarded", ("--token-file", str(secret)))):
        (tmp_path / name).mkdir()
        with a_service(tmp_path / name, "--engine", "memory", "--min-idle", "0", *flags, start=False) as service:
            start(service)
            assert ask(service, "PATCH", "/v1/pools/default", {"paused": True}, **BEARER).status == 200
            known, stranger = ask(service, "GET", "/readyz", **BEARER), ask(service, "GET", "/readyz", host="10.1.2.3")
            assert (known.status, stranger.status) == (503, 503)
            assert list(known.json) == ["status", "problems"]
            assert "is paused" in known.text
            assert stranger.json == {"status": "unavailable"}
            anybody = [{}, {"authorization": "Bearer wrong"}] if flags else [{"origin": "https://evil.example"}]
            for headers in anybody:
                assert ask(service, "GET", "/readyz", **headers).json == {"status": "unavailable"}
            if flags:
                assert ask(service, "GET", "/readyz", **sign_in(service)).json == known.json
                for number in range(9):
                    ask(service, "GET", "/readyz", authorization=f"Bearer {number}")
                told = ask(service, "GET", "/readyz", **BEARER)
                assert (told.status, told.json) == (503, stranger.json), "it is no place to guess either"


def test_a_logout_ends_what_the_session_follows(guarded: Running) -> None:
    """In all of its tabs. What another session or the token follows goes on, and so does what claims both."""
    first = sign_in(guarded)
    tab = sign_in(guarded, cookie=first["cookie"])
    other = sign_in(guarded)
    machine = ask(guarded, "PUT", "/v1/projects/mine/machine", {}, **first).json["id"]
    paths = ("/v1/events", f"/v1/machines/{machine}/logs?follow=true")
    ending = [following(guarded, path, headers) for path in paths for headers in (first, tab, {**first, **JUNK})]
    going_on = [following(guarded, path, headers) for path in paths for headers in (other, BEARER)]
    ask(guarded, "POST", "/logout", **tab)
    for stream in ending:
        eventually(lambda stream=stream: stream.ended, "it ends")  # type: ignore[misc]
    assert not any(stream.ended for stream in going_on)
    guarded.end()
    for stream in going_on:
        stream.join(20)


JUNK = {"authorization": "Bearer junk"}


class Stream(Thread):
    """Reads until the service ends it."""

    def __init__(self, connection: HTTPConnection, response: HTTPResponse) -> None:
        super().__init__(daemon=True)
        self._connection, self._response, self.ended = connection, response, False

    def run(self) -> None:
        while self._response.read1(65536):
            pass
        self._connection.close()
        self.ended = True


def following(service: Running, path: str, headers: Mapping[str, str]) -> Stream:
    connection = HTTPConnection("localhost", service.ports.api, timeout=60)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    assert response.status == 200
    assert response.headers["x-accel-buffering"] == "no"
    stream = Stream(connection, response)
    stream.start()
    return stream


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{}", 400),
        (b"[]", 400),
        (b"nonsense", 400),
        (b'{"token": 5}', 400),
        (b'{"token": null}', 400),
        (b"[" * 4000, 400),
        (b"\xff\xfe", 400),
        (b'{"token": ""}', 401),
        (json.dumps({"token": f"{TOKEN} "}).encode(), 401),
        (json.dumps({"token": TOKEN[:-1]}).encode(), 401),
        (json.dumps({"token": TOKEN, "more": "x" * 4096}).encode(), 413),
    ],
)
def test_what_is_no_login_is_refused(guarded: Running, body: bytes, status: int) -> None:
    answer = ask(guarded, "POST", "/login", body)
    assert answer.status == status
    assert "set-cookie" not in answer.headers
    assert TOKEN not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "same-site", "referer": "http://localhost:PORT/"},
        {"origin": "http://localhost:PORT"},
        {"origin": "http://127.0.0.1:PORT"},
    ],
    ids=str,
)
def test_no_other_page_signs_in_or_out_or_uses_a_session(guarded: Running, headers: dict[str, str]) -> None:
    """Neither one of the internet nor one of a worker, with the cookie that its browser adds and even with the key."""
    foreign = {name: value.replace("PORT", str(guarded.ports.first)) for name, value in headers.items()}
    session = sign_in(guarded)
    for method, path in (
        ("POST", "/login"),
        ("POST", "/logout"),
        ("GET", "/login"),
        ("GET", "/"),
        ("GET", "/assets/app.js"),
    ):
        answer = ask(guarded, method, path, {"token": TOKEN} if method == "POST" else None, **session, **foreign)
        assert answer.status == 403, f"{method} {path}"
        assert "set-cookie" not in answer.headers
    assert ask(guarded, "PUT", "/v1/projects/theirs/machine", {}, **session, **foreign).status == 403
    assert state(guarded, session)["signed_in"]


def test_where_no_token_is_needed_nobody_signs_in(tmp_path: Path) -> None:
    with a_service(tmp_path, "--engine", "memory") as service:
        assert state(service, {}) == {"required": False, "signed_in": True}
        assert ask(service, "POST", "/login", {"token": "whatever"}).status == 409
        assert ask(service, "GET", "/login", host="evil.example").status == 403
        for method, path, allowed in (("PUT", "/login", "GET, HEAD, POST"), ("GET", "/logout", "POST")):
            answer = ask(service, method, path)
            assert (answer.status, answer.headers["allow"]) == (405, allowed)
        assert ask(service, "GET", "/login/").status == 200


def test_a_restart_asks_for_the_token_again(guarded: Running) -> None:
    session = sign_in(guarded)
    guarded.end()
    start(guarded)
    assert state(guarded, session) == {"required": True, "signed_in": False}
    assert ask(guarded, "GET", "/v1/machines", **session).status == 401


def test_several_tabs_share_a_cookie(guarded: Running) -> None:
    """Each has a key of its own."""
    first = sign_in(guarded)
    second = sign_in(guarded, cookie=first["cookie"])
    assert first["cookie"] == second["cookie"]
    assert state(guarded, first)["signed_in"]
    assert state(guarded, second)["signed_in"]


def test_behind_a_proxy_with_tls_the_cookie_is_for_tls_only(guarded: Running) -> None:
    answer = ask(guarded, "POST", "/login", {"token": TOKEN}, host="pool.example", origin="https://pool.example")
    assert answer.headers["set-cookie"].endswith("; Secure")


def test_the_page_and_its_files_need_no_token_and_programs_get_no_page(guarded: Running) -> None:
    """It is where the token is asked for."""
    page = ask(guarded, "GET", "/", accept=BROWSER)
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "accept" in page.headers["vary"].lower()
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert ask(guarded, "HEAD", "/", accept=BROWSER).status == 200
    assert ask(guarded, "GET", "/assets/index.html").body.replace(b'="../', b'="') == page.body
    assert ask(guarded, "GET", "/assets/nothing", **BEARER).status == 404
    assert ask(guarded, "GET", "/assets/../docs", **BEARER).status == 404
    for method in ("POST", "PUT", "DELETE"):
        assert ask(guarded, method, "/", accept=BROWSER).status == 401
    for accept in ("*/*", "application/json"):
        assert ask(guarded, "GET", "/", accept=accept).status == 401
        links = ask(guarded, "GET", "/", accept=accept, **BEARER)
        assert links.json["service"] == "worker-orchestrator"


def test_a_terminal_opens_for_cookie_and_key_and_for_nothing_less(tmp_path: Path, example_image: str) -> None:
    """A page can give a socket no headers, so the key is one of the protocols that it names."""
    secret = tmp_path / "token"
    secret.touch(0o600)
    secret.write_text(TOKEN)
    with a_service(tmp_path, "--token-file", str(secret), start=False) as service:
        start(service)
        machine = ask(service, "PUT", "/v1/projects/p/machine", {}, **BEARER).json
        session = sign_in(service)
        key = session["x_session_key"]
        url = f"ws://localhost:{service.ports.api}/v1/machines/{machine['id']}/terminal"
        origin = {"Origin": f"http://localhost:{service.ports.api}"}
        cookie = {"Cookie": session["cookie"]}
        attempts: list[tuple[dict[str, str], list[str]]] = [
            ({}, ["orchestrator"]),
            (cookie, ["orchestrator"]),
            ({}, ["orchestrator", f"key.{key}"]),
            (cookie, ["orchestrator", f"key.{key[:-1]}"]),
            ({**cookie, "Origin": f"http://localhost:{service.ports.first}"}, ["orchestrator", f"key.{key}"]),
        ]
        refused = []
        for headers, protocols in attempts:
            with pytest.raises(InvalidStatus) as error, opened(url, {**origin, **headers}, protocols):
                pass
            refused.append(error.value.response.status_code)
        assert refused == [401, 401, 401, 401, 403]
        with opened(url, {**origin, **cookie}, ["orchestrator", f"key.{key}"]) as terminal:
            assert terminal.subprotocol == "orchestrator"
            terminal.send(b"exit 3\n")
            assert json.loads([frame for frame in terminal if isinstance(frame, str)][-1]) == {"exit_code": 3}
        with opened(url, {**origin, **cookie}, ["orchestrator", f"key.{key}"]) as terminal:
            terminal.send(b"echo here$((6 * 7))\n")
            while b"here42" not in (said := terminal.recv(timeout=30)):
                assert isinstance(said, bytes)
            assert ask(service, "POST", "/logout", **session).status == 204
            list(terminal)  # what it still said
            assert terminal.close_code == 1001, "it goes away with the session"
        assert key not in service.log


def opened(url: str, headers: dict[str, str], protocols: list[str]) -> Any:
    given = {name: value for name, value in headers.items() if name != "Origin"}
    return connect(
        url,
        additional_headers=given,
        origin=Origin(headers["Origin"]),
        subprotocols=[Subprotocol(name) for name in protocols],
    )
