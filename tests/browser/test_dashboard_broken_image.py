"""An image that does not come up any more: why, when it is tried again, and who is served all the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from playwright.sync_api import Page, expect
from tests.browser.axe import cut_off, violations
from tests.browser.tabs import AWAY, GONE, PHONE, REFUSED, Tabs, dialog_of, of_module, row
from tests.integration.docker_command import a_name, docker, make_image
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually

HOSTILE: Final = "<b>Error</b>: Cannot find module ./dist/index.js"
BREAKS: Final = f"""ENTRYPOINT ["sh", "-c", "echo listening; echo '{HOSTILE}' >&2; exit 1"]"""
SLOW: Final = 'ENTRYPOINT ["sh", "-c", "sleep 6; exec /bin/worker"]'
WORKS: Final = 'ENTRYPOINT ["/bin/worker"]'
TICK: Final = """timer => new Promise(done => { let first = null
    const look = () => {
        const now = timer.textContent
        if (first !== null && now !== first) done([first, now])
        else if (/in \\d+ s$/.test(now)) first = now
    }
    new MutationObserver(look).observe(timer, {subtree: true, childList: true, characterData: true})
}) """
"""A text that counts down, and what it says next."""
SERVED: Final = ("shop-1", "shop-2", "shop-3")


@pytest.fixture(scope="module")
def tag() -> Iterator[str]:
    """As long as names of images are where there is a registry."""
    tag = f"registry.example.com/a-team/{a_name('broken')}:release-12"
    make_image(tag, WORKS)
    try:
        yield tag
    finally:
        docker("rmi", "-f", tag)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, example_image: str, tag: str) -> Iterator[Running]:
    """Three projects work. Since then the image is broken, and no idle machine is left."""
    flags = ("--image", tag, "--min-idle", "1", "--max-machines", "10")
    with a_service(tmp_path_factory.mktemp("broken"), *flags) as service:
        for project in SERVED:
            service.await_idle(1)
            service.assign(project)
        service.await_idle(1)
        make_image(tag, BREAKS)
        eventually(lambda: "Cannot find module" in service.get("/v1/pools").text, "it failed", within_s=30)
        service.assign("shop-4")
        eventually(lambda: len(gone(service)) >= 2, "two attempts failed", within_s=30)
        yield service


def gone(service: Running) -> list[Any]:
    return [one for one in service.get("/v1/machines?state=failed").json["machines"] if one["url"] is None]


def test_its_last_lines_stand_on_the_overview_and_the_back_off_counts_down(tabs: Tabs, broken: Running) -> None:
    page = tabs.open(broken)
    expect(page.get_by_text("The image does not come up")).to_be_visible()
    lines = page.get_by_role("region", name="Its last log lines")
    expect(lines).to_contain_text("listening")
    expect(lines).to_contain_text(HOSTILE)
    assert lines.locator("b").count() == 0
    expect(page.get_by_role("region", name="Health")).to_contain_text("does not come up")
    expect(page.get_by_role("region", name="Pool default")).to_contain_text(
        "Rebuild it under the same tag: the pool notices"
    )
    timer = page.get_by_role("timer")
    expect(timer).to_be_visible()
    first, later = timer.evaluate(TICK)
    assert seconds(later) < seconds(first) or later == "Trying now…", f"{first}, then {later}"


def test_it_is_tried_again_and_then_waited_for_longer(tabs: Tabs, broken: Running) -> None:
    page = tabs.open(broken)
    attempts = len(failures(broken))
    timer = page.get_by_role("timer")
    expect(timer).to_have_text("Trying now…", timeout=30_000)
    eventually(lambda: len(failures(broken)) > attempts, "one attempt more", within_s=20)
    expect(timer).to_have_text(re.compile(r"Next attempt in"), timeout=20_000)


def test_a_service_that_serves_projects_is_not_called_down(tabs: Tabs, broken: Running) -> None:
    """Although no project more gets a machine, for which the API's word is down."""
    assert broken.get("/v1/health").json["status"] == "down"
    health = tabs.open(broken).get_by_role("region", name="Health")
    expect(health).to_contain_text("Degraded")
    expect(health).to_contain_text("no machine for a new project")
    expect(health).to_contain_text("4 projects served")
    expect(health).not_to_contain_text("Down")


