"""The fields for what a project gives its machine: what they refuse, and that a secret is in its one request alone."""

from __future__ import annotations

import base64
import io
import tarfile
from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import Request, expect
from tests.browser.late import FAILS, SECRET, a_file, add, asked, press, release_all, taking_values, told
from tests.browser.tabs import Tabs, of_module
from tests.integration.running import Running

PACKED: Final = """async files => {
    const { base64, packed, packedSize } = await import(new URL('assets/tar.js', location.href))
    const bytes = text => new TextEncoder().encode(text)
    const archive = packed(files.map(({path, text}) => ({path, bytes: bytes(text)})))
    return [base64(archive), archive.length, packedSize(files.map(({path, text}) => ({path, size: bytes(text).length})))]
}"""
FOCUSED: Final = """() => {
    const { activeElement: one } = document
    return one.getAttribute('aria-label') ?? one.textContent.trim()
}"""


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[Running]:
    with taking_values(tmp_path_factory.mktemp("values")) as service:
        yield service


@pytest.fixture(autouse=True)
def _as_before(pools: Running) -> Iterator[None]:
    yield
    release_all(pools)


def test_a_secret_is_in_one_request_and_nowhere_else_in_the_browser(tabs: Tabs, pools: Running) -> None:
    sent: list[Request] = []
    page = tabs.open(pools, expects=FAILS)
    page.on("request", lambda one: sent.append(one))  # noqa: PLW0108 # Playwright marks what it is given
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
    secret.set_input_files([a_file("raw", b"\xff\xfe")])
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
        reached.append(page.evaluate(FOCUSED))
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
    page = tabs.open(pools)
    paths = ["a", "n" * 100, f"{'d' * 98}/é", "x" * 255, f"{'ä' * 60}/b.txt", "z/ z.txt"]
    files = [{"path": path, "text": f"{path}!" * (index * 100)} for index, path in enumerate(paths)]
    encoded, length, predicted = of_module(page, PACKED, files)
    again, _, _ = of_module(page, PACKED, files[::-1])
    assert encoded == again
    archive = base64.b64decode(encoded)
    assert length == predicted == len(archive)
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as opened:
        for entry in opened:
            content = opened.extractfile(entry)
            assert content is not None
            found[entry.name] = content.read().decode(), entry.mode
    assert found == {one["path"]: (one["text"], 0o644) for one in files}
