"""What is clicked on the dashboard happens: in the database, in the API's listing and in Docker."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from playwright.sync_api import Locator, Page, expect
from tests.browser.axe import complaints
from tests.browser.tabs import AWAY, REFUSED, Tabs, row
from tests.integration.calling import call
from tests.integration.docker_command import docker
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually, holds_for

SIZES: Final = {"min_idle": 2, "max_idle": 2, "limit": 5, "paused": False}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[Running]:
    flags = ("--min-idle", "2", "--max-idle", "2", "--max-machines", "5", "--assign-timeout", "2")
    with a_service(tmp_path_factory.mktemp("actions"), *flags) as service:
        service.await_idle(2)
        yield service


@pytest.fixture(autouse=True)
def _as_before(pool: Running) -> Iterator[None]:
    """Each test finds two idle machines and nothing assigned."""
    yield
    for machine in pool.machines():
        if machine["isUsed"]:
            pool.release(machine["id"])
    change(pool, SIZES)
    pool.await_idle(2)


def change(pool: Running, sizes: dict[str, Any]) -> None:
    assert call(pool.ports.api, "PATCH", "/v1/pools/default", sizes).status == 200


def said(pool: Running, *names: str) -> list[Any]:
    told = pool.get("/v1/pools/default").json
    return [told[name] for name in names]


def stored(pool: Running, machine: str) -> list[tuple[Any, ...]]:
    return pool.rows(f"SELECT state, project FROM machine WHERE id = '{machine}'")


def runs(container: str) -> bool:
    return docker("inspect", "--format", "{{.State.Running}}", container, check=False).out == "true"


def dialog(page: Page, title: str) -> Locator:
    shown = page.get_by_role("dialog", name=title)
    expect(shown).to_be_visible()
    return shown


def press(where: Locator | Page, name: str) -> None:
    where.get_by_role("button", name=name, exact=True).click()


def notice(page: Page) -> Locator:
    return page.get_by_role("status", name="Notices")


@pytest.mark.parametrize("view", ["", "machines"])
def test_a_project_that_is_typed_in_is_assigned_a_running_machine(view: str, tabs: Tabs, pool: Running) -> None:
    page = tabs.open(pool, view)
    press(page, "Assign…")
    asked = dialog(page, "Assign a machine")
    expect(asked.get_by_label("Project")).to_be_focused()
    page.keyboard.type("shop")
    page.keyboard.press("Enter")
    expect(asked).to_be_hidden()
    machine = pool.machine_of("shop")
    assert machine is not None
    expect(notice(page)).to_contain_text(f"shop has {machine['id']} at {machine['url']}")
    assert stored(pool, machine["id"]) == [("ready", "shop")]
    assert runs(machine["id"])
    page.get_by_role("link", name="Machines", exact=True).click()
    expect(row(page, "shop")).to_contain_text(machine["id"])
    expect(row(page, "shop")).to_contain_text("assigned")


def test_a_release_says_what_is_lost_and_hands_the_machine_back(tabs: Tabs, pool: Running) -> None:
    machine = pool.assign("shop")["containerId"]
    page = tabs.open(pool, "machines")
    press(row(page, "shop"), "Release shop")
    asked = dialog(page, "Release shop?")
    expect(asked).to_contain_text("What the project wrote is lost to it")
    expect(asked).to_contain_text(machine)
    expect(asked).to_contain_text("This machine stays as it is (reuse)")
    expect(asked).to_contain_text("finds all files of shop in it, and its processes still run")
    assert pool.machine_of("shop") is not None, "it only asked"
    press(asked, "Release")
    expect(asked).to_be_hidden()
    expect(notice(page)).to_contain_text(f"shop gave {machine} back. It goes back to the pool as it is.")
    expect(row(page, machine)).to_contain_text("idle")
    expect(row(page, "shop")).to_have_count(0)
    assert pool.machine_of("shop") is None
    assert stored(pool, machine) == [("ready", None)]
    assert runs(machine)


def test_a_release_of_a_service_that_recycles_says_that_the_machine_is_removed(
    tabs: Tabs, tmp_path_factory: pytest.TempPathFactory
) -> None:
    flags = ("--engine", "memory", "--on-release", "recycle")
    with a_service(tmp_path_factory.mktemp("recycles"), *flags) as service:
        machine = service.assign("shop")["containerId"]
        page = tabs.open(service, f"machines/{machine}", expects=rf"{AWAY}|status of (501|404) .*/machines/")
        press(page, "Release shop")
        asked = dialog(page, "Release shop?")
        expect(asked).to_contain_text("This machine is removed with all its files and processes")
        expect(asked).to_contain_text("The pool starts a new one in its place if it needs one")
        press(asked, "Release")
        expect(notice(page)).to_contain_text(f"shop gave {machine} back. It is removed with its files.")
        expect(page.get_by_text("This machine is gone")).to_be_visible()


def test_a_destroy_asks_first_and_a_cancel_leaves_everything(tabs: Tabs, pool: Running) -> None:
    machine = pool.assign("shop")["containerId"]
    page = tabs.open(pool, "machines")
    press(row(page, "shop"), "Destroy shop")
    press(dialog(page, "Destroy this machine?"), "Cancel")
    press(row(page, "shop"), "Destroy shop")
    dialog(page, "Destroy this machine?")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(row(page, "shop")).to_contain_text("assigned")
    assert stored(pool, machine) == [("ready", "shop")]
    assert runs(machine)


def test_a_destroy_says_whose_files_are_lost_and_removes_the_container(tabs: Tabs, pool: Running) -> None:
    machine = pool.assign("shop")["containerId"]
    page = tabs.open(pool, f"machines/{machine}")
    press(page, "Destroy shop")
    asked = dialog(page, "Destroy this machine?")
    expect(asked).to_contain_text("shop works with it: its files are lost")
    press(asked, "Destroy")
    expect(notice(page)).to_contain_text(f"{machine} is destroyed")
    assert docker("inspect", machine, check=False).failed
    assert pool.machine_of("shop") is None
    eventually(lambda: not stored(pool, machine), "the database forgets it")
    expect(page.get_by_text("This machine is gone")).to_be_visible()


@pytest.mark.parametrize("view", ["its page", "its row"])
def test_a_machine_is_started_again_with_its_files(view: str, tabs: Tabs, pool: Running) -> None:
    """It says what ends by it, and the same container comes back, for the same project."""
    machine = pool.assign("shop")["containerId"]
    docker("exec", machine, "sh", "-c", "echo kept >/tmp/work")
    begun = docker("inspect", "--format", "{{.State.StartedAt}}", machine).out
    where = f"machines/{machine}" if view == "its page" else "machines"
    page = tabs.open(pool, where, expects=REFUSED)  # whoever asks for its usage just then hears that it does not run
    press(page if view == "its page" else row(page, "shop"), "Restart shop")
    asked = dialog(page, "Restart shop?")
    expect(asked).to_contain_text("started again with its files: whatever runs in it ends")
    assert docker("inspect", "--format", "{{.State.StartedAt}}", machine).out == begun, "it only asked"
    press(asked, "Restart")
    expect(notice(page)).to_contain_text(f"{machine} is started again", timeout=30_000)
    assert docker("inspect", "--format", "{{.State.StartedAt}}", machine).out != begun
    assert docker("exec", machine, "cat", "/tmp/work").out == "kept"
    eventually(lambda: stored(pool, machine) == [("ready", "shop")], "it serves again")


@pytest.mark.parametrize("view", ["its page", "its row"])
def test_a_machine_is_put_to_sleep_and_woken_with_its_files(view: str, tabs: Tabs, pool: Running) -> None:
    """Sleep says what ends by it and asks; Wake loses nothing, so it does not ask."""
    shop = pool.assign("shop")
    machine = shop["containerId"]
    docker("exec", machine, "sh", "-c", "echo kept >/tmp/work")
    page = tabs.open(pool, f"machines/{machine}" if view == "its page" else "machines")
    where = page if view == "its page" else row(page, "shop")
    press(where, "Sleep shop")
    asked = dialog(page, "Put shop to sleep?")
    expect(asked).to_contain_text("is stopped: whatever runs in it ends. shop keeps it, with its files")
    expect(asked).to_contain_text("Until then its URL may be somebody else's")
    assert runs(machine), "it only asked"
    assert complaints(page) == {}
    press(asked, "Sleep")
    expect(notice(page)).to_contain_text(f"{machine} sleeps. shop keeps it, with its files.", timeout=30_000)
    assert not runs(machine)
    assert stored(pool, machine) == [("sleeping", "shop")]
    expect(where.get_by_role("button", name="Wake shop", exact=True)).to_be_visible()
    for name in ("Sleep shop", "Restart shop", "Copy URL of shop"):
        expect(where.get_by_role("button", name=name, exact=True)).to_have_count(0)
    press(where, "Wake shop")
    expect(notice(page)).to_contain_text(
        f"shop has {machine} again at http://localhost:{shop['port']}.", timeout=30_000
    )
    assert stored(pool, machine) == [("ready", "shop")]
    assert docker("exec", machine, "cat", "/tmp/work").out == "kept"
    expect(where.get_by_role("button", name="Sleep shop", exact=True)).to_be_visible()


def test_nothing_but_what_serves_a_project_can_be_put_to_sleep(tabs: Tabs, pool: Running) -> None:
    page = tabs.open(pool, f"machines/{pool.idle()[0]}")
    expect(page.get_by_role("button", name="Destroy", exact=False)).to_be_visible()
    for name in ("Sleep", "Wake"):
        expect(page.get_by_role("button", name=name, exact=False)).to_have_count(0)


def test_all_buttons_of_a_row_are_seen_on_every_screen(tabs: Tabs, pool: Running) -> None:
    pool.assign("shop")
    page = tabs.open(pool, "machines")
    last = row(page, "shop").get_by_role("button", name="Destroy shop")
    expect(last).to_be_visible()
    where = """one => { const box = one.getBoundingClientRect(); return [box.left, box.right] }"""
    for width in (1440, 1341, 1340, 1201, 1200, 1081, 1080, 375):
        page.set_viewport_size({"width": width, "height": 800})
        page.evaluate("() => new Promise(requestAnimationFrame)")
        end = page.get_by_role("table", name="Machines").evaluate(where)[1]
        assert last.evaluate(where)[1] <= end, width
        begin = row(page, "shop").get_by_role("button", name="Copy URL of shop").evaluate(where)[0]
        assert width <= 1080 or begin >= row(page, "shop").locator(".memory").evaluate(where)[1], width


def test_an_idle_machine_has_nothing_to_be_restarted_for(tabs: Tabs, pool: Running) -> None:
    eventually(lambda: len(pool.containers()) == len(pool.idle()) == 2, "what the test before left over is gone")
    page = tabs.open(pool, f"machines/{pool.idle()[0]}")
    expect(page.get_by_role("button", name="Destroy", exact=False)).to_be_visible()
    expect(page.get_by_role("button", name="Restart", exact=False)).to_have_count(0)


def test_an_idle_machine_that_is_destroyed_is_replaced(tabs: Tabs, pool: Running) -> None:
    machine = pool.idle()[0]
    page = tabs.open(pool, "machines")
    press(row(page, machine), f"Destroy {machine}")
    press(dialog(page, "Destroy this machine?"), "Destroy")
    expect(row(page, machine)).to_have_count(0)
    assert docker("inspect", machine, check=False).failed
    pool.await_idle(2)


def test_a_copied_url_is_in_the_clipboard_and_answers(tabs: Tabs, pool: Running) -> None:
    port = pool.assign("shop")["port"]
    page = tabs.open(pool, "machines", permissions=["clipboard-read", "clipboard-write"])
    press(row(page, "shop"), "Copy URL of shop")
    expect(notice(page)).to_contain_text(f"Copied http://localhost:{port}")
    assert page.evaluate("navigator.clipboard.readText()") == f"http://localhost:{port}"
    assert call(port, "GET", "/").status == 200


def test_more_idle_machines_come_as_soon_as_they_are_wanted(tabs: Tabs, pool: Running) -> None:
    page = tabs.open(pool)
    press(page, "Sizes…")
    asked = dialog(page, "Sizes of pool default")
    asked.get_by_label("Min idle").fill("3")
    asked.get_by_label("Max idle").fill("3")
    asked.get_by_label("Limit").fill("4")
    press(asked, "Save")
    expect(asked).to_be_hidden()
    expect(page.get_by_text("3 to 3")).to_be_visible()
    assert said(pool, "min_idle", "max_idle", "limit") == [3, 3, 4]
    expect(page.get_by_role("link", name="3 idle")).to_be_visible()
    assert [machine for machine in pool.await_idle(3) if not runs(machine)] == []
    expect(page.get_by_role("img", name=re.compile(r"^3 of at most 4: 3 idle"))).to_be_visible()


def test_sizes_that_do_not_go_together_are_refused_with_the_reason(tabs: Tabs, pool: Running) -> None:
    page = tabs.open(pool, expects=REFUSED)
    press(page, "Sizes…")
    asked = dialog(page, "Sizes of pool default")
    asked.get_by_label("Min idle").fill("9")
    press(asked, "Save")
    expect(asked.get_by_role("alert")).to_contain_text("min_idle is 9, but must be at most the limit, which is 5")
    assert said(pool, "min_idle", "limit") == [2, 5]


def test_a_paused_pool_starts_nothing_until_it_is_resumed(tabs: Tabs, pool: Running) -> None:
    page = tabs.open(pool)
    press(page, "Pause")
    expect(page.get_by_text("It starts and replaces nothing until it is resumed")).to_be_visible()
    assert said(pool, "paused") == [True]
    pool.destroy(pool.idle()[0])
    expect(page.get_by_role("link", name="1 idle")).to_be_visible()
    holds_for(lambda: len(pool.containers()) == 1, "nothing is started", for_s=0.5)
    press(page, "Resume")
    expect(page.get_by_role("link", name="2 idle")).to_be_visible()
    assert said(pool, "paused") == [False]
    assert len(pool.await_idle(2)) == len(pool.containers())


def test_an_assign_that_cannot_be_says_why_and_stays_where_it_can_be_tried_again(tabs: Tabs, pool: Running) -> None:
    change(pool, {"min_idle": 0, "limit": 2})
    for project in ("one", "two"):
        pool.assign(project)
    page = tabs.open(pool, expects=REFUSED)
    press(page, "Assign…")
    asked = dialog(page, "Assign a machine")
    asked.get_by_label("Project").fill("three")
    press(asked, "Assign")
    expect(asked.get_by_role("alert")).to_contain_text("Held longest: one and two.")
    assert pool.machine_of("three") is None
    pool.release("one")
    press(asked, "Assign")
    expect(asked).to_be_hidden()
    assert pool.machine_of("three") is not None


def test_a_dialog_that_stood_open_for_long_never_hits_the_next_tenant(tabs: Tabs, pool: Running) -> None:
    change(pool, {"min_idle": 1})
    machine = pool.assign("shop")["containerId"]
    page = tabs.open(pool, "machines", expects=REFUSED)
    press(row(page, "shop"), "Destroy shop")
    asked = dialog(page, "Destroy this machine?")
    pool.release("shop")
    eventually(lambda: pool.assign("next") and pool.assign("other"), "both have one")
    assert machine in {one["id"] for one in pool.machines() if one["isUsed"]}
    press(asked, "Destroy")
    expect(asked.get_by_role("alert")).to_contain_text("generation")
    assert runs(machine)
