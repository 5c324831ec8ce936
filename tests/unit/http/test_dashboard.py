"""The dashboard's files as values: each of the folder is served under its name, and nothing else is."""

from __future__ import annotations

import gzip
from importlib import resources
from pathlib import Path
from typing import Final

import pytest

import worker_orchestrator
from worker_orchestrator.http.assets import Served
from worker_orchestrator.http.dashboard import _TYPES, file, is_page

FOLDER: Final = Path(str(resources.files(worker_orchestrator))) / "dashboard"
NAMES: Final = sorted(str(one.relative_to(FOLDER).as_posix()) for one in FOLDER.rglob("*") if one.is_file())
BROWSER: Final = {b"accept": b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def get(path: str, headers: dict[bytes, bytes] | None = None) -> Served | None:
    found = file(path, headers or {})
    return None if found is None else found.served(headers or {})


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_served_as_what_it_is(name: str) -> None:
    stored = (FOLDER / name).read_bytes()
    served = get(f"/assets/{name.removesuffix('.gz')}")
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
    assert get("/", BROWSER) == get("/assets/index.html", BROWSER)
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
