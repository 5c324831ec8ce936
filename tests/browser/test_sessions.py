"""A session of a browser is its own page's: no other page gets anything by it, though the browser hands them the cookie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeVar

import pytest
from playwright.sync_api import Page
from tests.browser.pages import Pages, Relay, pages, relay
from tests.integration.calling import call
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually

_T = TypeVar("_T")
TOKEN: Final = "a-token-of-more-than-16-characters"
SIGN_IN: Final = """async token => {
    const reply = await fetch('/login', {method: 'POST', body: JSON.stringify({token})})
    const {key} = await reply.json()
    sessionStorage.setItem('key', key)
    return [reply.status, key, document.cookie]
}"""
CALL: Final = """async ([url, method, headers]) => {
    const reply = await fetch(url, {method, headers, credentials: 'include'})
    return reply.status
}"""
BY_SCRIPT: Final = {
    "read": "fetch('TARGET/v1/machines', {credentials: 'include'}).then(r => r.text())",
    "read without cors": "fetch('TARGET/v1/machines', {credentials: 'include', mode: 'no-cors'}).then(r => r.text())",
    "guess the key": """fetch('TARGET/v1/machines', {credentials: 'include', headers: {'x-session-key': 'guess'}})
        .then(r => r.text())""",
    "assign": "fetch('TARGET/v1/projects/theirs/machine', {method: 'PUT', credentials: 'include'}).then(r => r.text())",
    "get a machine": "fetch('TARGET/theirs', {credentials: 'include', mode: 'no-cors'}).then(r => r.text())",
    "state": "fetch('TARGET/login', {credentials: 'include'}).then(r => r.text())",
    "sign in": """fetch('TARGET/login', {method: 'POST', credentials: 'include', mode: 'no-cors', body: '{"token": "x"}'})
        .then(r => r.text())""",
    "sign out": "fetch('TARGET/logout', {method: 'POST', credentials: 'include', mode: 'no-cors'}).then(r => r.text())",
    "sign out by a beacon": "navigator.sendBeacon('TARGET/logout', '')",
    "socket": """new Promise(done => {
        const socket = new WebSocket('TARGET/v1/machines/HELD/terminal'.replace('http', 'ws'), ['orchestrator', 'key.guess'])
        socket.onopen = () => done('opened'); socket.onerror = () => done('')
    })""",
    "events": """new Promise(done => {
        const source = new EventSource('TARGET/v1/events', {withCredentials: true})
        source.onopen = () => done('opened'); source.onerror = () => { source.close(); done('') }
    })""",
    "frame": """new Promise(done => {
        const frame = Object.assign(document.createElement('iframe'), {src: 'TARGET/'})
        frame.onload = () => { try { done(frame.contentWindow.sessionStorage.key) } catch (error) { done('') } }
        document.body.append(frame)
    })""",
    "own storage": "Promise.resolve(sessionStorage.getItem('key') ?? localStorage.getItem('key') ?? '')",
    "own cookies": "Promise.resolve(document.cookie)",
}
NOTHING: Final = {"", "true", "TypeError: Failed to fetch"}
"""What a page is told of requests whose replies it may not read."""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that wants a token, and whose project `held` has a machine."""
    folder = tmp_path_factory.mktemp("sessions")
    secret = folder / "token"
    secret.touch(0o600)
    secret.write_text(TOKEN)
    with a_service(folder, "--engine", "memory", "--token-file", str(secret), start=False) as service:
        service.start(await_answer=False)
        eventually(lambda: answers(service), "it answers")
        assert service.get("/held", {"authorization": f"Bearer {TOKEN}"}).status == 200
        yield service


def answers(service: Running) -> bool:
    try:
        return service.get("/login").status == 200
    except OSError:
        return False


def assigned(service: Running) -> list[Any]:
    machines = service.get("/machines/list", {"authorization": f"Bearer {TOKEN}"}).json["machines"]
    return [machine["assignedProject"] for machine in machines if machine["isUsed"]]


@pytest.fixture
def target(guarded: Running) -> Iterator[Relay]:
    with relay(guarded.ports.api) as seen:
        yield seen


@pytest.fixture
def key(page: Page, target: Relay) -> str:
    """Of the session that this browser has."""
    page.goto(f"{target.url}/livez")  # any page of this origin: the dashboard would do things of its own
    status, key, readable = page.evaluate(SIGN_IN, TOKEN)
    assert status == 200
    assert readable == "", "no script reads the cookie"
    return str(key)


