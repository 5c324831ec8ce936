"""The dashboard's files as values: each of the folder is served under its name, and nothing else is."""

from __future__ import annotations

import gzip
import re
from importlib import resources
from pathlib import Path
from typing import Final
from urllib.parse import urljoin

import pytest

import worker_orchestrator
from worker_orchestrator.core.machine import Cause
from worker_orchestrator.http.pages.assets import AssetReply
from worker_orchestrator.http.pages.dashboard import _TYPES, file, is_page
from worker_orchestrator.http.pages.docs import page

FOLDER: Final = Path(str(resources.files(worker_orchestrator))) / "dashboard"
NAMES: Final = sorted(str(one.relative_to(FOLDER).as_posix()) for one in FOLDER.rglob("*") if one.is_file())
BROWSER: Final = {b"accept": b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def get(path: str, headers: dict[bytes, bytes] | None = None) -> AssetReply | None:
    found = file(path, headers or {})
    return None if found is None else found.reply(headers or {})


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_served_as_what_it_is(name: str) -> None:
    stored = (FOLDER / name).read_bytes()
    served = get(f"/assets/{name.removesuffix('.gz')}") if name != "index.html" else get("/", BROWSER)
    assert served is not None
    assert served.body == (gzip.decompress(stored) if name.endswith(".gz") else stored)
    headers = dict(served.headers)
    suffix = Path(name.removesuffix(".gz")).suffix
    assert headers[b"content-type"].decode() == _TYPES.get(suffix, "text/plain; charset=utf-8")
    policy = headers[b"content-security-policy"].decode()
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    assert headers[b"x-content-type-options"] == b"nosniff"


def test_a_browser_gets_the_page_and_a_program_does_not() -> None:
    assert get("/", BROWSER) is not None
    assert get("/assets/index.html", BROWSER) == get("/assets/index.html")
    for accept in (b"*/*", b"application/json", b""):
        assert get("/", {b"accept": accept}) is None
        assert not is_page("/", {b"accept": accept})
    assert get("/", {}) is None
    assert not is_page("/a-project", BROWSER)


@pytest.mark.parametrize(
    "path",
    ["/assets", "/assets/", "/assets/vendor", "/assets/vendor/", "/assets/../schema.sql", "/assets/../http/app.py",
     "/assets//index.html", "/assets/./index.html", "/assets/index.html/", "/assets/index.html\0", "/assets/INDEX.HTML",
     "/assets/%2e%2e/schema.sql", "/assets//etc/passwd", "/index.html", "/assets/..", "/assets/\\index.html"],
)  # fmt: skip
def test_nothing_else_has_a_name(path: str) -> None:
    assert get(path) is None
    assert get(path, BROWSER) is None


def test_a_second_visit_loads_nothing_again() -> None:
    first = get("/", BROWSER)
    assert first is not None
    again = get("/", {**BROWSER, b"if-none-match": dict(first.headers)[b"etag"]})
    assert again is not None
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    ("path", "accept"), [("/", "text/html"), ("/assets/index.html", "*/*"), ("/docs", "*/*"), ("/docs/", "*/*")]
)
def test_a_page_names_what_it_needs_from_where_it_is(path: str, accept: str) -> None:
    """So it is found under whatever path a proxy shows the service, and none has to be told or believed."""
    asset = file(path, {b"accept": accept.encode()}) or page(path)
    assert asset is not None
    links = [
        link for link in re.findall(r'(?:href|src)="([^"]+)"', asset.body.decode()) if not link.startswith("data:")
    ]
    assert len(links) > 2
    for link in links:
        found = urljoin(f"http://pool.example/some/where{path}", link)
        assert found.startswith("http://pool.example/some/where/")
        below = found.removeprefix("http://pool.example/some/where")
        assert below == "/openapi.json" or (file(below, {}) or page(below)) is not None, link


def test_no_script_or_style_names_a_path_from_the_root() -> None:
    for entry in FOLDER.iterdir():
        if entry.suffix in {".js", ".css"}:
            text = entry.read_text(encoding="utf-8")
            assert not re.search(r"""(?<!at\()["'`(]/(assets|docs|openapi)""", text), entry.name
            assert "location.origin" not in text, entry.name
            if entry.name != "api.js":
                assert not re.search(r"fetch\((?!at\()", text), entry.name


@pytest.mark.parametrize("name", ["activity.js", "timeline.js"])
def test_every_event_has_words(name: str) -> None:
    """Else a reader sees its code, such as `asleep`."""
    words = set(re.findall(r"\b(\w+): \"", (FOLDER / name).read_text(encoding="utf-8")))
    assert set(Cause) - {Cause.KEPT} <= words, "all but the one that has no event"
