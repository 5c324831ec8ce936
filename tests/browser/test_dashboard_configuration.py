"""What a project gives a machine that runs already: typed in, chosen and sent from the dashboard, and then in the worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import expect
from tests.browser.axe import complaints
from tests.browser.late import (
    FAILS,
    SECRET,
    a_file,
    add,
    asked,
    configure,
    inside,
    press,
    release_all,
    taking_values,
    told,
)
from tests.browser.tabs import Tabs, row
from tests.integration.docker_command import docker
from tests.integration.running import Running

KEY: Final = "-----BEGIN KEY-----\nin several lines ä\n-----END KEY-----\n"


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[Running]:
    with taking_values(tmp_path_factory.mktemp("configuration")) as service:
        yield service


@pytest.fixture(autouse=True)
def _as_before(pools: Running) -> Iterator[None]:
    yield
    release_all(pools)


def test_variables_secrets_and_files_are_in_the_worker(tabs: Tabs, pools: Running, tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "pages").mkdir(parents=True)
    (site / "index.html").write_text("<h1>shop</h1>")
    (site / "pages" / "about.html").write_text("about us")
    page = tabs.open(pools, "machines")
    shown = asked(page)
    add(shown, "variable", "REGION", "eu it's")
    add(shown, "variable", "EMPTY", "")
    add(shown, "secret", "API_KEY", SECRET)
    press(shown, "Add a secret")
    page.keyboard.type("tls.key")
    shown.get_by_label("Value of secret 2 from a file").last.set_input_files([a_file("my.pem", KEY)])
    expect(shown).to_contain_text("my.pem")
    shown.locator("input[type=file][multiple]").set_input_files([a_file("robots.txt", "none")])
    shown.locator("input[webkitdirectory]").set_input_files(site)
    expect(shown).to_contain_text("3 files, 4.10 kB as an archive")
    assert complaints(page) == {}
    press(shown, "Assign")
    expect(shown).to_be_hidden(timeout=30_000)
    expect(page.get_by_role("status", name="Notices")).to_contain_text("and it is configured.")
    assert docker("exec", told(pools)["id"], "sh", "-c", '. /run/project/env; echo "$REGION,$EMPTY"').out == "eu it's,"
    assert inside(pools, "/run/project/secrets/API_KEY") == SECRET
    assert inside(pools, "/run/project/secrets/tls.key") == KEY.strip()  # as `docker` prints it
    assert inside(pools, "/run/project/files/index.html") == "<h1>shop</h1>"
    assert inside(pools, "/run/project/files/pages/about.html") == "about us"
    assert inside(pools, "/run/project/files/robots.txt") == "none"
    expect(row(page, "shop")).to_contain_text("configured")
    expect(row(page, "shop")).not_to_contain_text("not configured")


def test_a_set_up_that_failed_is_told_with_its_last_lines_and_can_be_tried_again(tabs: Tabs, pools: Running) -> None:
    page = tabs.open(pools, "machines", expects=FAILS)
    shown = asked(page)
    add(shown, "variable", "REGION", "nowhere")
    add(shown, "secret", "API_KEY", SECRET)
    press(shown, "Assign")
    alert = shown.get_by_role("alert")
    expect(alert).to_contain_text("Exit code 3, after", timeout=30_000)
    lines = alert.get_by_role("region", name="Last lines of the set-up")
    expect(lines).to_contain_text("no such region, with the key ***")
    assert complaints(page) == {}
    assert told(pools)["configured"] is False
    shown.get_by_label("Value of variable 1").fill("eu")
    shown.get_by_label("Value of secret 1", exact=True).fill("another")
    press(shown, "Assign")
    expect(shown).to_be_hidden(timeout=30_000)
    assert told(pools)["configured"] is True
    assert inside(pools, "/run/project/secrets/API_KEY") == "another"


def test_a_machine_says_whether_it_is_configured_and_why_not(tabs: Tabs, pools: Running) -> None:
    machine = pools.assign("shop")["containerId"]
    page = tabs.open(pools, f"machines/{machine}")
    fact = page.locator("dl.about > div").filter(has_text="Configured")
    expect(fact).to_contain_text("no No assign has brought values for it so far.")
    assert configure(pools, {"env": {"REGION": "eu"}}) == 200
    expect(fact).to_contain_text("yes in ")
    life = page.get_by_role("region", name="Its life")
    for moment in ("Being configured", "Configured"):
        expect(life.get_by_text(moment, exact=True).first).to_be_visible()  # it may have had another tenant before
    expect(page.get_by_role("region", name="Why this machine")).to_contain_text("It is configured")
    press(page, "Restart shop")
    again = page.get_by_role("dialog", name="Restart shop?")
    expect(again).to_contain_text("What it is configured with is in memory, and lost by this.")
    press(again, "Restart")
    expect(fact).to_contain_text("is gone", timeout=30_000)
    expect(life.get_by_text("Configuration lost", exact=True)).to_be_visible()
    assert complaints(page) == {}
    page.get_by_role("link", name="Machines", exact=True).first.click()
    note = row(page, "shop").get_by_text("not configured")
    expect(note).to_have_attribute("title", "What its project had configured it with was in memory, and is gone.")
    assert complaints(page) == {}
    page.get_by_role("link", name="Activity", exact=True).click()
    expect(page.get_by_role("listitem").filter(has_text="has lost the configuration of shop")).to_be_visible()


def test_other_values_are_refused_unless_they_are_to_replace(tabs: Tabs, pools: Running) -> None:
    assert configure(pools, {"env": {"REGION": "eu"}}) == 201
    runs = inside(pools, "/tmp/runs").count("done")
    page = tabs.open(pools, expects=FAILS)
    shown = asked(page)
    add(shown, "variable", "REGION", "us")
    press(shown, "Assign")
    expect(shown.get_by_role("alert")).to_contain_text("was configured with other values", timeout=30_000)
    assert "eu" in inside(pools, "/run/project/env")
    shown.get_by_label("Replace").check()
    press(shown, "Assign")
    expect(shown).to_be_hidden(timeout=30_000)
    assert "us" in inside(pools, "/run/project/env")
    assert inside(pools, "/tmp/runs").count("done") == runs + 1


def test_a_project_that_has_a_machine_configures_it_on_its_page(tabs: Tabs, pools: Running) -> None:
    machine = pools.assign("shop")["containerId"]
    page = tabs.open(pools, f"machines/{machine}")
    press(page, "Configure shop")
    shown = page.get_by_role("dialog", name="Configure shop")
    expect(shown.get_by_role("group", name="Environment")).to_be_visible()
    expect(shown.get_by_label("Replace")).not_to_be_checked()
    add(shown, "variable", "REGION", "eu")
    assert complaints(page) == {}
    press(shown, "Configure")
    expect(shown).to_be_hidden(timeout=30_000)
    assert told(pools)["configured"] is True
    assert told(pools)["id"] == machine
    expect(page.locator("dl.about > div").filter(has_text="Configured")).to_contain_text("yes")
    press(page, "Configure shop")
    expect(page.get_by_role("dialog").get_by_label("Replace")).to_be_checked()


def test_a_release_says_that_the_machine_is_restarted_without_its_values(tabs: Tabs, pools: Running) -> None:
    assert configure(pools, {"secrets": {"API_KEY": SECRET}}) == 201
    machine = told(pools)["id"]
    page = tabs.open(pools, "machines")
    press(row(page, "shop"), "Release shop")
    shown = page.get_by_role("dialog", name="Release shop?")
    expect(shown).to_contain_text("This machine is restarted (reuse), as it was configured")
    press(shown, "Release")
    expect(page.get_by_role("status", name="Notices")).to_contain_text("goes back to the pool")
    expect(row(page, machine)).to_contain_text("idle", timeout=30_000)
    assert docker("exec", machine, "ls", "-A", "/run/project").out == ""
    page.goto(page.url.replace("machines", "events"))
    cleaned = page.get_by_role("listitem").filter(has_text="was cleaned, and has to answer again")
    expect(cleaned.first).to_contain_text(machine)
