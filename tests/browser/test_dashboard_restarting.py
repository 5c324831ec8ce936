"""A project's machine whose worker ends again and again: its page shows why, each restart, and when the next one is."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect
from tests.browser.axe import cut_off, violations
from tests.browser.tabs import PHONE, Tabs, of_module, row
from tests.integration.docker_command import a_name, docker, make_image
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually

TRACE = "for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do echo a trace $n >&2; done"
WORDS = (
    "[ ! -e /srv/files/bad ] || { echo started; echo no such module >&2; "
    f"[ ! -e /srv/files/long ] || {{ {TRACE}; }}; exit 3; }}; exec /bin/worker"
)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[Running]:
    image = f"{a_name('ending')}:latest"
    make_image(image, f'ENTRYPOINT ["sh", "-c", "{WORDS}"]')
    try:
        with a_service(tmp_path_factory.mktemp("ending"), "--image", image, "--min-idle", "1") as service:
            service.await_idle(1)
            yield service
    finally:
        docker("rmi", "-f", image)


def test_its_page_tells_why_it_ended_and_when_it_is_started_again(tabs: Tabs, pool: Running) -> None:
    machine = pool.assign("shop")["containerId"]
    docker("exec", machine, "sh", "-c", "touch /srv/files/bad; kill 1", check=False)
    eventually(lambda: pool.get(f"/v1/machines/{machine}").json["next_try_at"], "it waits for its second restart")
    page = tabs.open(pool, f"machines/{machine}")
    why = page.get_by_role("region", name="Why it is restarting")
    expect(why.get_by_role("timer")).to_have_text(re.compile(r"It is started again in \d+ s"))
    for line in ("started", "no such module"):
        expect(why.get_by_label("Its last lines")).to_contain_text(line)
    expect(why).to_contain_text("mend them with orchestrator cp FILE shop:PATH, then restart it")
    expect(page.get_by_role("region", name="Why this machine")).to_contain_text("An idle machine was ready.")
    expect(page.get_by_role("region", name="Why this machine")).not_to_contain_text("restart")
    assert "will be restarted in" in pool.get("/v1/projects/shop/why").json["trouble"]
    overview = tabs.open(pool)
    restarting = overview.get_by_role("link", name="The machine of 1 project is restarting")
    expect(restarting).to_have_attribute("href", "#/machines?state=restarting")
    assert violations(overview) + cut_off(overview) == []
    restarts = page.get_by_role("region", name="Its life").get_by_role("listitem").filter(has_text="Restarted")
    expect(restarts).to_have_count(3, timeout=20_000)
    expect(restarts.filter(has_text=re.compile("exited|ended"))).to_have_count(3)
    docker("exec", machine, "rm", "/srv/files/bad", check=False)


def test_its_last_lines_begin_where_the_error_does(tabs: Tabs, pool: Running) -> None:
    page = tabs.open(pool)
    begin = "text => import('/assets/machine.js').then(machine => machine.whereToBegin(text))"
    trace = [f"listening {n}" for n in range(30)] + ["Error: no such module"] + [f"    at line {n}" for n in range(40)]
    assert of_module(page, begin, "\n".join(trace)) == 30
    assert of_module(page, begin, "one\ntwo") == 0
    machine = pool.assign("long")["containerId"]
    docker("exec", machine, "sh", "-c", "touch /srv/files/long /srv/files/bad; kill 1", check=False)
    eventually(lambda: pool.get(f"/v1/machines/{machine}").json["next_try_at"], "it waits for its second restart")
    page = tabs.open(pool, f"machines/{machine}")
    lines = page.get_by_role("region", name="Why it is restarting").get_by_label("Its last lines")
    expect(lines).to_contain_text("a trace 20")
    shown = lines.evaluate("""box => {
        const text = box.firstChild, at = text.data.indexOf('no such module'), range = document.createRange()
        range.setStart(text, at); range.setEnd(text, at + 1)
        const [one, all] = [range.getBoundingClientRect(), box.getBoundingClientRect()]
        return [one.top >= all.top, one.bottom <= all.bottom, box.scrollTop < box.scrollHeight - box.clientHeight]
    }""")
    assert shown == [True, True, True]
    pool.destroy(machine)


def test_its_row_says_why_and_when_it_is_started_again_and_can_have_that_done_at_once(
    tabs: Tabs, pool: Running
) -> None:
    machine = pool.assign("desk")["containerId"]
    docker("exec", machine, "sh", "-c", "touch /srv/files/bad; kill 1", check=False)
    page = tabs.open(pool, "machines", expects=r"status of (409|503) .*/stats(\?past_seconds=900)?$")
    line = row(page, machine)
    why = line.get_by_text(re.compile(r"^Next try in \d+ s\. The container exited with code 3\.$"))
    expect(why).to_be_visible(timeout=20_000)
    assert why.evaluate("one => one.scrollWidth <= one.clientWidth && one.scrollHeight <= one.clientHeight"), (
        "it is cut"
    )
    assert violations(page) + cut_off(page) == []
    page.set_viewport_size(PHONE["viewport"])
    assert violations(page) + cut_off(page) == []
    expect(why).to_be_visible(timeout=20_000)
    line.get_by_role("button", name="Restart desk").click()
    asked = page.get_by_role("dialog", name="Restart desk?")
    expect(asked).to_contain_text(machine)
    asked.get_by_role("button", name="Restart").click()
    expect(page.get_by_role("status", name="Notices")).to_contain_text(f"{machine} is started again")
    told = pool.get(f"/v1/events?follow=false&machine={machine}").text
    assert "A restart was requested." in told
    pool.destroy(machine)
