"""The dashboard follows what happens outside, and says so when it cannot: nobody acts on old numbers."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import Page, expect
from tests.browser.tabs import AWAY, PHONE, Tabs, is_live, row, url
from tests.integration.docker_command import docker
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually, holds_for

WATCH: Final = """([machine, before]) => { window.changed = new Promise(resolve => {
    const state = () => [...document.querySelectorAll('.row')].find(row => row.textContent.includes(machine))
        ?.querySelector('.state').textContent ?? 'gone'
    if (state() !== before) throw new Error(`it is ${state()}`)
    new MutationObserver(() => state() !== before && resolve([Date.now() / 1000, state()]))
        .observe(document.body, {subtree: true, childList: true, characterData: true})
}) }"""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[Running]:
    with a_service(tmp_path_factory.mktemp("live"), "--max-machines", "6") as service:
        service.await_idle(2)
        service.assign("shop")
        service.await_idle(2)
        yield service


def is_away(page: Page) -> None:
    """It says that nothing is heard, and dims what is old."""
    expect(page.get_by_role("alert")).to_contain_text("The orchestrator cannot be reached")
    expect(page.get_by_role("alert")).to_contain_text("What is below is from")
    expect(page.get_by_role("status", name="Connection")).to_have_text("Not connected")
    expect(page.get_by_role("main")).to_have_css("filter", "grayscale(1)")


@pytest.mark.parametrize("state", ["idle", "assigned"])
def test_a_killed_container_shows_within_a_second(state: str, tabs: Tabs, pool: Running) -> None:
    pool.await_idle(2)
    machine = pool.idle()[0] if state == "idle" else pool.assign("shop")["containerId"]
    page = tabs.open(
        pool, "machines", expects=r"status of (409|503) .*/stats(\?past_seconds=900)?$"
    )  # it may be measured just then
    expect(row(page, machine)).to_contain_text(state)
    page.evaluate(WATCH, [machine, state])
    docker("kill", machine)
    killed_at = time.time()
    changed_at, now = page.evaluate("changed")
    assert changed_at - killed_at < 1.0
    assert now in ({"failed", "stopping", "gone"} if state == "idle" else {"restarting", "failed"})
    if state == "assigned":
        expect(row(page, machine)).to_contain_text("assigned")


def test_what_another_client_does_shows_by_itself(tabs: Tabs, pool: Running) -> None:
    page = tabs.open(pool, "machines")
    pool.assign("elsewhere")
    expect(row(page, "elsewhere")).to_contain_text("assigned", timeout=1000)
    pool.release("elsewhere")
    expect(row(page, "elsewhere")).to_have_count(0, timeout=1000)
    page.get_by_role("link", name="Activity").click()
    expect(page.get_by_role("listitem").filter(has_text="was given back by elsewhere").first).to_be_visible()


def test_a_page_says_that_the_service_is_away_and_goes_on_when_it_is_back(tabs: Tabs, pool: Running) -> None:
    """Without a reload: what happened meanwhile is there, and nothing could be done on old numbers."""
    page = tabs.open(pool, "machines", expects=AWAY)
    page.evaluate("window.sameDocument = true")
    shop = row(page, "shop")
    age = shop.locator(".age").inner_text()
    pool.end(signal.SIGKILL)
    is_away(page)
    expect(shop).to_contain_text("assigned")
    for name in ("Release shop", "Destroy shop"):
        expect(shop.get_by_role("button", name=name)).to_be_disabled()
    assign = page.get_by_role("button", name="Assign…")
    expect(assign).to_be_disabled()
    expect(assign).to_have_attribute("title", "Not while the orchestrator cannot be reached")
    machine = pool.rows("SELECT id FROM machine WHERE project IS NULL AND state = 'ready'")[0][0]
    docker("rm", "-f", machine)
    pool.start()
    is_live(page)
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_role("main")).to_have_css("filter", "none")
    page.get_by_role("button", name=re.compile("^past failures")).click()
    expect(row(page, machine)).to_contain_text("failed")
    page.get_by_role("button", name=re.compile("^All")).click()
    expect(shop.get_by_role("button", name="Release shop")).to_be_enabled()
    expect(shop.locator(".age")).not_to_have_text(age)
    assert page.evaluate("window.sameDocument")


def test_charts_survive_a_reload_and_a_restart(tabs: Tabs, pool: Running) -> None:
    """A restart as an operator makes it, after which the first sample is the same."""
    page = tabs.open(pool, expects=AWAY)
    first = first_sample(page)
    page.reload()
    is_live(page)
    assert first_sample(page) == first
    pool.end()
    is_away(page)
    assert first_sample(page) == first, "what was drawn stays"
    pool.start()
    is_live(page)
    page.reload()
    is_live(page)
    assert first_sample(page) == first
    for chart in ("Machines", "Assigns per minute", "Assign latency", "Refill lag"):
        expect(page.get_by_role("figure", name=chart)).to_be_visible()


def first_sample(page: Page) -> str:
    """The time at which the picture of the machines begins."""
    picture = page.get_by_role("figure", name="Machines").get_by_role("img")
    expect(picture).to_have_attribute("aria-label", re.compile(r"^Machines, [\d:]+ to"), timeout=25_000)
    return str(picture.get_attribute("aria-label")).removeprefix("Machines, ").partition(" to ")[0]


def test_a_view_that_was_never_opened_comes_when_the_service_is_back(tabs: Tabs, pool: Running) -> None:
    """It is loaded when it is needed, and a reload just then would leave nothing of the page."""
    page = tabs.open(pool, expects=AWAY)
    page.evaluate("window.sameDocument = true")
    machine = pool.assign("shop")["containerId"]
    pool.end(signal.SIGKILL)
    is_away(page)
    page.evaluate("id => { location.hash = `#/machines/${id}` }", machine)
    expect(page.get_by_role("main")).to_have_text("Loading…")
    holds_for(lambda: turn(page), "the page is there", for_s=1.5)
    with page.expect_request("**/v1/events"):
        page.get_by_role("button", name="Try now").click()
    pool.start()
    is_live(page)
    expect(page.get_by_role("heading", name="shop")).to_be_visible()
    assert page.evaluate("window.sameDocument")


def turn(page: Page) -> bool:
    """Whether the page is the same, after a moment in which it could go on."""
    page.wait_for_timeout(100)
    return bool(page.evaluate("window.sameDocument"))


CUT: Final = """() => {
    window.drawn = []
    const fillText = CanvasRenderingContext2D.prototype.fillText
    CanvasRenderingContext2D.prototype.fillText = function (text, x, y, ...more) {
        const { width } = this.measureText(text)
        const left = x - width * ({ center: 0.5, right: 1, end: 1 }[this.textAlign] ?? 0)
        window.drawn.push({ text, isCut: left < 0 || left + width > this.canvas.width })
        return fillText.call(this, text, x, y, ...more)
    }
}"""
IS_DRAWN: Final = "window.drawn.some(({ text }) => /^\\d+:\\d\\d/.test(text))"


@pytest.mark.parametrize("width", [375, 390, 412])
def test_on_a_phone_no_label_of_a_chart_is_cut_off(tabs: Tabs, pool: Running, width: int) -> None:
    page = tabs.empty(**{**PHONE, "viewport": {"width": width, "height": 812}})
    page.add_init_script(f"({CUT})()")
    page.goto(url(pool))
    is_live(page)
    for label in ("15 min", "1 h", "6 h", "24 h"):
        page.evaluate("window.drawn.length = 0")
        page.get_by_role("group", name="Time range").get_by_role("button", name=label, exact=True).click()
        eventually(lambda: page.evaluate(IS_DRAWN), "a time stands below a chart")
        assert page.evaluate("window.drawn.filter(({ isCut }) => isCut)") == []
