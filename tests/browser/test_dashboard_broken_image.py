"""An image that does not come up: the dashboard shows why, and when it is tried again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import expect
from tests.browser.tabs import Tabs
from tests.integration.docker_command import a_name, docker, make_image
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually

HOSTILE: Final = "<b>Error</b>: Cannot find module ./dist/index.js"


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[Running]:
    tag = f"{a_name('broken')}:latest"
    words = f"echo listening; echo '{HOSTILE}' >&2; exit 1"
    make_image(tag, f'ENTRYPOINT ["sh", "-c", "{words}"]')
    try:
        with a_service(tmp_path_factory.mktemp("broken"), "--image", tag) as service:
            eventually(lambda: "Cannot find module" in service.get("/v1/pools").text, "it failed", within_s=30)
            yield service
    finally:
        docker("rmi", "-f", tag)


def test_its_last_lines_stand_on_the_overview_and_the_back_off_counts_down(tabs: Tabs, broken: Running) -> None:
    page = tabs.open(broken)
    expect(page.get_by_text("The image does not come up")).to_be_visible()
    lines = page.get_by_role("region", name="Its last log lines")
    expect(lines).to_contain_text("listening")
    expect(lines).to_contain_text(HOSTILE)
    assert lines.locator("b").count() == 0
    expect(page.get_by_role("region", name="Health")).to_contain_text("does not come up")
    timer = page.get_by_role("timer")
    expect(timer).to_have_text(re.compile(r"Next attempt in \d+ s"), timeout=20_000)
    first = timer.inner_text()
    expect(timer).not_to_have_text(first)
    later = timer.inner_text()
    assert seconds(later) < seconds(first) or later == "Trying now…", f"{first}, then {later}"


def test_it_is_tried_again_and_then_waited_for_longer(tabs: Tabs, broken: Running) -> None:
    page = tabs.open(broken)
    attempts = len(failures(broken))
    timer = page.get_by_role("timer")
    expect(timer).to_have_text("Trying now…", timeout=30_000)
    eventually(lambda: len(failures(broken)) > attempts, "one attempt more", within_s=20)
    expect(timer).to_have_text(re.compile(r"Next attempt in"), timeout=20_000)


def seconds(text: str) -> int:
    found = re.search(r"(?:(\d+) min ?)?(?:(\d+) s)?$", text)
    assert found is not None, text
    return 60 * int(found[1] or 0) + int(found[2] or 0)


def failures(service: Running) -> list[str]:
    return [line for line in service.log.splitlines() if " failed " in line]
