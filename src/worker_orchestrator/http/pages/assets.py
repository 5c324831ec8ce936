"""A file that a browser is given, as a value: compressed, with the tag by which the browser asks whether it has changed."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from worker_orchestrator.http.reply import Header

__all__ = ["Asset", "AssetReply"]

_LINK: Final = re.compile(rb'((?:href|src)=")(?!data:)')
"""Where a link begins: pages name what they need relative to themselves, since a proxy may show them under any path."""
_PLAIN: Final = b""
_GZIP: Final = b"gzip"


@dataclass(frozen=True, slots=True)
class AssetReply:
    """Status, headers (names in lower case, with `content-length`) and body of the reply to a request for an asset."""

    status: int
    headers: list[Header]
    body: bytes


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, plain and compressed, which does not change while the process runs. `policy`: Content-Security-Policy."""

    content_type: str
    body: bytes
    packed: bytes
    tag: str
    policy: str

    @classmethod
    def of(cls, content_type: str, body: bytes, packed: bytes | None = None, *, policy: str) -> Asset:
        """`packed` is the same content in gzip's format, if it is at hand already."""
        packed = gzip.compress(body, mtime=0) if packed is None else packed
        return cls(content_type, body, packed, sha256(body).hexdigest()[:32], policy)

    def one_level_down(self) -> Asset:
        """The same page for an address with one more slash: its links lead one level up."""
        return Asset.of(self.content_type, _LINK.sub(rb"\1../", self.body), policy=self.policy)

    def reply(self, headers: dict[bytes, bytes]) -> AssetReply:
        """The reply to a GET with these headers (names in lower case). A browser asks each time, and mostly gets a 304."""
        coding = _GZIP if _takes_gzip(headers.get(b"accept-encoding", b"")) else _PLAIN
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
            return AssetReply(304, always, b"")
        body = self.packed if coding else self.body
        of_body = [(b"content-type", self.content_type.encode()), (b"content-length", str(len(body)).encode())]
        return AssetReply(200, always + of_body + ([(b"content-encoding", coding)] if coding else []), body)


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
