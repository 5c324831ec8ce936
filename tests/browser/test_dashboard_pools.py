"""Several pools on the dashboard: all at a look, one chosen, and what comes and goes with the settings."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from typing import Any, Final

import pytest
from playwright.sync_api import Locator, Page, expect
from tests.browser.axe import PHONE, complaints
from tests.browser.tabs import AWAY, REFUSED, Tabs, is_live, of_module, row, url
from tests.integration.calling import call
from tests.integration.docker_command import a_name, docker, make_image
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually

SETTINGS: Final = """
max_machines = 12
assign_timeout = 300

[pools.default]
min_idle = 1

[pools.python]
min_idle = 1
max_machines = 2
spare = "50%"

[pools.preview]
min_idle = 0

[pools.node22]
image = "{broken}"
min_idle = 1
ports = {{ http = 9092, hmr = 24678 }}
"""
LEGACY: Final = "[pools.legacy]\nmin_idle = 0\n"
NIGHTLY: Final = "[pools.nightly]\nmin_idle = 0\n"
NAMES: Final = ["default", "python", "preview", "node22", "legacy"]


class Settings:
    """The file of the service, and its reload."""

    def __init__(self, service: Running, text: str) -> None:
        self._service, self._text = service, text

    def reload(self, *more: str) -> None:
        (self._service.folder / "orchestrator.toml").write_text("\n".join([self._text, *more]))
        assert call(self._service.ports.api, "POST", "/v1/reload").status == 200


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[tuple[Running, Settings]]:
    """One pool is as it should be, one at its own limit, one paused, one does not come up, and one is retired."""
    broken = f"{a_name('pools')}:latest"
    make_image(broken, 'ENTRYPOINT ["sh", "-c", "echo no module ./dist/index.js; exit 1"]')
    folder = tmp_path_factory.mktemp("pools")
    with contextlib.ExitStack() as stack:
        stack.callback(docker, "rmi", "-f", broken)
        service = stack.enter_context(a_service(folder, "--config", str(folder / "orchestrator.toml"), start=False))
        settings = Settings(service, SETTINGS.format(broken=broken))
        (folder / "orchestrator.toml").write_text(f"{SETTINGS.format(broken=broken)}\n{LEGACY}")
        service.start()
        for project, name in (("old-shop", "legacy"), ("py-1", "python"), ("py-2", "python")):
            assert assign(service, project, name).status in {200, 201}
        assert call(service.ports.api, "PATCH", "/v1/pools/preview", {"paused": True}).status == 200
        settings.reload()
        waiter = threading.Thread(target=wait_in_line, args=(service,), daemon=True)
        waiter.start()
        stack.callback(waiter.join)
        stack.callback(service.close)
        eventually(lambda: pool(service, "node22")["back_off"], "it failed")
        eventually(lambda: pool(service, "python")["waiting"] == 1, "one waits")
        eventually(lambda: pool(service, "default")["machines"]["idle"] == 1, "one is idle")
        yield service, settings


@pytest.fixture
def service(pools: tuple[Running, Settings]) -> Running:
    return pools[0]


@pytest.fixture
def settings(pools: tuple[Running, Settings]) -> Settings:
    return pools[1]


def assign(service: Running, project: str, name: str) -> Any:
    return call(service.ports.api, "PUT", f"/v1/projects/{project}/machine", {"pool": name}, timeout_s=60)


def wait_in_line(service: Running) -> None:
    with contextlib.suppress(OSError):  # it waits until the service ends
        call(service.ports.api, "PUT", "/v1/projects/py-waits/machine", {"pool": "python"}, timeout_s=300)


def pool(service: Running, name: str) -> Any:
    return service.get(f"/v1/pools/{name}").json


def switch(page: Page) -> Locator:
    return page.get_by_role("navigation", name="Pools")


def line(page: Page, name: str) -> Locator:
    return page.get_by_role("table", name="Pools").get_by_role("row").filter(has=page.get_by_role("link", name=name))


def cells(page: Page, name: str) -> list[str]:
    """Its state, and how many are assigned, idle, starting, failed and waiting; its limit."""
    return line(page, name).get_by_role("cell").all_inner_texts()[:7]


def test_all_pools_are_seen_at_a_look(tabs: Tabs, service: Running) -> None:
    page = tabs.open(service, expects=AWAY)
    expect(switch(page).get_by_role("link")).to_have_text(["All pools", *NAMES])
    expect(page.get_by_role("region", name="5 pools").get_by_role("img")).to_have_attribute(
        "aria-label", re.compile(r"^4 of at most 12: 3 assigned, 1 idle")
    )
    assert cells(page, "default") == ["ok", "0", "1 of 1", "0", "0", "0", "\N{EN DASH}"]
    assert cells(page, "python") == ["short", "2", "0 of 1", "0", "0", "1", "2"]
    assert cells(page, "preview") == ["paused", "0", "0 of 0", "0", "0", "0", "\N{EN DASH}"]
    assert cells(page, "legacy") == ["retired", "1", "0", "0", "0", "0", "\N{EN DASH}"]
    expect(line(page, "node22").get_by_role("cell").first).to_have_text("failing")
    trouble = page.get_by_role("region", name="5 pools")
    expect(trouble).to_contain_text("Pool node22: The image does not come up")
    expect(trouble.get_by_role("region", name="Its last log lines")).to_contain_text("no module ./dist/index.js")
    expect(trouble).not_to_contain_text("legacy, so it makes no machines")
    health = page.get_by_role("region", name="Health")
    expect(health.get_by_role("link")).to_have_text(["Pool preview is paused", "Pool node22 does not come up"])
    expect(page.get_by_role("heading", name="History of all pools")).to_be_visible()


def test_a_column_counts_those_that_sleep_where_there_are_some(tabs: Tabs, service: Running) -> None:
    page = tabs.open(service, expects=AWAY)
    header = page.get_by_role("table", name="Pools").get_by_role("columnheader", name="Sleeping")
    expect(header).to_have_count(0)
    assert assign(service, "sleeper", "default").status in {200, 201}
    assert call(service.ports.api, "POST", "/v1/projects/sleeper/machine/sleep").status == 200
    expect(header).to_be_visible()
    expect(line(page, "default").locator(".sleeping")).to_have_text("1")
    expect(line(page, "default").locator(".assigned")).to_have_text("0")
    expect(page.get_by_role("region", name="5 pools").get_by_role("img")).to_have_attribute(
        "aria-label", re.compile(r"1 sleeping")
    )
    assert complaints(page) == {}
    service.delete("sleeper")
    expect(header).to_have_count(0)
    eventually(lambda: pool(service, "default")["machines"]["idle"] == 1, "one is idle")
    eventually(lambda: not pool(service, "default")["machines"]["stopping"], "what slept is gone")


def test_one_pool_is_chosen_by_mouse_and_keyboard_and_stays_in_the_address(tabs: Tabs, service: Running) -> None:
    page = tabs.open(service, expects=AWAY)
    page.get_by_role("button", name="1 h", exact=True).click()
    switch(page).get_by_role("link", name="python").click()
    assert page.url == f"{url(service)}?past=3600&pool=python"
    shown = page.get_by_role("region", name="Pool python")
    expect(shown).to_contain_text("2 of 2 machines: full")
    expect(shown).to_contain_text("It wants 1 idle: min_idle is 1, and spare asks for no more (50% of the 2 machines")
    expect(shown).to_contain_text("All 2 machines of the pool python (its max_machines) are")
    expect(shown).to_contain_text("1 in line")
    expect(page.get_by_role("button", name="1 h", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("figure", name="Assigns per minute in pool python")).to_be_visible()
    page.reload()
    expect(switch(page).locator("[aria-current]")).to_have_text("python")
    expect(shown.get_by_role("link", name="2 assigned")).to_have_attribute(
        "href", "#/machines?state=assigned&pool=python"
    )
    switch(page).get_by_role("link", name="All pools").click()
    line(page, "default").get_by_role("link").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Pool default")).to_contain_text("1 of the 12 machines of all pools")
    expect(switch(page).get_by_role("link", name="default")).to_be_focused()
    switch(page).get_by_role("link", name="legacy").click()
    retired = page.get_by_role("region", name="Pool legacy")
    expect(retired).to_contain_text("Those that projects have are removed when they are released")
    expect(retired.get_by_role("button")).to_have_count(0)
    switch(page).get_by_role("link", name="node22").click()
    expect(page.get_by_role("region", name="Pool node22")).to_contain_text("Ports: http, hmr")


def test_the_switch_shows_the_chosen_pool_where_not_all_fit(tabs: Tabs, service: Running) -> None:
    page = tabs.open(service, "?pool=legacy", expects=AWAY, viewport=PHONE)
    expect(switch(page).get_by_role("link", name="legacy")).to_be_in_viewport(ratio=0.9)


@pytest.mark.parametrize("view", ["", "?pool=python", "?pool=node22", "?pool=legacy", "?pool=gone", "machines"])
def test_several_pools_have_no_barriers(view: str, tabs: Tabs, service: Running) -> None:
    page = tabs.open(service, view, expects=AWAY)
    ready = page.get_by_role("table", name="Machines") if view == "machines" else page.locator(".uplot").last
    expect(ready).to_be_visible()
    assert complaints(page) == {}


def test_machines_are_found_by_their_pool(tabs: Tabs, service: Running) -> None:
    page = tabs.open(service, "machines", expects=AWAY)
    expect(page.get_by_role("columnheader", name="Pool")).to_be_visible()
    expect(page.get_by_role("columnheader", name="Image")).to_have_count(0)
    expect(row(page, "old-shop").get_by_role("cell").nth(4)).to_have_text("legacy")
    page.get_by_role("combobox", name="Pool").select_option("python")
    expect(page.get_by_role("table", name="Machines").get_by_role("row")).to_have_count(3)
    assert page.url.endswith("#/machines?pool=python")
    page.get_by_role("combobox", name="Pool").select_option("preview")
    expect(page.get_by_text("Pool preview has no machines. The pool is paused, so none is started.")).to_be_visible()
    page.get_by_role("button", name="Show all").click()
    page.get_by_label("Search machines").fill("LEGACY")
    expect(page.get_by_role("table", name="Machines").get_by_role("row")).to_have_count(2)
    for width in (1440, 1340, 1200, 1081, 1080, 375):
        page.set_viewport_size({"width": width, "height": 800})
        expect(row(page, "old-shop")).to_contain_text("legacy")
        expect(row(page, "old-shop").locator(".of-pool")).to_be_in_viewport(ratio=1)
        expect(row(page, "old-shop").get_by_role("button", name="Destroy")).to_be_in_viewport(ratio=1)
    page.goto(url(service, "machines?pool=nowhere"))
    expect(page.get_by_text("There is no pool nowhere any more.")).to_be_visible()


def test_a_machine_of_a_pool_is_assigned_and_another_pool_is_refused(tabs: Tabs, service: Running) -> None:
    page = tabs.open(service, "?pool=default", expects=f"{REFUSED}|{AWAY}")
    page.get_by_role("button", name="Assign…").click()
    asked = page.get_by_role("dialog")
    expect(asked.get_by_label("Pool")).to_have_value("default")
    expect(asked.get_by_role("option")).to_have_text(["Whatever it has, else default", *NAMES[:-1]])
    page.keyboard.type("old-shop")
    page.keyboard.press("Enter")
    expect(asked.get_by_role("alert")).to_have_text(
        re.compile(r"^The project old-shop has the machine worker-\S+ of the pool legacy, not of default\. Release it")
    )
    assert complaints(page) == {}
    asked.get_by_label("Project").fill("new-shop")
    asked.get_by_role("button", name="Assign").click()
    expect(asked).to_be_hidden()
    machines = service.get("/v1/machines?project=new-shop").json["machines"]
    assert [one["pool"] for one in machines] == ["default"]
    expect(page.get_by_role("region", name="Pool default").get_by_role("link", name="1 assigned")).to_be_visible()
    page.get_by_role("status", name="Notices").get_by_role("link", name="worker-").click()
    page.get_by_role("link", name="default").click()
    expect(page.get_by_role("region", name="Pool default")).to_be_visible()
    service.release("new-shop")


def test_an_open_window_says_why_more_are_wanted_and_is_not_made_the_pools_own_size(
    tabs: Tabs, service: Running, settings: Settings
) -> None:
    page = tabs.open(service, "?pool=nightly", expects=AWAY)
    settings.reload(f"{NIGHTLY}[[pools.nightly.windows]]\ncron = '* * * * *'\nfor = '2m'\nmin_idle = 1\n")
    shown = page.get_by_role("region", name="Pool nightly")
    expect(shown).to_contain_text("It wants 1 idle: the window * * * * * (UTC) is open, and its min_idle is 1.")
    expect(shown.get_by_role("link", name="1 idle")).to_be_visible(timeout=15_000)
    page.get_by_role("button", name="Sizes…").click()
    asked = page.get_by_role("dialog", name="Sizes of pool nightly")
    expect(asked).to_contain_text("It wants 1 idle now: the window * * * * *")
    asked.get_by_label("Max idle").fill("3")
    with page.expect_request(lambda request: request.method == "PATCH") as sent:
        asked.get_by_role("button", name="Save").click()
    assert sent.value.post_data_json == {"max_idle": 3}
    settings.reload()
    expect(page.get_by_text("There is no pool nightly any more.")).to_be_visible()


def test_a_pool_gets_its_own_limit_and_nothing_else_is_sent(tabs: Tabs, service: Running) -> None:
    page = tabs.open(service, "?pool=preview", expects=AWAY)

    def save(size: str) -> Any:
        page.get_by_role("button", name="Sizes…").click()
        asked = page.get_by_role("dialog", name="Sizes of pool preview")
        expect(asked).to_contain_text("empty: as the settings say. Settings say no limit.")
        asked.get_by_label("Own limit").fill(size)
        with page.expect_request(lambda request: request.method == "PATCH") as sent:
            asked.get_by_role("button", name="Save").click()
        expect(asked).to_be_hidden()
        return sent.value.post_data_json

    assert save("5") == {"max_machines": 5}
    expect(page.get_by_role("region", name="Pool preview")).to_contain_text("0 of 5 machines")
    assert pool(service, "preview")["max_machines"] == 5
    assert save("") == {"max_machines": None}
    assert pool(service, "preview")["max_machines"] is None
    page.get_by_role("button", name="Sizes…").click()
    page.get_by_role("dialog", name="Sizes of pool preview").get_by_role("button", name="Save").click()
    expect(page.get_by_text("Nothing was changed: pool preview has the sizes that it had.")).to_be_visible()


def test_a_pool_comes_and_goes_with_a_reload(tabs: Tabs, service: Running, settings: Settings) -> None:
    page = tabs.open(service, expects=AWAY)
    settings.reload(NIGHTLY)
    switch(page).get_by_role("link", name="nightly").click()
    expect(page.get_by_role("region", name="Pool nightly")).to_be_visible()
    machines = tabs.open(service, "machines?pool=nightly", expects=AWAY)
    expect(machines.get_by_text("None is kept idle (min_idle is 0)")).to_be_visible()
    settings.reload()
    expect(page.get_by_role("status").filter(has_text="There is no pool nightly any more.")).to_be_visible()
    expect(switch(page).locator("[aria-current]")).to_have_text("All pools")
    expect(page.get_by_role("region", name="5 pools")).to_be_visible()
    expect(machines.get_by_text("There is no pool nightly any more.")).to_be_visible()


def test_a_trouble_that_pools_share_is_told_once_of_the_service(tabs: Tabs, service: Running) -> None:
    page = tabs.open(service, expects=AWAY)
    own = "pools => import('/assets/standing.js').then(it => it.withOwnTrouble(pools).map(({ name }) => name))"
    full: dict[str, Any] = {"problem": "The disk is full.", "retired": False, "back_off": None}
    gone = {"name": "gone", "problem": "No such pool.", "retired": True}
    assert of_module(page, own, [{"name": "a", **full}, {"name": "b", **full}, gone]) == []
    assert of_module(page, own, [{"name": "a", **full}, {"name": "b", "problem": None}, gone]) == ["a"]
    told = "([pool, said]) => import('/assets/standing.js').then(it => it.isToldBy(pool, said))"
    assert of_module(page, told, [{"name": "a", **full}, "In pool a: The disk is full."])
    assert not of_module(page, told, [{"name": "a", **full}, "In pools a and b: The disk is full."])


def test_a_machine_of_a_retired_pool_is_removed_when_it_is_released(tabs: Tabs, service: Running) -> None:
    """And with its last machine the pool is gone."""
    page = tabs.open(service, "?pool=legacy", expects=AWAY)
    page.get_by_role("link", name="1 assigned").click()
    page.get_by_role("button", name="Release old-shop").click()
    asked = page.get_by_role("dialog")
    expect(asked).to_contain_text("This machine is removed with all its files and processes")
    expect(asked).to_contain_text("the settings no longer name its pool")
    expect(asked).not_to_contain_text("starts a new one")
    asked.get_by_role("button", name="Release").click()
    expect(page.get_by_role("status", name="Notices")).to_contain_text("It is removed with its files.")
    expect(page.get_by_text("There is no pool legacy any more.")).to_be_visible()
    page.get_by_role("link", name="Overview").click()
    is_live(page)
    expect(switch(page).get_by_role("link")).to_have_text(["All pools", *NAMES[:-1]])
