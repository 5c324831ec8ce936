"""What happened can be searched: by text, by kind, by project; and what is looked for stands in the address."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect
from tests.browser.axe import cut_off, violations
from tests.browser.tabs import PHONE, Tabs
from tests.integration.running import Running, a_service


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The project `early` came first, and 250 events ago; of `shop` and `blog` something happened lately."""
    flags = ("--engine", "memory", "--min-idle", "1", "--max-machines", "4")
    with a_service(tmp_path_factory.mktemp("activity"), *flags) as service:
        service.await_idle(1)
        service.assign("early")
        service.release("early")
        for _ in range(125):
            service.assign("busy")
            service.release("busy")
        service.assign("shop")
        service.assign("blog")
        service.release("blog")
        yield service


def events(page: Page) -> Locator:
    return page.locator(".events").get_by_role("listitem")


def test_a_text_a_kind_and_a_project_leave_what_was_meant(tabs: Tabs, pool: Running) -> None:
    page = tabs.open(pool, "events")
    expect(events(page)).to_have_count(200)
    page.get_by_label("Search activity").fill("GIVEN to sho")
    expect(events(page)).to_have_count(1)
    expect(events(page)).to_contain_text("was given to shop")
    expect(page.get_by_role("status").filter(has_text="1 event")).to_be_visible()
    page.get_by_label("Search activity").fill("")
    page.get_by_label("Project").select_option("blog")
    expect(events(page)).to_have_text([re.compile("was given back by blog"), re.compile("was given to blog")])
    page.get_by_label("Kind").select_option("Starts")
    expect(page.get_by_text("No event is like that")).to_be_visible()
    page.get_by_role("button", name="Show all").click()
    expect(events(page)).to_have_count(200)


def test_a_project_is_shown_as_far_back_as_its_events_are_kept(tabs: Tabs, pool: Running) -> None:
    """Not only in the last events, which are another project's."""
    page = tabs.open(pool, "events?project=early&kind=assigns")
    expect(events(page)).to_have_text([re.compile("was given back by early"), re.compile("was given to early")])
    pool.assign("early")
    expect(events(page)).to_have_count(3)
    expect(events(page).first).to_contain_text("was given to early")
    pool.release("early")


def test_what_is_looked_for_stands_in_the_address(tabs: Tabs, pool: Running) -> None:
    page = tabs.open(pool, "events")
    page.get_by_label("Search activity").fill("blog")
    page.get_by_label("Kind").select_option("Assigns and releases")
    page.get_by_label("Project").select_option("blog")
    expect(page).to_have_url(re.compile(r"#/events\?q=blog&kind=assigns&project=blog$"))
    page.reload()
    expect(events(page)).to_have_count(2)
    expect(page.get_by_label("Search activity")).to_have_value("blog")
    expect(page.get_by_label("Kind")).to_have_value("assigns")
    expect(page.get_by_label("Project")).to_have_value("blog")
    page.evaluate("location.hash = '#/events?kind=failures'")
    expect(page.get_by_text("No event is like that")).to_be_visible()


def test_it_is_used_by_keyboard_and_on_a_phone(tabs: Tabs, pool: Running) -> None:
    page = tabs.open(pool, "events", **PHONE)
    page.get_by_label("Search activity").focus()
    page.keyboard.type("shop")
    expect(events(page)).to_have_count(1)
    page.keyboard.press("Tab")
    expect(page.get_by_label("Kind")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Project")).to_be_focused()
    assert violations(page) + cut_off(page) == []
    page.emulate_media(color_scheme="dark")
    assert violations(page) + cut_off(page) == []
