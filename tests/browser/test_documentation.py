"""The documentation as a site: built without a warning, no link is dead, nothing is loaded from elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser, expect
from tests.browser.axe import complaints
from website.build import build, groups

SHOWN = ("index.html", "docs/recipes/nginx.html", "docs/settings.html", "reference/api-projects.html")


@dataclass
class Found(HTMLParser):
    """What one page leads to, what it loads, and what can be led to in it."""

    links: set[str] = field(default_factory=set)
    loaded: set[str] = field(default_factory=set)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.anchors.add(given["id"])
        if tag == "a" and "href" in given:
            self.links.add(given["href"])
        loaded = [given.get("src"), given.get("srcset"), given.get("href") if tag == "link" else None]
        self.loaded.update(filter(None, loaded))


@cache
def found(page: Path) -> Found:
    parser = Found()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first warning fails it."""
    folder = tmp_path_factory.mktemp("documentation") / "site"
    build(folder)
    return folder


def test_it_has_every_page_of_the_map(built: Path) -> None:
    for pages in groups().values():
        for page in pages:
            assert (built / page.with_suffix(".html")).exists(), page
    navigation = (built / "index.html").read_text(encoding="utf-8")
    places = [navigation.index(f'<span class="caption-text">{group}</span>') for group in groups()]
    assert places == sorted(places)


def test_no_link_leads_nowhere(built: Path) -> None:
    dead = []
    for page in built.rglob("*.html"):
        for link in found(page).links | found(page).loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            anchored = not parts.fragment or target.suffix != ".html" or not target.exists()
            if not target.is_file() or not (anchored or unquote(parts.fragment) in found(target).anchors):
                dead.append((str(page.relative_to(built)), link))
    assert dead == []


def test_it_loads_nothing_from_elsewhere(built: Path) -> None:
    for page in built.rglob("*.html"):
        assert [link for link in found(page).loaded if "//" in link] == [], page
    for style in built.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert "@import" not in text, style
        assert "url(http" not in text, style


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def url(built: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(built))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_it_can_be_searched(browser: Browser, url: str) -> None:
    page = browser.new_page()
    page.goto(f"{url}/index.html")
    page.get_by_role("textbox", name="Search").fill("parked")
    page.keyboard.press("Enter")
    expect(page.locator("#search-results li a").filter(has_text="Pools").first).to_be_visible()
    page.close()


def test_it_shuts_nobody_out(browser: Browser, url: str) -> None:
    """By axe, on a small screen and a large one, light and dark."""
    page = browser.new_page()
    wrong = {}
    for each in SHOWN:
        page.goto(f"{url}/{each}")
        wrong[each] = complaints(page)
    page.close()
    assert {each: what for each, what in wrong.items() if what} == {}