@pytest.fixture(scope="module")
def worker(guarded: Running) -> Iterator[Pages]:
    """What a worker serves on localhost."""
    with pages(guarded.ports.last) as served:
        yield served


def held(service: Running) -> str:
    machines = service.get("/machines/list", {"authorization": f"Bearer {TOKEN}"}).json["machines"]
    return str(next(machine["id"] for machine in machines if machine["assignedProject"] == "held"))


def test_the_page_that_signed_in_may_call_with_the_key_and_not_without(page: Page, target: Relay, key: str) -> None:
    def status(**headers: str) -> Any:
        return page.evaluate(CALL, ["/v1/machines", "GET", headers])

    assert status(**{"x-session-key": key}) == 200
    assert status() == 401
    assert status(**{"x-session-key": key[:-1]}) == 401
    page.reload()
    assert page.evaluate("sessionStorage.getItem('key')") == key
    assert status(**{"x-session-key": key}) == 200


@pytest.mark.parametrize("host", ["localhost", "evil.example"])
@pytest.mark.parametrize("attack", BY_SCRIPT)
def test_another_page_gets_nothing_by_the_session(
    attack: str, host: str, page: Page, worker: Pages, target: Relay, guarded: Running, key: str
) -> None:
    """A worker's, which has the cookie on localhost, or one of the internet, in a tab that the page itself opened."""
    page.evaluate("url => { window.open(url) }", worker.put("theirs", host=host))
    other = eventually(lambda: turn(page, page.context.pages[1:]), "the tab opens")[0]
    other.wait_for_load_state()
    before = len(target.seen)
    script = BY_SCRIPT[attack].replace("TARGET", target.url).replace("HELD", held(guarded))
    call = f"() => {script}.then(String, String)" if "navigator" not in script else f"() => String({script})"
    for _ in range(3):  # a browser drops what it sends when the computer's network changes, which containers make it do
        assert other.evaluate(call) in NOTHING
        if "TARGET" not in BY_SCRIPT[attack] or arrives(page, target, before):
            break
    else:
        pytest.fail("no request arrives")
    assert {one.status for one in target.seen[before:] if one.path != "/favicon.ico"} <= {403}
    assert page.evaluate(CALL, ["/v1/machines", "GET", {"x-session-key": key}]) == 200, "the session goes on"
    assert assigned(guarded) == ["held"]


def arrives(page: Page, target: Relay, before: int) -> bool:
    """Whether a request arrives within five seconds."""
    try:
        return bool(eventually(lambda: turn(page, target.seen[before:]), "a request arrives", within_s=5.0))
    except AssertionError:
        return False


def turn(page: Page, seen: list[_T]) -> list[_T]:
    """What is seen, after the browser went on for a moment."""
    page.wait_for_timeout(10)
    return seen


def test_a_worker_that_is_handed_the_cookie_gets_nothing_for_it(
    page: Page, worker: Pages, guarded: Running, key: str
) -> None:
    """Its server sees what the browser sends to every port of localhost."""
    worker.cookies.clear()
    page.goto(worker.put("theirs", host="localhost"))
    cookie = next(cookie for cookie in worker.cookies if cookie)
    assert cookie.startswith("orchestrator_session_")
    assert key not in "".join(worker.cookies)
    for guess in ("", cookie, cookie.partition("=")[2], "x" * 43):
        answer = call(guarded.ports.api, "GET", "/v1/machines", None, {"cookie": cookie, "x-session-key": guess})
        assert answer.status in {401, 429}
    assert call(guarded.ports.api, "POST", "/logout", None, {"cookie": cookie}).status == 204
    page.go_back()
    assert page.evaluate(CALL, ["/v1/machines", "GET", {"x-session-key": key}]) == 200, "it could not even end it"


def test_a_cookie_that_a_worker_plants_locks_nobody_out(page: Page, worker: Pages, target: Relay, key: str) -> None:
    """Nor does it let anybody in. Its server sees the name of the one that is there."""
    worker.cookies.clear()
    page.goto(worker.put("theirs", host="localhost"))
    name = next(cookie for cookie in worker.cookies if cookie).partition("=")[0]
    page.evaluate(f"document.cookie = '{name}=planted; path=/v1'")
    page.go_back()
    assert page.evaluate(CALL, ["/v1/machines", "GET", {"x-session-key": key}]) == 200
    assert page.evaluate(SIGN_IN, TOKEN)[0] == 200
