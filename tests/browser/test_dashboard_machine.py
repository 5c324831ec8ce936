"""A machine's page: its life and whose it is, what it writes and uses, a terminal in it, and what it was created with."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Final

import pytest
from playwright.sync_api import Page, expect
from tests.browser.axe import cut_off, violations
from tests.browser.tabs import PHONE, Tabs, row
from tests.integration.docker_command import docker
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually

from worker_orchestrator.store.store import DATABASE

HOSTILE: Final = "<script>alert(1)</script><img src=x onerror=alert(2)>"
SECRET: Final = "sk-very-secret-key-of-shop"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[Running]:
    flags = ("--min-idle", "1", "--max-machines", "4", "--env", f"API_KEY={SECRET}", "--env", f"GREETING={HOSTILE}")
    with a_service(tmp_path_factory.mktemp("machine"), *flags) as service:
        service.await_idle(1)
        service.assign("shop")
        service.await_idle(1)
        yield service


@pytest.fixture
def machine(pool: Running) -> str:
    """The one that `shop` works with."""
    return str(pool.assign("shop")["containerId"])


def write(machine: str, *lines: str) -> None:
    """As the worker itself would."""
    docker("exec", machine, "sh", "-c", 'printf "%s\\n" "$@" >/proc/1/fd/1', "sh", *lines)


def said(page: Page) -> str:
    return page.get_by_role("log").inner_text()


def content(machine: str, path: str) -> str:
    return docker("exec", machine, "cat", path, check=False).out


def processes(machine: str) -> list[str]:
    return docker("exec", machine, "ps", "-o", "args").out.splitlines()


def test_its_page_tells_its_life_and_why_it_is_whose_it_is(tabs: Tabs, pool: Running, machine: str) -> None:
    page = tabs.open(pool, "machines")
    row(page, "shop").get_by_role("link", name=machine).click()
    expect(page.get_by_role("heading", name="shop", level=1)).to_be_visible()
    expect(page).to_have_title("shop · Worker Orchestrator")
    life = page.get_by_role("region", name="Its life").get_by_role("listitem")
    expect(life).to_have_text([re.compile("^Assignedto shop"), re.compile("^Answered"), re.compile("^Created")])
    why = page.get_by_role("region", name="Why this machine")
    expect(why).to_contain_text("Warm")
    for stage in ("Store the assignment", "Create and start the container"):
        expect(why.get_by_role("row").filter(has_text=stage)).to_contain_text(re.compile(r"\d m?s$"))
    facts = page.locator(".about")
    expect(facts).to_contain_text("worker-orchestrator-example:latest")
    links = facts.get_by_role("link").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    assert links == [pool.assign("shop")["url"], f"http://shop.localhost:{pool.ports.api}/"]


def test_its_life_goes_on_while_one_looks(tabs: Tabs, pool: Running) -> None:
    machine = pool.idle()[0]
    page = tabs.open(pool, f"machines/{machine}")
    life = page.get_by_role("region", name="Its life").get_by_role("listitem")
    expect(life).to_have_count(2)
    expect(page.get_by_text("It belongs to no project")).to_be_visible()
    pool.assign("guest")
    expect(life.first).to_contain_text("to guest")
    expect(page.get_by_role("region", name="Why this machine")).to_contain_text("Warm")
    pool.release("guest")
    expect(life.filter(has_text="Released")).to_contain_text("by guest")
    expect(page.get_by_text("It belongs to no project")).to_be_visible()


def test_what_a_worker_writes_comes_live_and_is_text_whatever_it_is(tabs: Tabs, pool: Running, machine: str) -> None:
    write(machine, "before anybody looked")
    page = tabs.open(pool, f"machines/{machine}/logs")
    expect(page.get_by_role("log")).to_contain_text("before anybody looked")
    write(machine, HOSTILE, "\x1b[31mred\x1b[0m and \x1b]0;title\x07plain")
    expect(page.get_by_role("log")).to_contain_text(HOSTILE)
    expect(page.get_by_role("log")).to_contain_text("red and plain")
    assert page.get_by_role("log").locator("script, img").count() == 0


def test_a_search_of_the_logs_counts_its_hits_and_goes_from_one_to_the_next(
    tabs: Tabs, pool: Running, machine: str
) -> None:
    write(
        machine, *(f"request {number} took 7 ms" for number in range(300)), "request failed: a.b+c", "axb+c", "the end"
    )
    page = tabs.open(pool, f"machines/{machine}/logs")
    expect(page.get_by_role("log")).to_contain_text("the end")
    page.get_by_label("Search the logs").fill("A.B+C")
    expect(page.get_by_text("1 hit", exact=True)).to_be_visible()
    page.get_by_label("Search the logs").fill("request 1")
    expect(page.get_by_text("111 hits")).to_be_visible()
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 of 111 hits")).to_be_visible()
    expect(page.locator("mark.current")).to_be_in_viewport()
    expect(page.locator(".log-line").filter(has=page.locator("mark.current"))).to_contain_text("request 1 took")
    write(machine, "request 1 again")
    expect(page.get_by_text("1 of 111 hits")).to_be_visible()  # it holds still while one reads
    page.get_by_label("Search the logs").fill("no such line")
    expect(page.get_by_text("No hits")).to_be_visible()


def test_vi_runs_in_the_terminal_and_nothing_of_it_is_left_after_leaving(
    tabs: Tabs, pool: Running, machine: str
) -> None:
    before = processes(machine)
    page = tabs.open(pool, f"machines/{machine}/terminal")
    expect(page.get_by_text("Esc, then Tab leaves the terminal")).to_be_visible()
    page.keyboard.type("vi /tmp/note\n")
    expect(page.locator(".xterm-rows")).to_contain_text("/tmp/note")
    page.keyboard.type("iwritten in a browser")
    expect(page.locator(".xterm-rows")).to_contain_text("written in a browser")
    page.keyboard.press("Escape")
    expect(page.locator(".xterm-rows")).to_contain_text("- /tmp/note")  # it takes commands
    page.keyboard.type(":w\n")
    eventually(lambda: content(machine, "/tmp/note") == "written in a browser", "the file is written")
    assert any("vi /tmp/note" in one for one in processes(machine))
    page.get_by_role("link", name="Machines", exact=True).first.click()
    eventually(lambda: processes(machine) == before, "nothing is left of it")


def test_a_terminal_says_how_it_ended_and_opens_a_new_one_when_asked(tabs: Tabs, pool: Running, machine: str) -> None:
    page = tabs.open(pool, f"machines/{machine}/terminal")
    expect(page.get_by_text("Esc, then Tab leaves the terminal")).to_be_visible()
    page.keyboard.type("echo 'äöü € 漢字' >/tmp/words; exit 3\n")
    expect(page.get_by_text("It ended with exit code 3.")).to_be_visible()
    assert content(machine, "/tmp/words") == "äöü € 漢字"
    page.get_by_label("Command").fill("nothing-of-this-name")
    page.get_by_role("button", name="Open a new one").click()
    expect(page.get_by_text("It ended with exit code 127.")).to_be_visible()
    page.get_by_label("Command").fill("sh")
    page.get_by_role("button", name="Open a new one").click()
    expect(page.get_by_text("Esc, then Tab leaves the terminal")).to_be_visible()


def test_usage_is_measured_while_it_is_looked_at(tabs: Tabs, pool: Running, machine: str) -> None:
    page = tabs.open(pool, f"machines/{machine}/usage")
    for chart in ("CPU", "Memory", "Network"):
        expect(page.get_by_role("figure", name=chart)).to_be_visible()
    expect(page.get_by_role("figure", name="Memory").get_by_role("definition")).to_have_text(
        re.compile(r"^\d.* [kM]B$")
    )
    expect(page.get_by_text("s of CPU since its start")).to_be_visible()


def test_usage_begins_with_what_somebody_saw_before(tabs: Tabs, pool: Running, machine: str) -> None:
    """The engine measures nothing while nobody looks; what others read meanwhile, the service still knows."""
    first = pool.get(f"/v1/machines/{machine}/stats")
    assert first.status == 200
    seen_at = time.time()
    page = tabs.open(pool, f"machines/{machine}")
    page.get_by_role("tab", name="Usage").click()
    since = page.get_by_text(re.compile(r"^Measured since [\d:]+"))
    expect(since).to_be_visible()
    told = page.evaluate("when => new Date(when * 1000).toTimeString().slice(0, 8)", [seen_at])
    before = since.inner_text()
    assert before.split()[2].rstrip(",.;") <= told
    page.get_by_role("tab", name="Logs").click()
    page.get_by_role("tab", name="Usage").click()
    expect(since).to_have_text(re.compile(re.escape(before.split(",")[0])))


def test_the_environment_is_shown_without_its_secrets(tabs: Tabs, pool: Running, machine: str) -> None:
    page = tabs.open(pool, f"machines/{machine}/environment")
    variables = page.get_by_role("table", name="Environment of the worker").get_by_role("row")
    expect(variables.filter(has_text="GREETING")).to_contain_text(HOSTILE)
    expect(variables.filter(has_text="API_KEY")).to_contain_text("secret hidden")
    expect(variables.filter(has_text="DATABASE_URL")).to_contain_text("secret hidden")
    assert SECRET not in page.content()
    page.get_by_label("Search the environment").fill("greet")
    expect(variables).to_have_count(2)  # the head and one


def test_on_a_phone_the_head_leaves_room_for_the_rest(tabs: Tabs, pool: Running, machine: str) -> None:
    """What is looked at seldom is one line, to be opened by touch or key."""
    page = tabs.open(pool, f"machines/{machine}", **PHONE)
    expect(page.get_by_role("heading", name="shop", level=1)).to_be_visible()
    expect(page.locator(".about").get_by_role("link")).to_be_visible()
    for name in ("Copy URL of shop", "Release shop", "Restart shop", "Destroy shop"):
        expect(page.get_by_role("button", name=name)).to_be_visible()
    head = page.locator(".machine-head").bounding_box()
    assert head is not None
    assert head["height"] < PHONE["viewport"]["height"] / 4
    image = page.get_by_text("worker-orchestrator-example:latest")
    expect(image).to_be_hidden()
    page.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(image).to_be_visible()
    expect(page.get_by_role("link", name=f"http://shop.localhost:{pool.ports.api}/")).to_be_visible()
    assert violations(page) + cut_off(page) == []


def test_a_projects_failed_machine_shows_its_last_lines_and_the_banner_leads_to_it(tabs: Tabs, pool: Running) -> None:
    """As the database has it after the last try, which takes minutes to come to."""
    machine = pool.assign("unlucky")["containerId"]
    pool.end()
    docker("kill", machine)
    lines = f"Error: the port is taken\n{HOSTILE}"
    with closing(sqlite3.connect(pool.state_dir / DATABASE)) as database, database:
        changed = "UPDATE machine SET state = 'failed', reason = 'it exited with code 1', evidence = ? WHERE id = ?"
        assert database.execute(changed, (lines, machine)).rowcount == 1
    pool.start()
    page = tabs.open(pool)
    health = page.get_by_role("region", name="Health")
    expect(health).to_contain_text("A machine that failed is kept with its files for unlucky")
    assert "`" not in page.locator("main").inner_text()
    assert "orchestrator " not in health.inner_text().lower().replace("worker orchestrator", "")
    health.get_by_role("link", name="Show failed machines").click()
    expect(row(page, "unlucky")).to_contain_text("failed")
    expect(row(page, "unlucky").get_by_role("button", name="Restart unlucky")).to_be_enabled()
    row(page, "unlucky").get_by_role("link", name=machine).click()
    failure = page.get_by_role("region", name="Why it failed")
    expect(failure.get_by_role("region", name="Its last lines")).to_have_text(lines)
    expect(failure).to_contain_text("It exited with code 1.")
    assert "`" not in page.locator("main").inner_text()
    assert violations(page) + cut_off(page) == []
    pool.release("unlucky")


def test_a_machine_that_goes_away_leaves_its_life(tabs: Tabs, pool: Running) -> None:
    machine = eventually(pool.idle, "one is idle")[0]
    page = tabs.open(pool, f"machines/{machine}", expects=r"status of 404 .*/machines/")
    expect(page.get_by_role("region", name="Its life")).to_be_visible()
    pool.destroy(machine)
    expect(page.get_by_text("This machine is gone. What remains is its life")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("Destroy"))).to_have_count(0)
    page.reload()
    expect(page.get_by_text("This machine is gone. What remains is its life")).to_be_visible()
    expect(page.get_by_role("region", name="Its life").get_by_role("listitem").first).to_contain_text("Forgotten")
    page.goto(page.url.replace(machine, "worker-of-nobody"))
    expect(page.get_by_text("No machine of this id is known here.")).to_be_visible()