def test_the_numbers_of_a_pool_add_up_to_its_bar(tabs: Tabs, broken: Running) -> None:
    """What is left of failed attempts takes no room, so it stands beside them."""
    page = tabs.open(broken)
    pool = page.get_by_role("region", name="Pool default")
    expect(pool.get_by_role("link", name=re.compile(r"^\+ \d+ past failures$"))).to_be_visible()
    # All of it at one time: an attempt may begin or end at any moment.
    tiles, text = page.evaluate("""() => [[...document.querySelectorAll('.counts dd > a')].map(one => one.textContent),
        document.querySelector('.against > span').textContent]""")
    said = re.fullmatch(r"(?:(.*) = )?(\d+) of 10 machines", text)
    assert said is not None, text
    assert sum(map(int, tiles)) == int(said[2])
    if said[1]:
        assert sum(int(part.split()[0]) for part in said[1].split(" + ")) == int(said[2])
    pool.get_by_role("link", name=re.compile("past failures")).click()
    expect(page.get_by_role("button", name=re.compile(r"^past failures \d+$"))).to_have_attribute(
        "aria-pressed", "true"
    )
    expect(row(page, gone(broken)[0]["id"])).to_contain_text("failed")


def test_who_is_refused_reads_the_last_log_lines_as_lines(tabs: Tabs, broken: Running) -> None:
    page = tabs.open(broken, expects=REFUSED)
    page.get_by_role("button", name="Assign…").click()
    asked = page.get_by_role("dialog")
    asked.get_by_role("textbox").fill("shop-5")
    asked.get_by_role("button", name="Assign").click()
    refused = asked.get_by_role("alert")
    expect(refused.locator(".refused")).to_have_text(
        re.compile(r"^Machine worker-\S+ failed\. The container exited with code 1\.$")
    )
    expect(refused.get_by_role("region", name="Last log lines")).to_contain_text(HOSTILE)
    assert violations(page) + cut_off(page) == []


def test_a_list_without_machines_says_what_comes(tabs: Tabs, broken: Running) -> None:
    """Nothing is being started during a pause."""
    page = tabs.open(broken, "machines")
    said = "pools => import('/assets/machines.js').then(machines => machines.whatComes(pools, 1000))"
    wants = {"min_idle": 2, "template": "t", "problem": None, "paused": False, "back_off": None}
    waits = {**wants, "back_off": {"retry_at": 6000}}
    assert of_module(page, said, [wants]) == "Those that the pool wants are being started."
    assert of_module(page, said, [waits]) == "New ones do not come up: the next attempt is in 5 s."
    assert of_module(page, said, [{**wants, "back_off": {"retry_at": 900}}]) == of_module(page, said, [wants])
    assert of_module(page, said, [{**wants, "paused": True}]) == "The pool is paused, so none is started."
    assert "the overview says why" in of_module(page, said, [{**wants, "template": None, "problem": "It is missing."}])
    assert "when a project asks for it" in of_module(page, said, [{**wants, "min_idle": 0}])


def test_failed_attempts_are_one_line_above_the_machines(tabs: Tabs, broken: Running) -> None:
    page = tabs.open(broken, "machines")
    line = page.locator("summary")
    expect(line).to_have_text(re.compile(r"^\d+ attempts of this image failed, the last (\d+ min ?)?(\d+ s)? ago: .+"))
    for project in (*SERVED, "shop-4"):
        expect(row(page, project)).to_contain_text("assigned")
    ids = [one["id"] for one in gone(broken)]
    for machine in ids:
        expect(row(page, machine)).to_have_count(0)
    expect(page.get_by_role("link", name=ids[0])).to_be_hidden()
    line.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name=ids[0])).to_be_visible()
    expect(page.locator(".attempts li").first).to_have_text(re.compile(r"\d worker-"))
    expect(page.get_by_role("region", name="Last log lines of the last attempt")).to_contain_text(HOSTILE)
    assert violations(page) + cut_off(page) == []
    page.set_viewport_size(PHONE["viewport"])
    assert violations(page) + cut_off(page) == []
    page.get_by_label("Search machines").fill(ids[0])
    expect(row(page, ids[0])).to_contain_text("failed")


def test_an_older_machine_says_than_what_and_an_image_keeps_its_tag(tabs: Tabs, broken: Running, tag: str) -> None:
    page = tabs.open(broken, "machines")
    old = row(page, "shop-1").get_by_text("older image or settings")
    expect(old).to_be_visible()
    expect(old).to_have_attribute("title", re.compile("than new machines"))
    assert not is_cut(page, "shop-1", ".old")
    dialog = dialog_of(page, row(page, "shop-1").get_by_role("button", name="Release shop-1"))
    expect(dialog).to_contain_text("This machine stays as it is")  # for there is no newer one
    page.keyboard.press("Escape")
    page.goto(f"{page.url}?state=past")
    machine = gone(broken)[0]["id"]
    image = row(page, machine).locator(".image-name")
    expect(image).to_have_attribute("title", tag)
    expect(image).to_contain_text(":release-12")
    assert not is_cut(page, machine, ".tag-part")
    parts = "names => import('/assets/image.js').then(image => names.map(image.partsOf))"
    digest = "0123456789abcdef" * 4
    names = ["worker", "a/b/worker:1", "host:5000/worker", f"host:5000/w:1@sha256:{digest}"]
    assert of_module(page, parts, names) == [
        ["", "worker", ""],
        ["a/b/", "worker", ":1"],
        ["host:5000/", "worker", ""],
        ["host:5000/", "w", ":1@sha256:0123456789ab…"],
    ]


