"""When a project loses its machine is seen in the list and on the machine's page; and what sleeps is seen to."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect
from tests.browser.axe import complaints, cut_off
from tests.browser.tabs import PHONE, REFUSED, Tabs, row, url
from tests.integration.calling import call
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The project `early` has lost its machine, since the first minute is over."""
    flags = ("--engine", "memory", "--min-idle", "1", "--max-machines", "6")
    with a_service(tmp_path_factory.mktemp("deadlines"), *flags) as service:
        assign(service, "early", ttl=1)
        eventually(lambda: service.machine_of("early") is None, "its first minute is over", within_s=75)
        service.await_idle(1)
        yield service


@pytest.fixture
def machine(pool: Running) -> Iterator[Any]:
    """The one that `shop` has for an hour."""
    yield assign(pool, "shop", ttl=3600)
    pool.delete("shop")


def assign(pool: Running, project: str, **terms: float) -> Any:
    answer = call(pool.ports.api, "PUT", f"/v1/projects/{project}/machine", {"wait_seconds": 20, **terms})
    assert answer.status in {200, 201}, answer.text
    return answer.json


def keep(pool: Running, project: str, **terms: float) -> None:
    assert call(pool.ports.api, "POST", f"/v1/projects/{project}/machine/keepalive", terms).status == 204


def test_the_list_says_in_how_long_it_ends_and_why(tabs: Tabs, pool: Running, machine: Any) -> None:
    page = tabs.open(pool, "machines", expects=r"status of 501")
    until = row(page, "shop").locator(".until")
    expect(until).to_have_text(re.compile(r"^ends in (59 min|1 h)$"))
    title = until.get_attribute("title") or ""
    assert "(ttl: 1 h since it was last asked for or kept)" in title
    assert "Last active " in title
    expect(row(page, "idle").locator(".until")).to_have_count(0)
    assert complaints(page) == {}
    keep(pool, "shop", ttl=7200)
    expect(until).to_have_text(re.compile(r"^ends in (1 h 59 min|2 h)$"), timeout=20_000)


@pytest.mark.parametrize("width", [1440, 1200, 375])
def test_it_is_seen_on_every_screen(tabs: Tabs, pool: Running, machine: Any, width: int) -> None:
    options = PHONE if width == 375 else {"viewport": {"width": width, "height": 800}}
    page = tabs.open(pool, "machines", expects=r"status of 501", **options)
    expect(row(page, "shop").locator(".until")).to_be_visible()
    box = row(page, "shop").bounding_box()
    until = row(page, "shop").locator(".until").bounding_box()
    assert box is not None
    assert until is not None
    assert box["y"] <= until["y"]
    assert until["y"] + until["height"] <= box["y"] + box["height"] + 1
    assert complaints(page) == {}


def test_a_machine_is_kept_from_its_page(tabs: Tabs, pool: Running, machine: Any) -> None:
    page = tabs.open(pool, f"machines/{machine['id']}", expects=r"status of 501")
    expect(page.get_by_text("Last active")).to_be_visible()
    expect(page.locator(".about").first).to_contain_text(re.compile(r"Endsin (59 min|1 h) ttl"))
    assert complaints(page) == {}
    before = told(pool)["expires_at"]
    time.sleep(0.01)  # so that a later end is another number
    page.get_by_role("button", name="Keep shop", exact=True).press("Enter")
    notice = page.get_by_role("status", name="Notices")
    expect(notice).to_contain_text(
        re.compile(rf"shop keeps {machine['id']}. It ends in (59 min|1 h), unless it is used or kept.")
    )
    assert told(pool)["expires_at"] > before
    page.set_viewport_size({"width": 375, "height": 812})
    expect(page.get_by_role("button", name="Keep shop", exact=True)).to_be_visible()
    assert cut_off(page) == []


def told(pool: Running) -> Any:
    return call(pool.ports.api, "GET", "/v1/projects/shop/machine").json["lease"]


def test_to_keep_it_names_the_generation_that_was_seen(tabs: Tabs, pool: Running, machine: Any) -> None:
    """So that it never hits the next project."""
    page = tabs.open(pool, f"machines/{machine['id']}", expects=r"status of 501")
    with page.expect_request(re.compile("keepalive")) as asked:
        page.get_by_role("button", name="Keep shop", exact=True).click()
    assert asked.value.url.endswith(f"/v1/projects/shop/machine/keepalive?generation={machine['generation']}")


def test_without_a_deadline_there_is_nothing_to_keep(tabs: Tabs, pool: Running) -> None:
    found = assign(pool, "forever")
    page = tabs.open(pool, f"machines/{found['id']}", expects=r"status of 501")
    expect(page.get_by_role("button", name="Release forever")).to_be_visible()
    expect(page.get_by_role("button", name="Keep forever")).to_have_count(0)
    pool.delete("forever")


def test_what_expired_has_words_in_the_activity_and_with_the_pool(tabs: Tabs, pool: Running) -> None:
    page = tabs.open(pool, "events?project=early")
    expired = page.get_by_role("listitem").filter(has_text="was taken back, as a deadline has passed, from early")
    expect(expired).to_contain_text("Its project had not asked for it for 1 s.")
    page.get_by_label("Kind").select_option("Assigns and releases")
    expect(expired).to_be_visible()
    assert complaints(page) == {}
    page = tabs.open(pool)
    page.get_by_text("Last expiries: 1").click()
    expect(page.locator(".expiries").get_by_role("listitem")).to_contain_text("early")
    assert complaints(page) == {}


