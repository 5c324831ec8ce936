"""Where the service wants a token, the dashboard asks for it once, and works with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import pytest
from playwright.sync_api import Error, Page, expect
from tests.browser.tabs import UNSIGNED, Tabs, is_live, row
from tests.integration.calling import call
from tests.integration.docker_command import docker
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually

TOKEN: Final = "a-token-of-more-than-16-characters"
BEARER: Final = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[Running]:
    """A service that wants a token, with one machine, which `held` has."""
    folder = tmp_path_factory.mktemp("sign-in")
    secret = folder / "token"
    secret.touch(0o600)
    secret.write_text(TOKEN)
    flags = ("--token-file", str(secret), "--min-idle", "0", "--max-machines", "3")
    with a_service(folder, *flags, start=False) as service:
        service.start(await_answer=False)
        eventually(lambda: answers(service), "it answers")
        assert service.get("/held", BEARER).status == 200
        yield service
        assert TOKEN not in service.log


def answers(service: Running) -> bool:
    try:
        return service.get("/login").status == 200
    except OSError:
        return False


def sign_in(page: Page, token: str = TOKEN) -> None:
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()


def machine_of(service: Running, project: str) -> str:
    told = service.get(f"/v1/projects/{project}/machine", BEARER)
    return str(told.json["id"]) if told.status == 200 else ""


def test_a_wrong_token_is_refused_and_the_right_one_shows_the_pool(tabs: Tabs, guarded: Running) -> None:
    page = tabs.open(guarded, "machines", live=False, expects=UNSIGNED)
    expect(page.get_by_label("Token")).to_be_focused()
    expect(page.get_by_text("held")).to_have_count(0)
    sign_in(page, "not-the-token-of-this-service")
    expect(page.get_by_role("alert")).to_have_text("That is not the token of this service.")
    sign_in(page)
    is_live(page)
    expect(row(page, "held")).to_contain_text("assigned")
    page.reload()
    is_live(page)


def test_no_script_and_no_other_site_gets_the_cookie_and_the_token_is_not_kept(tabs: Tabs, guarded: Running) -> None:
    page = tabs.open(guarded, live=False)
    sign_in(page)
    is_live(page)
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert page.evaluate("document.cookie") == ""
    kept = page.evaluate("JSON.stringify({...localStorage, ...sessionStorage}) + document.documentElement.outerHTML")
    assert TOKEN not in kept
    assert cookie["value"] not in kept


def test_a_preview_opens_by_a_link_that_is_made_for_it(tabs: Tabs, guarded: Running) -> None:
    """Its bare address shows nothing where the service wants a token."""
    page = tabs.open(guarded, f"machines/{machine_of(guarded, 'held')}", live=False)
    sign_in(page)
    is_live(page)
    with page.context.expect_page() as opened:
        page.get_by_role("link", name=f"http://held.localhost:{guarded.ports.api}/").click()
    preview = opened.value
    expect(preview.locator("h1")).to_contain_text("Hello from")
    assert preview.url == f"http://held.localhost:{guarded.ports.api}/"
    assert preview.evaluate("window.opener") is None


def test_a_stolen_cookie_alone_opens_nothing(tabs: Tabs, guarded: Running) -> None:
    page = tabs.open(guarded, live=False)
    sign_in(page)
    is_live(page)
    (cookie,) = page.context.cookies()
    stolen = {"cookie": f"{cookie['name']}={cookie['value']}"}
    assert guarded.get("/v1/machines", stolen).status == 401
    assert call(guarded.ports.api, "PUT", "/v1/projects/theirs/machine", {}, stolen).status == 401
    thief = tabs.empty(expects=UNSIGNED)
    thief.context.add_cookies([cookie])  # type: ignore[list-item] # what one gives, the other takes
    thief.goto(page.url)
    expect(thief.get_by_label("Token")).to_be_visible()
    assert machine_of(guarded, "theirs") == ""


def test_whoever_signs_out_sees_and_does_nothing_more(tabs: Tabs, guarded: Running) -> None:
    page = tabs.open(guarded, "machines", live=False, expects=UNSIGNED)
    sign_in(page)
    is_live(page)
    (cookie,) = page.context.cookies()
    key = page.evaluate("Object.values(localStorage).join()")
    session = {"cookie": f"{cookie['name']}={cookie['value']}", "x-session-key": key}
    assert guarded.get("/v1/machines", session).status == 200
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    expect(page.get_by_text("held")).to_have_count(0)
    assert guarded.get("/v1/machines", session).status == 401, "the session ended, not only the page"
    assert page.context.cookies() == []
    page.reload()
    expect(page.get_by_label("Token")).to_be_visible()


def test_a_session_that_ends_elsewhere_asks_for_the_token_again(tabs: Tabs, guarded: Running) -> None:
    page = tabs.open(guarded, live=False, expects=UNSIGNED)
    sign_in(page)
    is_live(page)
    page.context.clear_cookies()
    with suppress(Error):  # the page may have noticed by itself, and the button be gone
        page.get_by_role("button", name="Pause").click(timeout=1_000)
    expect(page.get_by_label("Token")).to_be_visible()
    assert not guarded.get("/v1/pools/default", BEARER).json["paused"]


def test_actions_and_the_terminal_work_with_a_token(tabs: Tabs, guarded: Running) -> None:
    page = tabs.open(guarded, live=False)
    sign_in(page)
    is_live(page)
    page.get_by_role("button", name="Assign…").click()
    page.get_by_role("textbox", name="Project").fill("shop")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0, timeout=20_000)
    machine = machine_of(guarded, "shop")
    page.evaluate("id => { location.hash = `#/machines/${id}/terminal` }", machine)
    expect(page.get_by_text("Esc, then Tab leaves the terminal")).to_be_visible()
    page.keyboard.type("echo $((6*7)) >/tmp/answer\n")
    eventually(lambda: docker("exec", machine, "cat", "/tmp/answer", check=False).out == "42", "it is written")
    page.get_by_role("button", name="Release shop").click()
    page.get_by_role("dialog").get_by_role("button", name="Release").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert machine_of(guarded, "shop") == ""
