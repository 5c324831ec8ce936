"""`/docs` in a real Chromium: a page of the API that works by itself, and asks nobody but the service."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from playwright.sync_api import Page, expect
from tests.browser.hearing import Heard
from tests.browser.pages import Relay
from tests.integration.running import Running

import worker_orchestrator

OPENAPI: Final = Path(worker_orchestrator.__file__).parent / "http" / "openapi.yaml"
DESCRIBED: Final[dict[str, Any]] = yaml.safe_load(OPENAPI.read_text(encoding="utf-8"))
METHODS: Final = {"get", "head", "put", "post", "patch", "delete", "options"}


@pytest.fixture
def heard(page: Page) -> Heard:
    return Heard.of(page)


def operations() -> set[tuple[str, str]]:
    paths = DESCRIBED["paths"].items()
    return {(method.upper(), path) for path, methods in paths for method in methods if method in METHODS}


def shown(page: Page) -> set[tuple[str, str]]:
    texts = page.locator(".opblock-summary").evaluate_all(
        "all => all.map(one => [one.querySelector('.opblock-summary-method').textContent,"
        " one.querySelector('.opblock-summary-path').dataset.path])"
    )
    return {(method.strip(), path) for method, path in texts}


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
def test_the_page_shows_every_operation_and_asks_nobody_else(
    path: str, page: Page, heard: Heard, target: Relay
) -> None:
    """Under its strict policy, and with nothing to complain of."""
    answer = page.goto(target.url + path)
    assert answer is not None
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    expect(page.locator(".opblock-summary")).to_have_count(len(operations()))
    assert shown(page) == operations()
    expect(page.locator(".info .title")).to_contain_text(worker_orchestrator.__version__)
    assert heard.errors == []
    assert heard.hosts() == {f"localhost:{target.port}"}


@pytest.mark.parametrize("operation", ["v1Assign", "v1Exec"])
def test_an_operation_opens_and_shows_what_it_takes_and_gives(
    operation: str, page: Page, heard: Heard, target: Relay
) -> None:
    """By its own address. A reference that leads nowhere would show as an error."""
    page.goto(f"{target.url}/docs#/v1/{operation}")
    block = page.locator(f"#operations-v1-{operation}")
    expect(block.locator(".response-col_status").get_by_text("200", exact=True)).to_be_visible()
    expect(block.locator(".opblock-section-request-body .body-param__example")).to_be_visible()
    assert page.locator(".errors-wrapper").count() == 0
    assert heard.errors == []
    assert heard.hosts() == {f"localhost:{target.port}"}


@pytest.mark.usefixtures("unharmed")
def test_a_request_can_be_tried_out_from_the_page(page: Page, heard: Heard, target: Relay, service: Running) -> None:
    """It goes to the service that showed the page, wherever that listens."""
    page.goto(f"{target.url}/docs#/monitoring/list")
    block = page.locator("#operations-monitoring-list")
    block.get_by_role("button", name="Try it out").click()
    block.get_by_role("button", name="Execute", exact=True).click()
    expect(block.locator(".live-responses-table .response .response-col_status")).to_contain_text("200")
    assert ("GET", "/machines/list") in {(one.method, one.path) for one in target.seen}
    assert heard.errors == []
    assert heard.hosts() == {f"localhost:{target.port}"}


def test_a_second_visit_loads_nothing_again(page: Page, target: Relay) -> None:
    """The browser asks whether its copies are good still."""
    page.goto(f"{target.url}/docs")
    expect(page.locator(".opblock-summary")).to_have_count(len(operations()))
    before = len(target.seen)
    page.reload()
    expect(page.locator(".opblock-summary")).to_have_count(len(operations()))
    again = [one for one in target.seen[before:] if "if-none-match" in one.headers]
    assert "/docs/swagger-ui-bundle.js" in {one.path for one in again}
    assert {one.status for one in again} == {304}
