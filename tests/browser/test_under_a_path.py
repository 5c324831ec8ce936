"""The pages behind a proxy that shows the service under a path: all that they need is asked for there, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import Page, expect
from tests.browser.hearing import Heard
from tests.browser.prefix import PREFIX, Prefixed, prefixed
from tests.browser.tabs import UNSIGNED, Tabs, is_live, row
from tests.integration.guarded import a_guarded_service
from tests.integration.running import Running

TOKEN: Final = "a-token-of-more-than-16-characters"


@pytest.fixture
def proxy(service: Running) -> Iterator[Prefixed]:
    with prefixed(service.ports.api) as served:
        yield served
    assert served.strayed == []


def test_the_dashboard_works_with_its_api_and_a_terminal(proxy: Prefixed, tabs: Tabs) -> None:
    page = tabs.empty()
    page.goto(f"{proxy.url}/#/machines")
    is_live(page)
    row(page, "held").get_by_role("link").first.click()
    page.get_by_role("tab", name="Terminal").click()
    expect(page.get_by_role("status").filter(has_text="Esc, then Tab leaves the terminal")).to_be_visible()
    page.keyboard.type("echo $((6 * 7))\n")
    expect(page.locator(".xterm-rows")).to_contain_text("42")
    expect(page.get_by_role("link", name="API")).to_have_attribute("href", f"{proxy.url}/docs")


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
def test_the_page_of_the_api_tries_its_calls_there(path: str, proxy: Prefixed, page: Page) -> None:
    heard = Heard.of(page)
    page.goto(f"{proxy.url}{path}#/monitoring/list")
    block = page.locator("#operations-monitoring-list")
    block.get_by_role("button", name="Try it out").click()
    block.get_by_role("button", name="Execute", exact=True).click()
    expect(block.locator(".live-responses-table .response .response-col_status")).to_contain_text("200")
    assert heard.errors == []
    assert heard.hosts() == {f"localhost:{proxy.port}"}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that knows the path, and wants a token."""
    flags = ("--engine", "memory", "--min-idle", "1", "--root-path", PREFIX)
    with a_guarded_service(tmp_path_factory.mktemp("told"), TOKEN, *flags) as service:
        yield service


def test_a_session_is_for_the_path_and_for_nothing_else_of_the_host(told: Running, tabs: Tabs) -> None:
    """Also where the slash at its end was left out."""
    with prefixed(told.ports.api, keeps=True) as proxy:
        page = tabs.empty(expects=UNSIGNED)
        page.goto(proxy.url)
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Sign in").click()
        is_live(page)
        assert [cookie["path"] for cookie in page.context.cookies()] == [PREFIX]
        page.reload()
        is_live(page)
        page.goto(f"{proxy.url}/docs")
        expect(page.locator("#operations-monitoring-list")).to_be_visible()
        page.goto(f"{proxy.url}/")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Token")).to_be_visible()
        assert page.context.cookies() == []
        assert proxy.strayed == []
