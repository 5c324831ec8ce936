"""Everybody can use the dashboard: by keyboard, with a screen reader, by day and night, on a desk and on a phone."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import Page, expect
from tests.browser.axe import complaints
from tests.browser.tabs import AWAY, UNSIGNED, Tabs, is_live, row
from tests.integration.docker_command import a_name, docker, make_image
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually

LONG: Final = "a-project-with-a-name-that-is-long-enough-to-break-the-layout-of-every-row-and-every-head-" + "x" * 38
TOKEN: Final = "a-token-of-more-than-16-characters"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[Running]:
    """Machines of several states, and names as long as they can be."""
    flags = ("--min-idle", "1", "--max-machines", "4", "--env", f"GREETING={'wide' * 60}", "--env", "API_KEY=sk-secret")
    with a_service(tmp_path_factory.mktemp("accessible"), *flags) as service:
        service.await_idle(1)
        machine = service.assign(LONG)["containerId"]
        service.await_idle(1)
        docker("exec", machine, "sh", "-c", f"printf '\\033[31mred\\033[0m {'wide' * 60}\\n' >/proc/1/fd/1")
        docker("rm", "-f", service.idle()[0])
        eventually(lambda: '"state":"failed"' in service.get("/v1/machines").text, "one has failed")
        service.await_idle(1)
        yield service


@pytest.fixture
def machine(pool: Running) -> str:
    return str(pool.assign(LONG)["containerId"])


def go(page: Page, path: str) -> None:
    page.evaluate("path => { location.hash = `#/${path}` }", path)


def test_the_views_have_no_barriers(tabs: Tabs, pool: Running) -> None:
    page = tabs.open(pool)
    expect(page.get_by_role("heading", name="Recent activity")).to_be_visible()
    assert complaints(page) == {}
    go(page, "machines")
    expect(row(page, LONG)).to_be_visible()
    assert complaints(page) == {}
    go(page, "machines?q=no-such-machine")
    expect(page.get_by_text("No machine is like that")).to_be_visible()
    assert complaints(page) == {}
    go(page, "events")
    expect(page.get_by_role("listitem").filter(has_text=LONG).first).to_be_visible()
    assert complaints(page) == {}
    go(page, "nowhere")
    expect(page.get_by_role("heading", name="Nothing is here")).to_be_visible()
    assert complaints(page) == {}


def test_a_machines_page_has_no_barriers(tabs: Tabs, pool: Running, machine: str) -> None:
    page = tabs.open(pool, f"machines/{machine}")
    expect(page.get_by_role("region", name="Why this machine").get_by_role("table")).to_be_visible()
    assert complaints(page) == {}
    go(page, f"machines/{machine}/logs")
    expect(page.get_by_role("log")).to_contain_text("wide")
    page.get_by_label("Search the logs").fill("wide")
    expect(page.get_by_text("60 hits")).to_be_visible()
    assert complaints(page) == {}
    go(page, f"machines/{machine}/terminal")
    expect(page.get_by_text("Esc, then Tab leaves the terminal")).to_be_visible()
    assert complaints(page) == {}
    go(page, f"machines/{machine}/usage")
    expect(page.get_by_text("s of CPU since its start")).to_be_visible()
    assert complaints(page) == {}
    go(page, f"machines/{machine}/environment")
    expect(page.get_by_text("GREETING")).to_be_visible()
    assert complaints(page) == {}


@pytest.mark.parametrize(
    ("button", "title"),
    [
        ("Assign…", "Assign a machine"),
        (f"Release {LONG}", f"Release {LONG}?"),
        (f"Destroy {LONG}", "Destroy this machine?"),
    ],
    ids=["assign", "release", "destroy"],
)
def test_the_dialogs_have_no_barriers(button: str, title: str, tabs: Tabs, pool: Running, machine: str) -> None:
    page = tabs.open(pool, "machines")
    page.get_by_role("button", name=button).click()
    expect(page.get_by_role("dialog", name=title)).to_be_visible()
    assert complaints(page) == {}


def test_a_dialog_of_sizes_that_were_refused_has_no_barriers(tabs: Tabs, pool: Running) -> None:
    page = tabs.open(pool, expects="status of 400")
    page.get_by_role("button", name="Sizes…").click()
    page.get_by_label("Min idle").fill("99")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_be_visible()
    assert complaints(page) == {}


def test_the_sign_in_has_no_barriers(tabs: Tabs, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("guarded")
    secret = folder / "token"
    secret.touch(0o600)
    secret.write_text(TOKEN)
    with a_service(folder, "--engine", "memory", "--token-file", str(secret), start=False) as service:
        service.start(await_answer=False)
        eventually(lambda: answers(service), "it answers")
        page = tabs.open(service, live=False, expects=f"{UNSIGNED}|{AWAY}")
        page.get_by_label("Token").fill("not-the-token-of-this-service")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_be_visible()
        assert complaints(page) == {}


def answers(service: Running) -> bool:
    try:
        return service.get("/login").status == 200
    except OSError:
        return False


def test_a_broken_image_is_told_without_barriers(tabs: Tabs, tmp_path_factory: pytest.TempPathFactory) -> None:
    tag = f"{a_name('barriers')}:latest"
    make_image(tag, f'ENTRYPOINT ["sh", "-c", "echo {"wide" * 60}; exit 1"]')
    try:
        with a_service(tmp_path_factory.mktemp("broken"), "--image", tag) as service:
            page = tabs.open(service, expects=AWAY)  # it ends before the tab does
            expect(page.get_by_role("region", name="Its last log lines").first).to_contain_text("wide", timeout=30_000)
            assert complaints(page) == {}
    finally:
        docker("rmi", "-f", tag)


def test_everything_is_reached_by_the_keyboard_and_a_dialog_gives_the_focus_back(tabs: Tabs, pool: Running) -> None:
    page = tabs.open(pool)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    reached = []
    for _ in range(40):
        reached.append(page.evaluate("document.activeElement.textContent.trim()"))
        page.keyboard.press("Tab")
    assert {"Pause", "Sizes…", "Assign…", "15 min", "24 h", "All"} <= set(reached)
    assign = page.get_by_role("button", name="Assign…")
    assign.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(assign).to_be_focused()


def test_the_keyboard_gets_out_of_the_terminal(tabs: Tabs, pool: Running, machine: str) -> None:
    """Tab is the program's, but after Escape it leaves."""
    page = tabs.open(pool, f"machines/{machine}/terminal")
    expect(page.get_by_role("textbox", name="Terminal input")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("textbox", name="Terminal input")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    expect(page.get_by_role("textbox", name="Terminal input")).not_to_be_focused()


def test_a_page_without_its_service_has_no_barriers(tabs: Tabs, pool: Running) -> None:
    """Old numbers are pale, and yet can be read."""
    page = tabs.open(pool, "machines", expects=AWAY)
    pool.end(signal.SIGKILL)
    expect(page.get_by_role("alert")).to_be_visible(timeout=10_000)
    assert complaints(page) == {}
    pool.start()
    is_live(page)
