"""A project's machine whose worker ends again and again: its page shows why, each restart, and when the next one is."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect
from tests.browser.tabs import Tabs
from tests.integration.docker_command import a_name, docker, make_image
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually

WORDS = "[ ! -e /srv/files/bad ] || { echo started; echo no such module >&2; exit 3; }; exec /bin/worker"


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
    restarts = page.get_by_role("region", name="Its life").get_by_role("listitem").filter(has_text="Restarted")
    expect(restarts).to_have_count(3, timeout=20_000)
    expect(restarts.filter(has_text=re.compile("exited|ended"))).to_have_count(3)
    docker("exec", machine, "rm", "/srv/files/bad", check=False)
