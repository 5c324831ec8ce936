"""What a project gives a machine that runs already: typed in, chosen and sent from the dashboard, and in the worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import FilePayload, Locator, Page, Request, expect
from tests.browser.axe import complaints
from tests.browser.tabs import AWAY, Tabs, of_module, row
from tests.integration.calling import call
from tests.integration.docker_command import a_name, docker, make_image, remove_image
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually

SECRET: Final = "s3cret-that-nobody-sees"
KEY: Final = "-----BEGIN KEY-----\nin several lines ä\n-----END KEY-----\n"
FAILS: Final = r"status of (409|424)"
HOOK: Final = """#!/bin/sh
echo "set up in $REGION"
. /run/project/env
[ "$REGION" != nowhere ] || { echo "no such region, with the key $(cat /run/project/secrets/API_KEY)"; exit 3; }
echo done >>/tmp/runs
"""
FOLDER: Final = """() => new Promise(resolve => {
    addEventListener('click', event => event.target.type === 'file' && resolve(event.target.webkitdirectory), {once: true, capture: true})
})"""
PACKED: Final = """async files => {
    const { base64, packed, packedSize } = await import(new URL('assets/tar.js', location.href))
    const bytes = text => new TextEncoder().encode(text)
    const archive = packed(files.map(({path, text}) => ({path, bytes: bytes(text)})))
    return [base64(archive), archive.length, packedSize(files.map(({path, text}) => ({path, size: bytes(text).length})))]
}"""


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[Running]:
    """One pool that takes values and has a hook, and one that takes none."""
    folder = tmp_path_factory.mktemp("configuration")
    tag = f"{a_name('hook')}:latest"
    with_hook(tag, folder)
    file = folder / "orchestrator.toml"
    file.write_text(
        f"""
        max_machines = 8
        [pools.default]
        image = "{tag}"
        min_idle = 2
        late = {{ dir = "/run/project", hook = ["sh", "/app/hook"] }}
        [pools.plain]
        min_idle = 1
        """,
        encoding="utf-8",
    )
    try:
        with a_service(folder, "--config", str(file)) as service:
            service.await_idle(3)
            yield service
    finally:
        remove_image(tag)


def with_hook(tag: str, folder: Path) -> None:
    """The example image with the hook in it."""
    source, script = a_name("source"), folder / "hook"
    script.write_text(HOOK, encoding="utf-8")
    (folder / "app").mkdir()
    script.rename(folder / "app" / "hook")
    docker("create", "--name", source, "worker-orchestrator-example:latest")
    try:
        docker("cp", str(folder / "app"), f"{source}:/")
        docker("commit", source, tag)
    finally:
        docker("rm", "-f", source)


@pytest.fixture(autouse=True)
def _as_before(pools: Running) -> Iterator[None]:
    yield
    for machine in pools.machines():
        if machine["isUsed"]:
            pools.release(machine["id"])
    pools.await_idle(3)


def asked(page: Page, project: str = "shop") -> Locator:
    """The dialog of an assign for this project, with its fields."""
    page.get_by_role("button", name="Assign…").click()
    shown = page.get_by_role("dialog", name="Assign a machine")
    shown.get_by_label("Project").fill(project)
    expect(shown.get_by_role("group", name="Secrets")).to_be_visible()
    return shown


def add(where: Locator, what: str, name: str, value: str) -> None:
    """One more row."""
    where.get_by_role("button", name=f"Add a {what}").click()
    page = where.page
    page.keyboard.type(name)  # its name has the focus
    page.keyboard.press("Tab")
    page.keyboard.type(value)


def press(where: Locator | Page, name: str) -> None:
    where.get_by_role("button", name=name, exact=True).click()


def inside(service: Running, path: str, project: str = "shop") -> str:
    machine = service.machine_of(project)
    assert machine is not None
    return docker("exec", machine["id"], "cat", path).out


def told(service: Running, project: str = "shop") -> Any:
    return service.get(f"/v1/projects/{project}/machine").json


def a_file(name: str, text: str) -> FilePayload:
    return {"name": name, "mimeType": "text/plain", "buffer": text.encode()}


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
    expect(shown).to_contain_text("3 files, 5.12 kB as an archive")
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


def test_a_secret_is_in_one_request_and_nowhere_else_in_the_browser(tabs: Tabs, pools: Running) -> None:
    sent: list[Request] = []
    page = tabs.open(pools, expects=FAILS)
    page.on("request", sent.append)
    shown = asked(page)
    add(shown, "variable", "REGION", "nowhere")
    add(shown, "secret", "API_KEY", SECRET)
    value = shown.get_by_label("Value of secret 1", exact=True)
    expect(value).to_have_attribute("type", "password")
    expect(value).to_have_attribute("autocomplete", "off")
    assert SECRET not in page.content()
    press(shown, "Assign")
    expect(shown.get_by_role("alert")).to_be_visible(timeout=30_000)
    expect(value).to_have_value("")  # and it is asked for again
    expect(shown.get_by_label("Name of secret 1")).to_have_value("API_KEY")
    assert SECRET not in page.content()
    stored = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])")
    assert SECRET not in stored
    assert page.evaluate("Promise.all([indexedDB.databases(), caches.keys()]).then(found => found.flat().length)") == 0
    assert [SECRET in (one.post_data or "") for one in sent].count(True) == 1
    assert not any(SECRET in one.url for one in sent)


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
    expect(life).to_contain_text("Being configured for shop")
    expect(life).to_contain_text("Configured for shop")
    expect(page.get_by_role("region", name="Why this machine")).to_contain_text("It is configured")
    press(page, "Restart shop")
    again = page.get_by_role("dialog", name="Restart shop?")
    expect(again).to_contain_text("What it is configured with is in memory, and lost by this.")
    press(again, "Restart")
    expect(fact).to_contain_text("is gone", timeout=30_000)
    expect(life).to_contain_text("Configuration lost of shop")
    assert complaints(page) == {}
    page.get_by_role("link", name="Machines", exact=True).first.click()
    note = row(page, "shop").get_by_text("not configured")
    expect(note).to_have_attribute("title", "What its project had configured it with was in memory, and is gone.")
    assert complaints(page) == {}
    page.get_by_role("link", name="Activity", exact=True).click()
    expect(page.get_by_role("listitem").filter(has_text="is configured no longer for shop")).to_be_visible()


def configure(service: Running, values: dict[str, Any], project: str = "shop") -> int:
    return call(service.ports.api, "PUT", f"/v1/projects/{project}/machine", values, timeout_s=60).status


def test_other_values_are_refused_unless_they_are_to_replace(tabs: Tabs, pools: Running) -> None:
    assert configure(pools, {"env": {"REGION": "eu"}}) == 201
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
    assert inside(pools, "/tmp/runs") == "done\ndone"


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
    expect(page.get_by_role("listitem").filter(has_text="has nothing left of its last project's values")).to_be_visible()


def test_only_a_pool_that_takes_values_is_asked_for_some(tabs: Tabs, pools: Running) -> None:
    other = pools.get("/v1/pools/plain").json
    assert (other["takes_values"], pools.get("/v1/pools/default").json["takes_values"]) == (False, True)
    page = tabs.open(pools)
    shown = asked(page)
    shown.get_by_label("Pool").select_option("plain")
    expect(shown.get_by_role("group")).to_have_count(0)
    press(shown, "Assign")
    expect(shown).to_be_hidden()
    machine = told(pools)
    assert (machine["pool"], machine["configured"]) == ("plain", None)
    page.goto(page.url.split("#")[0] + f"#/machines/{machine['id']}")
    expect(page.get_by_role("heading", name="shop")).to_be_visible()
    expect(page.get_by_role("button", name="Configure shop")).to_have_count(0)
    expect(page.get_by_text("Configured", exact=True)).to_have_count(0)


def test_what_cannot_be_sent_is_said_before_it_is(tabs: Tabs, pools: Running) -> None:
    page = tabs.open(pools)
    shown = asked(page)
    files = shown.locator("input[type=file][multiple]")
    files.set_input_files([a_file("large", "x" * 1024 * 1024)])
    expect(shown.get_by_role("alert")).to_contain_text("1.05 MB as an archive, and an assign takes 1 MiB")
    files.set_input_files([a_file("small", "x")])
    expect(shown.get_by_role("alert")).to_have_count(0)
    expect(shown).to_contain_text("1 file, 2.05 kB")
    press(shown, "Remove all files")
    expect(shown).not_to_contain_text("1 file")
    press(shown, "Add a secret")
    page.keyboard.type("key")
    secret = shown.locator("li input[type=file]")
    secret.set_input_files([{"name": "raw", "mimeType": "text/plain", "buffer": b"\xff\xfe"}])
    expect(shown.get_by_role("alert")).to_contain_text("raw is not UTF-8 text. Send it as a file.")
    secret.set_input_files([a_file("long", "x" * 65_537)])
    expect(shown.get_by_role("alert")).to_contain_text("a secret may have 64 KiB")
    press(shown, "Remove key")
    expect(shown.get_by_role("button", name="Add a secret")).to_be_focused()
    for _ in range(2):
        add(shown, "variable", "REGION", "eu")
    press(shown, "Assign")
    expect(shown.get_by_role("alert")).to_contain_text("The variable REGION is given twice.")
    assert pools.machine_of("shop") is None


def test_all_of_it_is_reached_by_the_keyboard(tabs: Tabs, pools: Running) -> None:
    page = tabs.open(pools)
    shown = asked(page)
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim()"))
    assert {"Add a variable", "Add a secret", "Choose files…", "Choose a folder…", "Assign"} <= set(reached)
    shown.get_by_role("button", name="Add a variable").focus()
    page.keyboard.press("Enter")
    expect(shown.get_by_label("Name of variable 1")).to_be_focused()
    for expected in ("Value of variable 1", "Remove variable 1"):
        page.keyboard.press("Tab")
        expect(shown.get_by_label(expected)).to_be_focused()
    page.keyboard.press("Enter")
    expect(shown.get_by_label("Name of variable 1")).to_have_count(0)
    expect(shown.get_by_role("button", name="Add a variable")).to_be_focused()


def test_the_archive_is_one_that_tar_reads(tabs: Tabs, pools: Running) -> None:
    """Paths of every length, in every script; equal files make equal archives in whatever order they come."""
    import base64
    import io
    import tarfile

    page = tabs.open(pools)
    paths = ["a", "n" * 100, f"{'d' * 98}/é", "x" * 255, f"{'ä' * 60}/b.txt", "z/ z.txt"]
    files = [{"path": path, "text": f"{path}!" * (index * 100)} for index, path in enumerate(paths)]
    encoded, length, predicted = of_module(page, PACKED, files)
    again, _, _ = of_module(page, PACKED, files[::-1])
    assert encoded == again
    archive = base64.b64decode(encoded)
    assert length == predicted == len(archive)
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as opened:
        found = {entry.name: (opened.extractfile(entry).read().decode(), entry.mode) for entry in opened}  # type: ignore[union-attr]
    assert found == {one["path"]: (one["text"], 0o644) for one in files}