def test_the_page_of_an_older_machine_says_that_and_why_it_is_not_a_newer_one(tabs: Tabs, broken: Running) -> None:
    machine = broken.machine_of("shop-4")
    assert machine is not None
    page = tabs.open(broken, f"machines/{machine['id']}")
    head = page.locator(".machine-head")
    expect(head.get_by_text("Made of an older image, or with other settings, than new machines.")).to_be_visible()
    expect(head).to_contain_text(re.compile(r"New machines do not come up: Machine worker-\S+ failed\."))
    why = page.get_by_role("region", name="Why this machine")
    expect(why).to_contain_text("It was made from an older image or older settings. Newer machines do not")
    assert violations(page) + cut_off(page) == []
    page.set_viewport_size(PHONE["viewport"])
    expect(head.get_by_text("Made of an older image, or with other settings, than new machines.")).to_be_visible()
    assert violations(page) + cut_off(page) == []


def is_cut(page: Page, text: str, part: str) -> bool:
    found = row(page, text).locator(part)
    return bool(found.evaluate("one => one.scrollWidth > one.clientWidth || one.scrollHeight > one.clientHeight + 1"))


def test_the_attempts_are_cleared_when_the_image_comes_up(tabs: Tabs, broken: Running, tag: str) -> None:
    page = tabs.open(broken, "machines")
    expect(page.get_by_text("attempts of this image failed")).to_be_visible()
    overview = tabs.open(broken)
    make_image(tag, SLOW)
    health, pool = (overview.get_by_role("region", name=name) for name in ("Health", "Pool default"))
    expect(health).to_contain_text("did not come up, trying the new one")
    expect(health).to_contain_text("Degraded")
    expect(pool).to_contain_text("The new image has not come up yet")
    expect(pool.get_by_label("Its last log lines")).to_contain_text("Cannot find module")
    assert broken.get("/readyz").status == 503
    assert violations(overview) + cut_off(overview) == []
    broken.await_idle(1)
    expect(health).to_contain_text("works")
    assert broken.get("/readyz").status == 200
    expect(page.get_by_text("attempts of this image failed")).to_have_count(0)
    expect(page.get_by_role("button", name=re.compile(r"^past failures \d+$"))).to_be_visible()
    page.get_by_role("button", name="Release shop-1").click()
    expect(page.get_by_role("dialog")).to_contain_text("This machine is removed")
    expect(page.get_by_role("dialog")).to_contain_text("made of an older image or with other settings")
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Overview").click()
    health = page.get_by_role("region", name="Health")
    expect(health).to_contain_text("Healthy")


def test_a_cause_outside_is_not_blamed_on_the_image(
    tabs: Tabs, tmp_path_factory: pytest.TempPathFactory, example_image: str
) -> None:
    network = a_name("narrow")
    docker("network", "create", "--subnet", "198.18.79.0/29", network)
    try:
        flags = ("--network", network, "--min-idle", "8", "--max-machines", "9")
        with a_service(tmp_path_factory.mktemp("narrow"), *flags) as service:
            service.await_idle(5)
            page = tabs.open(service, expects=rf"{AWAY}|{GONE}")
            expect(page.get_by_text("New machines do not come up")).to_be_visible()
            pool = page.get_by_role("region", name="Pool default")
            expect(pool).to_contain_text("No machine can be created now. The workers' network has no address left")
            expect(page.get_by_text("The image does not come up")).to_have_count(0)
            health = page.get_by_role("region", name="Health")
            expect(health).not_to_contain_text("does not come up")
            assert violations(page) + cut_off(page) == []
    finally:
        docker("network", "rm", network, check=False)


def seconds(text: str) -> int:
    found = re.search(r"(?:(\d+) min ?)?(?:(\d+) s)?$", text)
    assert found is not None, text
    return 60 * int(found[1] or 0) + int(found[2] or 0)


def failures(service: Running) -> list[str]:
    return [line for line in service.log.splitlines() if " failed " in line]
