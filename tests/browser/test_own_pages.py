"""What must work in a browser: a developer's own front end, and whoever types the address."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page
from tests.browser.pages import Pages, Relay, relay
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually

TOKEN = "a-token-of-more-than-16-characters"
FETCH = """async ([url, options]) => {
    try {
        const reply = await fetch(url, options)
        return [reply.status, await reply.json()]
    } catch (error) { return [0, String(error)] }
}"""


@pytest.fixture(params=["localhost", "127.0.0.1"])
def front_end(request: pytest.FixtureRequest, page: Page, site: Pages) -> Page:
    """A page of a developer's own server, on another port."""
    page.goto(site.put("mine", host=request.param))
    return page


def fetch(page: Page, url: str, **options: Any) -> tuple[int, Any]:
    """What the page reads: status and JSON; status 0 where it may not read."""
    status, body = page.evaluate(FETCH, [url, options])
    return status, body


def test_a_front_end_on_this_machine_can_do_everything(front_end: Page, target: Relay, service: Running) -> None:
    """Assign, list, release and destroy, with the preflights that a browser asks for."""
    status, machine = fetch(front_end, f"{target.url}/browser")
    assert (status, sorted(machine)) == (200, ["containerId", "ip", "port", "url"])
    assert fetch(front_end, f"{target.url}/machines/list")[1]["machines"] == service.machines()
    status, said = fetch(front_end, f"{target.url}/browser", method="DELETE")
    assert (status, said) == (200, {"message": "Machine browser released"})
    order = {"method": "POST", "body": json.dumps({"containerId": machine["containerId"]})}
    status, said = fetch(front_end, f"{target.url}/destroy", **order, headers={"content-type": "application/json"})
    assert (status, said) == (200, {"message": f"Container {machine['containerId']} destroyed successfully"})
    assert fetch(front_end, f"{target.url}/nobody", method="DELETE") == (404, {"error": "Machine not found"})
    assert [one.status for one in target.seen if one.method == "OPTIONS"] != []


def test_whoever_types_the_address_gets_a_machine(page: Page, target: Relay, service: Running) -> None:
    """The browser says that no page asked for it."""
    answer = page.goto(f"{target.url}/typed")
    assert answer is not None
    assert answer.status == 200
    assert json.loads(page.inner_text("body"))["containerId"] == service.assign("typed")["containerId"]
    assert target.seen[0].site == "none"
    service.release("typed")


@pytest.mark.usefixtures("unharmed")
def test_a_prefetch_of_a_front_end_takes_no_machine(page: Page, site: Pages, target: Relay) -> None:
    """Nobody has opened the link yet."""
    page.goto(site.put(f"<link rel=prefetch href='{target.url}/ahead'>", host="localhost"))
    seen = eventually(lambda: list(target.seen), "the prefetch arrives")
    assert [(one.site, one.headers["sec-purpose"], one.status) for one in seen] == [("same-site", "prefetch", 503)]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that wants a token."""
    folder = tmp_path_factory.mktemp("guarded")
    secret = folder / "token"
    secret.touch(0o600)
    secret.write_text(TOKEN)
    with a_service(folder, "--engine", "memory", "--token-file", str(secret), start=False) as service:
        service.start(await_answer=False)
        eventually(lambda: answers(service), "it answers")
        yield service


def answers(service: Running) -> bool:
    try:
        return service.get("/").status == 401
    except OSError:
        return False


def test_a_page_without_the_token_is_told_so_and_gets_nothing(front_end: Page, guarded: Running) -> None:
    """An allowed front end may read why."""
    with relay(guarded.ports.api) as target:
        for method, path in (("GET", "/victim"), ("GET", "/machines/list"), ("DELETE", "/victim")):
            status, said = fetch(front_end, target.url + path, method=method)
            assert (status, said["error"]) == (401, "Token required")
        status, machine = fetch(front_end, f"{target.url}/victim", headers={"authorization": f"Bearer {TOKEN}"})
        assert (status, machine["ip"]) == (200, "localhost")


def test_a_foreign_page_that_knows_the_token_is_still_refused(page: Page, site: Pages, guarded: Running) -> None:
    """And one that does not, under a rebound name, gets nothing either."""
    with relay(guarded.ports.api) as target:
        page.goto(site.put("theirs"))
        headers = {"authorization": f"Bearer {TOKEN}"}
        assert fetch(page, f"{target.url}/theirs", headers=headers) == (0, "TypeError: Failed to fetch")
        answer = page.goto(f"http://rebind.example:{target.port}/theirs")
        assert answer is not None
        assert answer.status == 401
        assert fetch(page, "/theirs")[0] == 401


def test_the_log_of_a_service_that_wants_a_token_does_not_hold_it(guarded: Running) -> None:
    assert TOKEN not in guarded.log
    assert Path(guarded.log_file).exists()
