"""The files behind `/docs`: a page of the API that comes with the package, so that a browser asks nobody else for anything.

Its Content-Security-Policy holds it to that: no script but ours, no request but to this service, in nobody's frame.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import resources
from typing import Final

__all__ = ["Asset", "Served", "page"]

_POLICY: Final = (
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
_LINK: Final = re.compile(rb'((?:href|src)=")(?!data:)')
"""Where a link begins: pages name what they need from where the service is, since a proxy may show it under any path."""
_UNPACKED: Final = b""
_GZIP: Final = b"gzip"

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Served:
    """What goes out: status, headers (names in lower case, `content-length` among them) and body."""

    status: int
    headers: list[Header]
    body: bytes


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, as it is and compressed. Nothing of it changes while the process runs."""

    content_type: str
    body: bytes
    packed: bytes
    tag: str
    policy: str = _POLICY

    @classmethod
    def of(cls, content_type: str, body: bytes, packed: bytes | None = None, *, policy: str = _POLICY) -> Asset:
        """`packed` is the same in gzip's format, where that is at hand."""
        packed = gzip.compress(body, mtime=0) if packed is None else packed
        return cls(content_type, body, packed, sha256(body).hexdigest()[:32], policy)

    def one_level_down(self) -> Asset:
        """The same page for an address with one slash more."""
        return Asset.of(self.content_type, _LINK.sub(rb"\1../", self.body), policy=self.policy)

    def served(self, headers: dict[bytes, bytes]) -> Served:
        """The reply to a GET with these headers (names in lower case). A browser asks each time, and mostly gets a 304."""
        coding = _GZIP if _takes_gzip(headers.get(b"accept-encoding", b"")) else _UNPACKED
        tag = f'"{self.tag}-gzip"'.encode() if coding else f'"{self.tag}"'.encode()
        always: list[Header] = [
            (b"cache-control", b"no-cache"),
            (b"content-security-policy", self.policy.encode()),
            (b"etag", tag),
            (b"referrer-policy", b"no-referrer"),
            (b"vary", b"Accept-Encoding"),
            (b"x-content-type-options", b"nosniff"),
        ]
        if _is_known(tag, headers.get(b"if-none-match", b"")):
            return Served(304, always, b"")
        body = self.packed if coding else self.body
        of_body = [(b"content-type", self.content_type.encode()), (b"content-length", str(len(body)).encode())]
        return Served(200, always + of_body + ([(b"content-encoding", coding)] if coding else []), body)


def page(path: str) -> Asset | None:
    """What `/docs` and the paths below it show; None where nothing is. One slash at the end changes nothing."""
    found = _FILES.get(path.removesuffix("/"))
    if found is None:
        return None
    return _one_level_down(*found) if path == "/docs/" else _read(*found)


@cache
def _one_level_down(name: str, content_type: str) -> Asset:
    return _read(name, content_type).one_level_down()


@cache
def _read(name: str, content_type: str) -> Asset:
    stored = resources.files(__package__).joinpath("docs_files", name).read_bytes()
    if name.endswith(".gz"):
        return Asset.of(content_type, gzip.decompress(stored), stored)
    return Asset.of(content_type, stored)


def _takes_gzip(accepted: bytes) -> bool:
    """https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3"""
    parts = (part.partition(b";") for part in accepted.lower().replace(b" ", b"").split(b","))
    weights = {coding: weight for coding, _, weight in parts}
    weight = weights.get(_GZIP, weights.get(b"*"))
    return weight is not None and weight.rstrip(b"0") not in {b"q=", b"q=0."}


def _is_known(tag: bytes, known: bytes) -> bool:
    """https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2"""
    tags = {one.strip().removeprefix(b"W/") for one in known.split(b",")}
    return tag in tags or b"*" in tags
