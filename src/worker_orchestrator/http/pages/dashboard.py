"""The dashboard's files: all of the package's folder `dashboard`, under /assets by their names, and its page at / too.

They contain nothing secret, so everyone who may call gets them without a token: the page is where the token is typed in.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from typing import Final

from worker_orchestrator.http.pages.assets import Asset

__all__ = ["file", "is_page"]

_PAGE: Final = "index.html"
_PREFIX: Final = "/assets/"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_TEXT: Final = "text/plain; charset=utf-8"  # licences, mostly
_PACKED: Final = ".gz"


def is_page(path: str, headers: Mapping[bytes, bytes]) -> bool:
    """Whether this asks for the page at `/`: a browser says that it takes HTML, and gets no JSON."""
    return path == "/" and b"text/html" in headers.get(b"accept", b"")


def file(path: str, headers: Mapping[bytes, bytes]) -> Asset | None:
    """The file at this path; None if it is not the dashboard's."""
    if is_page(path, headers):
        return _read(_PAGE)
    name = path.removeprefix(_PREFIX)
    if path.startswith(_PREFIX) and name == _PAGE:
        return _page_below()
    return _read(name) if path.startswith(_PREFIX) and name in _files() else None


@cache
def _files() -> Mapping[str, Traversable]:
    """All files by their names, so that no other file of the disk can be reached. A name does not end in `.gz`."""
    return dict(_walk(resources.files("worker_orchestrator").joinpath("dashboard"), ""))


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        else:
            yield f"{prefix}{entry.name.removesuffix(_PACKED)}", entry


@cache
def _page_below() -> Asset:
    return _read(_PAGE).one_level_down()


@cache
def _read(name: str) -> Asset:
    stored = _files()[name]
    content = stored.read_bytes()
    is_packed = stored.name.endswith(_PACKED)
    return Asset.of(
        _TYPES.get(PurePosixPath(name).suffix, _TEXT),
        gzip.decompress(content) if is_packed else content,
        content if is_packed else None,
        policy=_POLICY,
    )
