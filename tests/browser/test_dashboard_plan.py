"""Which size would have been right, on the page of a pool: the table, the picture, and what is proposed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect
from tests.browser.axe import complaints
from tests.browser.tabs import AWAY, PHONE, Tabs
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


def test_of_too_little_nothing_is_proposed(tabs: Tabs, pool: Running) -> None:
    page = tabs.open(pool)
    opened(page)
    expect(page.get_by_text("Too little is on record to propose a size.")).to_be_visible()
    expect(page.get_by_role("button", name="Use this size…")).to_have_count(0)


def with_record(page: Page, **told: Any) -> None:
    """As if a record of a day said this of the pool. What is set is set in the service."""
    size = {"adaptive": False, "parked": 0, "p50_wait_seconds": 0, "p99_wait_seconds": 0.2, "parked_hours": 0}
    plan = {
        "pool": "default", "sizing": "fixed", "target": 0.99, "since": "2026-12-01T00:00:00Z",
        "until": "2026-12-02T00:00:00Z", "arrivals": 1470, "warm_up_seconds": 3.1, "enough": True,
        "now": {"idle": 1, "parked": 0}, "proposed": {"idle": 3, "parked": 0}, "sentence": "1470 assigns in 24.0 hours.",
        "sizes": [
            {**size, "idle": 1, "hit_ratio": 0.91, "idle_hours": 23.0},
            {**size, "idle": 2, "parked": 21, "hit_ratio": 0.9999, "idle_hours": 48.0, "parked_hours": 497.3},
            {**size, "idle": 3, "hit_ratio": 0.993, "idle_hours": 70.9},
            {**size, "idle": 4, "parked": 23, "hit_ratio": 0.992, "idle_hours": 61.2, "parked_hours": 321, "adaptive": True},
        ],
        **told,
    }  # fmt: skip
    page.route("**/v1/pools/default/plan", lambda route: route.fulfill(json=plan))


def test_it_opens_with_the_keyboard_and_the_proposed_size_is_set(tabs: Tabs, pool: Running) -> None:
    page = tabs.open(pool)
    with_record(page)
    page.get_by_text(QUESTION).focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Use this size…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("Min idle: 1 → 3")).to_be_visible()
    with_record(page, now={"idle": 3, "parked": 0})
    dialog.get_by_role("button", name="Set").click()
    expect(page.get_by_text("Pool default has new sizes.")).to_be_visible()
    assert json.loads(pool.get("/v1/pools/default").body)["changed"]["min_idle"] == 3
    pool.await_idle(3)
    expect(page.get_by_text("The pool has it.")).to_be_visible()
    expect(page.get_by_role("button", name="Use this size…")).to_have_count(0)


def test_of_a_pool_that_follows_demand_no_row_is_the_one_of_now(tabs: Tabs, pool: Running) -> None:
    page = tabs.open(pool)
    with_record(page, sizing="adaptive", now={"idle": 2, "parked": 21})
    table = opened(page)
    expect(page.get_by_text("This pool follows demand, and keeps 2 idle + 21 parked now.")).to_be_visible()
    expect(table.get_by_role("cell", name=re.compile("now"))).to_have_count(0)
    expect(page.get_by_role("button", name="Use this size…")).to_have_count(0)


def test_on_a_phone_the_table_shows_that_there_is_more_and_what_a_row_is(tabs: Tabs, pool: Running) -> None:
    page = tabs.open(pool, **PHONE)
    with_record(page)
    table = opened(page)
    assert table.evaluate("it => it.scrollWidth > it.clientWidth")
    assert "gradient" in table.evaluate("it => getComputedStyle(it).backgroundImage")
    name = table.get_by_role("rowheader", name="1 idle")
    before = name.bounding_box()
    table.evaluate("it => it.scrollTo(it.scrollWidth, 0)")
    assert name.bounding_box() == before
    assert complaints(page) == {}


def test_on_a_desk_the_picture_leaves_room_for_the_table(tabs: Tabs, pool: Running) -> None:
    page = tabs.open(pool, viewport={"width": 1440, "height": 900})
    with_record(page)
    opened(page)
    box = page.get_by_role("img", name=re.compile("Hit ratio and idle machine-hours")).bounding_box()
    assert box is not None
    assert box["height"] <= 161


def test_of_a_pool_that_nobody_came_to_it_says_so(tabs: Tabs, tmp_path_factory: pytest.TempPathFactory) -> None:
    with a_service(tmp_path_factory.mktemp("nobody"), "--engine", "memory", "--min-idle", "1") as service:
        service.await_idle(1)
        page = tabs.open(service, expects=AWAY)
        page.get_by_text(QUESTION).click()
        expect(page.get_by_text("No assign of the pool default is on record in this time")).to_be_visible()
