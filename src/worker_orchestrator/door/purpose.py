"""What a request is for, as far as its head tells: whether somebody wants to see a page, or only a page or a browser does.

Nobody has visited a project whose address stands in an image on somebody's page, or which a browser fetches in advance. And
an open page of a worker that sleeps goes on asking, for as long as its tab is open.
https://www.w3.org/TR/fetch-metadata/
"""

from __future__ import annotations

from typing import Final

from worker_orchestrator.door.heads import RequestHead

__all__ = ["is_beside", "is_prefetch", "is_visit", "wants_page"]

_OWN: Final = frozenset({b"none", b"same-origin"})
_PURPOSES: Final = frozenset({b"sec-purpose", b"purpose", b"x-moz"})
_READING: Final = frozenset({b"GET", b"HEAD"})


def is_prefetch(head: RequestHead) -> bool:
    """Whether a browser makes it before anybody asked for it."""
    if _PURPOSES.isdisjoint(head.values):
        return False
    purpose = (head.get(b"sec-purpose") + head.get(b"purpose") + head.get(b"x-moz")).lower()
    return b"prefetch" in purpose or b"prerender" in purpose


def is_visit(head: RequestHead) -> bool:
    """Whether somebody came to see it: by a link of its own, by typing the address, or with a program that is no browser."""
    if is_prefetch(head):
        return False
    site = head.get(b"sec-fetch-site")
    if site:
        return site in _OWN and head.get(b"sec-fetch-mode") == b"navigate"
    is_browser = head.get(b"user-agent").startswith(b"Mozilla/") or head.get(b"origin") or head.get(b"referer")
    return not is_browser


def is_beside(head: RequestHead) -> bool:
    """Whether it is what a page of another site loads, such as an image, and no page that somebody goes to."""
    site = head.get(b"sec-fetch-site")
    is_own = not site or site in _OWN
    return not is_own and (head.get(b"sec-fetch-mode") != b"navigate" or head.get(b"sec-fetch-dest") != b"document")


def wants_page(head: RequestHead) -> bool:
    """Whether a person will read the reply, and not a program."""
    if head.method not in _READING and head.get(b"sec-fetch-mode") != b"navigate":
        return False
    destination = head.get(b"sec-fetch-dest")
    return b"text/html" in head.get(b"accept") and destination in {b"", b"document", b"iframe", b"frame"}
