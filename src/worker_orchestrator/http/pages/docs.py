"""The files behind `/docs`: a page of the API that comes with the package, so that a browser loads nothing from elsewhere.

Its Content-Security-Policy enforces that: no script but ours, no request but to this service, in no frame of another page.
"""

from __future__ import annotations

import gzip
from functools import cache
from importlib import resources
from typing import Final

from worker_orchestrator.http.pages.assets import Asset

__all__ = ["page"]

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
_HTML: Final = "text/html; charset=utf-8"
_SCRIPT: Final = "text/javascript; charset=utf-8"
_FILES: Final = {
    "/docs": ("index.html", _HTML),
    "/docs/page.js": ("page.js", _SCRIPT),
    "/docs/swagger-ui-bundle.js": ("swagger-ui-bundle.js.gz", _SCRIPT),
    "/docs/swagger-ui.css": ("swagger-ui.css.gz", "text/css; charset=utf-8"),
}


def page(path: str) -> Asset | None:
    """The file at `/docs` or below it; None if there is none. One slash at the end changes nothing."""
    file = _FILES.get(path.removesuffix("/"))
    if file is None:
        return None
    return _one_level_down(*file) if path == "/docs/" else _read(*file)


@cache
def _one_level_down(name: str, content_type: str) -> Asset:
    return _read(name, content_type).one_level_down()


@cache
def _read(name: str, content_type: str) -> Asset:
    stored = resources.files(__package__).joinpath("docs_files", name).read_bytes()
    if name.endswith(".gz"):
        return Asset.of(content_type, gzip.decompress(stored), stored, policy=POLICY)
    return Asset.of(content_type, stored, policy=POLICY)