# machines that sleep


@pytest.fixture
def asleep(pool: Running, machine: Any) -> Any:
    """That machine sleeps."""
    answer = call(pool.ports.api, "POST", "/v1/projects/shop/machine/sleep")
    assert answer.status == 200, answer.text
    return answer.json


def test_what_sleeps_is_counted_by_itself(tabs: Tabs, pool: Running, asleep: Any) -> None:
    """It takes room, and serves nobody."""
    page = tabs.open(pool, expects=r"status of 501")
    expect(page.get_by_role("link", name="1 sleeping")).to_be_visible()
    expect(page.get_by_role("link", name="0 assigned")).to_be_visible()
    expect(page.get_by_role("img", name=re.compile(r"^\d of at most 6: .*1 sleeping"))).to_be_visible()
    assert complaints(page) == {}
    page.get_by_role("link", name="1 sleeping").click()
    expect(row(page, "shop")).to_contain_text("sleeping")


def test_the_list_leads_nobody_to_the_address_of_what_sleeps(tabs: Tabs, pool: Running, asleep: Any) -> None:
    page = tabs.open(pool, "machines", expects=r"status of 501")
    port = row(page, "shop").locator(".port")
    expect(port).to_have_text(str(asleep["port"]))
    expect(port.get_by_role("link")).to_have_count(0)
    expect(port.get_by_title("Its URL may be somebody else's until it wakes.")).to_be_visible()
    expect(row(page, "shop").locator(".until")).to_have_count(0)
    page.get_by_role("button", name=re.compile(r"^sleeping 1$")).click()
    expect(row(page, "idle")).to_have_count(0)
    assert complaints(page) == {}


def test_the_page_of_what_sleeps_says_why_and_that_its_address_may_be_another_ones(
    tabs: Tabs, pool: Running, asleep: Any
) -> None:
    page = tabs.open(pool, f"machines/{asleep['id']}", expects=r"status of 501")
    about = page.locator(".about").first
    expect(about).to_contain_text(f"{asleep['url']} may be somebody else's until it wakes")
    expect(about.get_by_role("link", name=asleep["url"])).to_have_count(0)
    expect(about).to_contain_text("no deadline is to come")
    why = page.get_by_role("region", name="Why it sleeps")
    expect(why).to_contain_text("It was put to sleep on request. Its files are kept.")
    expect(why).to_contain_text("The next assign of its project wakes it as it was, and so does Wake.")
    expect(page.get_by_role("region", name="Why this machine")).not_to_contain_text("It sleeps now")
    for name in ("Keep shop", "Sleep shop", "Restart shop"):
        expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)
    for name in ("Wake shop", "Release shop", "Destroy shop"):
        expect(page.get_by_role("button", name=name, exact=True)).to_be_visible()
    assert complaints(page) == {}
    for tab in ("Terminal", "Usage"):
        page.get_by_role("tab", name=tab).click()
        expect(page.get_by_role("tabpanel", name=tab)).to_contain_text("It sleeps, so nothing runs in it.")
    assert complaints(page) == {}
    page.get_by_role("button", name="Destroy shop", exact=True).click()
    expect(page.get_by_role("dialog")).to_contain_text("shop keeps it, asleep: its files are lost.")


def test_wake_and_sleep_name_the_generation_that_was_seen(tabs: Tabs, pool: Running, asleep: Any) -> None:
    page = tabs.open(pool, f"machines/{asleep['id']}", expects=r"status of (501|404)")  # 404: the end of this test
    with page.expect_request(re.compile("/wake")) as asked:
        page.get_by_role("button", name="Wake shop", exact=True).press("Enter")
    assert asked.value.url.endswith(f"/v1/projects/shop/machine/wake?generation={asleep['generation']}")
    page.get_by_role("button", name="Sleep shop", exact=True).click()
    with page.expect_request(re.compile("/sleep")) as asked:
        page.get_by_role("dialog").get_by_role("button", name="Sleep", exact=True).click()
    assert asked.value.url.endswith(f"/v1/projects/shop/machine/sleep?generation={asleep['generation']}")
    expect(page.get_by_role("button", name="Wake shop", exact=True)).to_be_visible()


def test_why_it_could_not_be_woken_stays_until_it_is_read(tabs: Tabs, pool: Running, asleep: Any) -> None:
    page = tabs.empty(expects=rf"{REFUSED}|status of 501")
    held: list[Route] = []
    page.route(re.compile(r"/machine/wake"), lambda route: held.append(route))  # noqa: PLW0108 # it is given an attribute
    page.goto(url(pool, f"machines/{asleep['id']}"))
    wake = page.get_by_role("button", name="Wake shop", exact=True)
    wake.click()
    expect(wake).to_have_text("Waking…")
    expect(wake).to_be_disabled()
    refuse(page, held, "Its host port 9093 is taken by another program.")
    expect(page.get_by_role("status", name="Notices")).to_contain_text(
        "Its host port 9093 is taken by another program."
    )
    expect(wake).to_have_text("Wake")
    expect(wake).to_be_enabled()


def refuse(page: Page, held: list[Route], why: str) -> None:
    """As the service would."""
    page.wait_for_timeout(50)
    [route] = held
    problem = {"type": "about:blank", "title": "Port taken", "status": 503, "code": "port_taken", "detail": why}
    route.fulfill(status=503, content_type="application/problem+json", json=problem)
