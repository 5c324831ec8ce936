"""Previews in a real Chromium: each project's page has an origin of its own, which commands nothing and shares nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from tests.browser.pages import Pages
from tests.integration.calling import call
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually

FETCH = """async ([url, options]) => {
    try { return (await fetch(url, options)).status } catch { return 0 }
}"""
SOCKET = """url => new Promise((resolve) => {
    const socket = new WebSocket(url)
    socket.onopen = () => resolve("open")
    socket.onerror = () => resolve("refused")
})"""

HELD_KEY = """field => field.dispatchEvent(
    new KeyboardEvent("keydown", {key: "Enter", repeat: true, bubbles: true, cancelable: true}))"""
# When the button of a dialog is seen first, and when it can be pressed.
TIMES = """{
    const look = () => {
        const button = document.querySelector("dialog button[type=submit]")
        if (button) window.shownAt ??= performance.now()
        if (button && !button.disabled) window.readyAt ??= performance.now()
        requestAnimationFrame(look)
    }
    look()
}"""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with a_service(tmp_path_factory.mktemp("previews"), "--engine", "memory", "--min-idle", "2") as running:
        running.await_idle(2)
        yield running


def preview(pool: Running, project: str) -> str:
    return f"http://{project}.localhost:{pool.ports.api}/"


def test_a_page_of_a_preview_commands_nothing(page: Page, pool: Running) -> None:
    held = pool.assign("evil")
    page.goto(preview(pool, "evil"))
    expect(page.locator("body")).to_contain_text(held["containerId"])
    order = json.dumps({"containerId": held["containerId"]})
    for host in ("localhost", "127.0.0.1"):
        api = f"http://{host}:{pool.ports.api}"
        calls: list[tuple[str, dict[str, Any]]] = [
            ("/victim", {}),
            ("/victim", {"mode": "no-cors"}),
            ("/evil", {"method": "DELETE"}),
            ("/v1/projects/victim/machine", {"method": "PUT"}),
            ("/destroy", {"method": "POST", "mode": "no-cors", "body": order}),
        ]
        for path, options in calls:
            assert page.evaluate(FETCH, [api + path, options]) == 0, (host, path)
        machine = held["containerId"]
        assert page.evaluate(SOCKET, f"ws://{host}:{pool.ports.api}/v1/machines/{machine}/terminal") == "refused"
    page.set_content(f"<form method=post action='http://localhost:{pool.ports.api}/destroy'></form>")
    page.evaluate("document.forms[0].submit()")
    page.wait_for_load_state()
    assert pool.machine_of("victim") is None
    assert pool.machine_of("evil")["id"] == held["containerId"]  # type: ignore[index]
    pool.release("evil")


def test_the_path_of_the_service_is_the_workers_own_at_a_preview(page: Page, pool: Running) -> None:
    """So what a page asks of its own host reaches its worker, and not the API."""
    pool.assign("own")
    page.goto(preview(pool, "own"))
    page.evaluate(FETCH, [f"{preview(pool, 'own')}victim", {}])
    page.evaluate(FETCH, [f"{preview(pool, 'own')}v1/projects/victim/machine", {"method": "PUT"}])
    assert pool.machine_of("victim") is None
    pool.release("own")


def test_cookies_of_one_project_reach_neither_another_one_nor_the_service(page: Page, pool: Running) -> None:
    for project in ("one", "two"):
        pool.assign(project)
    page.goto(preview(pool, "one"))
    page.evaluate("document.cookie = 'mine=1; path=/'; document.cookie = 'all=1; domain=localhost; path=/'")
    assert page.evaluate("document.cookie") == "mine=1"
    for url in (preview(pool, "two"), f"http://localhost:{pool.ports.api}/"):
        page.goto(url)
        assert page.evaluate("document.cookie") == ""
    assert {(one["name"], one["domain"]) for one in page.context.cookies()} == {("mine", "one.localhost")}
    for project in ("one", "two"):
        pool.release(project)


def test_a_link_on_a_foreign_page_does_not_wake_and_the_button_on_the_page_does(
    page: Page, pool: Running, site: Pages
) -> None:
    pool.assign("sleeper")
    assert call(pool.ports.api, "POST", "/v1/projects/sleeper/machine/sleep").status == 200
    page.goto(site.put(f"<a href='{preview(pool, 'sleeper')}'>go</a><img src='{preview(pool, 'sleeper')}x.png'>"))
    page.click("a")
    expect(page.locator("h1")).to_have_text("Asleep")
    assert pool.get("/v1/projects/sleeper/machine").json["state"] == "sleeping"
    page.click("a.button")
    expect(page.locator("body")).to_contain_text("a worker of the memory engine", timeout=20_000)
    assert pool.get("/v1/projects/sleeper/machine").json["state"] == "assigned"
    pool.release("sleeper")


def test_the_button_on_a_page_without_a_machine_opens_the_dashboard_which_asks_first(page: Page, pool: Running) -> None:
    page.context.add_init_script(TIMES)
    page.goto(preview(pool, "fresh"))
    expect(page.locator("h1")).to_have_text("No machine")
    with page.context.expect_page() as opened:
        page.click("a.button")
    dashboard = opened.value
    dialog = dashboard.get_by_role("dialog")
    expect(dialog.get_by_label("Project")).to_have_value("fresh")
    assert dashboard.evaluate("window.opener") is None
    assert not dialog.get_by_label("Project").evaluate(HELD_KEY), "a key that is still held down is no answer"
    expect(dialog.get_by_role("button", name="Assign")).to_be_enabled()
    assert dashboard.evaluate("readyAt - shownAt") > 400, "nor is the second click of a double one"
    assert pool.machine_of("fresh") is None
    dialog.get_by_role("button", name="Assign").click()
    eventually(lambda: pool.machine_of("fresh"), "it has a machine")
    page.goto(preview(pool, "fresh"))
    expect(page.locator("body")).to_contain_text("a worker of the memory engine")
    pool.release("fresh")


def test_of_all_the_service_a_page_of_a_preview_may_open_only_the_dashboard_in_a_tab(page: Page, pool: Running) -> None:
    pool.assign("evil")
    page.goto(preview(pool, "evil"))
    api = f"http://localhost:{pool.ports.api}/"
    for options in ({}, {"mode": "no-cors"}, {"headers": {"accept": "text/html"}}):
        assert page.evaluate(FETCH, [api, options]) == 0
    seen: dict[str, list[int]] = {}
    page.context.on("response", lambda reply: seen.setdefault(reply.url, []).append(reply.status))
    page.evaluate(
        """url => new Promise(loaded => {
            const frame = document.body.appendChild(Object.assign(document.createElement("iframe"), {src: url}))
            frame.onload = loaded
        })""",
        f"{api}?framed",
    )
    assert seen[f"{api}?framed"] == [403]
    for path, status in (
        ("victim", 403),
        ("docs", 403),
        ("machines/list", 403),
        ("assets/index.html", 403),
        ("?led", 200),
    ):
        page.goto(preview(pool, "evil"))
        with page.expect_navigation() as led:
            page.evaluate("url => { location = url }", f"{api}{path}")
        assert (led.value.status, path) == (status, path)
    assert pool.machine_of("victim") is None
    pool.release("evil")


def test_a_phone_reads_the_address_of_a_preview_from_the_dashboard(page: Page, tmp_path: Path) -> None:
    """And gets in with it, where a link is needed."""
    if shutil.which("zbarimg") is None:
        pytest.fail("zbarimg is missing: install Debian's package zbar-tools.", pytrace=False)
    config = tmp_path / "pool.toml"
    config.write_text('preview_access = "link"\n')
    template = "https://{name}.preview.example.com/"
    flags = ("--engine", "memory", "--config", str(config), "--url-template", template)
    with a_service(tmp_path / "service", *flags) as service:
        held = service.assign("phone")
        page.goto(f"http://localhost:{service.ports.api}/#/machines/{held['containerId']}")
        page.get_by_role("button", name="QR code").click()
        code = page.get_by_role("img", name="QR code that opens the preview")
        code.screenshot(path=tmp_path / "code.png")
        read = subprocess.run(
            ["zbarimg", "--quiet", "--raw", tmp_path / "code.png"], capture_output=True, text=True, check=True
        ).stdout.strip()
        assert read.startswith("https://phone.preview.example.com/?orchestrator_link=")
        assert read == page.get_by_role("dialog").get_by_role("link").get_attribute("href")
        host = {"host": f"phone.localhost:{service.ports.api}"}
        assert service.get(f"/?{read.partition('?')[2]}", host).status == 303


def test_an_address_that_leads_each_device_to_itself_has_no_code(page: Page, pool: Running) -> None:
    held = pool.assign("here")
    page.goto(f"http://localhost:{pool.ports.api}/#/machines/{held['containerId']}")
    expect(page.get_by_role("link", name=preview(pool, "here"))).to_be_visible()
    expect(page.get_by_role("button", name="QR code")).to_have_count(0)
    pool.release("here")
