"""Which size would have been right, on the page of a pool: the table, the picture, and what is proposed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect
from tests.browser.axe import complaints
from tests.browser.tabs import AWAY, Tabs
from tests.integration.running import Running, a_service

QUESTION = "Which size would have been right?"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One idle machine, for which several came at once."""
    flags = ("--engine", "memory", "--min-idle", "1", "--max-machines", "20")
    with a_service(tmp_path_factory.mktemp("plan"), *flags) as service:
        service.await_idle(1)
        for number in range(6):
            service.assign(f"project-{number}")
        yield service


def opened(page: Page) -> Locator:
    page.get_by_text(QUESTION).click()
    table = page.get_by_role("region", name="Sizes and what they would have been worth")
    expect(table).to_be_visible()
    return table


def test_each_size_is_a_row_and_a_mark(tabs: Tabs, pool: Running) -> None:
    page = tabs.open(pool)
    table = opened(page)
    expect(table.get_by_role("row").last).to_contain_text("follows demand")
    expect(table.get_by_role("row", name=re.compile("1 idle")).first).to_contain_text("now")
    rows = table.locator("tbody tr").count()
    picture = page.get_by_role("img", name=re.compile("Hit ratio and idle machine-hours"))
    expect(picture.locator("circle, rect")).to_have_count(rows)
    expect(page.get_by_text("6 assigns in")).to_be_visible()


def test_it_has_no_barriers(tabs: Tabs, pool: Running) -> None:
    page = tabs.open(pool)
    opened(page)
    assert complaints(page) == {}


def test_it_opens_with_the_keyboard_and_the_proposed_size_is_set(tabs: Tabs, pool: Running) -> None:
    page = tabs.open(pool)
    page.get_by_text(QUESTION).focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Use this size…").click()
    dialog = page.get_by_role("dialog")
    wanted = int(dialog.locator("b").first.inner_text())
    dialog.get_by_role("button", name="Set").click()
    expect(page.get_by_text("Pool default has new sizes.")).to_be_visible()
    assert json.loads(pool.get("/v1/pools/default").body)["changed"]["min_idle"] == wanted
    pool.await_idle(wanted)


def test_of_a_pool_that_nobody_came_to_it_says_so(tabs: Tabs, tmp_path_factory: pytest.TempPathFactory) -> None:
    with a_service(tmp_path_factory.mktemp("nobody"), "--engine", "memory", "--min-idle", "1") as service:
        service.await_idle(1)
        page = tabs.open(service, expects=AWAY)
        page.get_by_text(QUESTION).click()
        expect(page.get_by_text("No assign of the pool default is on record in this time")).to_be_visible()
