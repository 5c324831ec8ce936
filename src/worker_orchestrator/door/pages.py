"""What a visitor sees in the place of a worker: a page for people, JSON for programs.

No page here does anything to a machine. Who wants one is led to the dashboard, on the service's own origin, which asks
before it gives one. Its page is all of the service that can be opened from pages of another site, as these are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from typing import Final
from urllib.parse import quote

from worker_orchestrator.door.heads import RequestHead
from worker_orchestrator.door.messages import Kind, Route
from worker_orchestrator.door.purpose import wants_page

__all__ = ["POLICY", "Said", "about", "as_reply", "bad_gateway", "body", "late", "malformed", "no_answer"]

_REASONS: Final = {
    400: b"Bad Request",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    421: b"Misdirected Request",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
}
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Content-Security-Policy of these pages."""
_STYLE: Final = (
    "html{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}"
    "body{max-width:38rem;margin:15vh auto;padding:0 1.5rem}code{font:14px ui-monospace,monospace}"
    "a.button{display:inline-block;padding:.5rem 1rem;border:1px solid;border-radius:.4rem;color:inherit}"
)


@dataclass(frozen=True, slots=True)
class Said:
    """What there is to say. `reload_s`: the page looks again so soon, and a program may. `link`: a text and an address."""

    status: int
    title: str
    detail: str
    code: str
    reload_s: int = 0
    link: tuple[str, str] | None = None


def about(route: Route, dashboard: str) -> Said:
    """What there is at a host without a worker that serves. `dashboard` is the address of it; empty if it is not known."""
    project = route.project
    match route.kind:
        case Kind.COMING:
            return Said(
                503, "One moment", f"The machine of {project} is on its way. {route.detail}".strip(), "coming", 1
            )
        case Kind.ASLEEP:
            detail = f"The machine of {project} sleeps, and its files are kept. {route.detail}".strip()
            button = ("Wake it", "") if route.wakes else None
            return Said(503, "Asleep", f"{detail} `orchestrator wake {project}` wakes it.", "asleep", 0, button)
        case Kind.FAILED:
            return Said(502, "It does not run", f"{route.detail} `orchestrator why {project}` says more.", "failed")
        case Kind.NONE if project:
            detail = f"The project {project} has no machine. `orchestrator assign {project}` gives it one"
            place = f"{dashboard}#/?assign={quote(project, safe='')}"
            other = ", and so does the dashboard, which asks first." if dashboard else ", and so does the dashboard."
            link = ("Give it a machine", place) if dashboard else None
            return Said(404, "No machine", f"{detail}{other}", "no_machine", 0, link)
        case Kind.REFUSED:
            return Said(403, "Not shown", route.detail, "preview_refused")
        case _:
            return Said(
                404, "Nothing here", route.detail or "No project with a machine has this address.", "no_project"
            )


def no_answer(project: str) -> Said:
    return Said(
        502,
        "No answer yet",
        f"The worker of {project} does not answer on this port. It may be starting.",
        "no_answer",
        1,
    )


def bad_gateway(project: str, why: str) -> Said:
    return Said(502, "Not understood", f"The reply of the worker of {project} is of no use. {why}", "bad_reply")


def late(project: str, status: int, why: str) -> Said:
    """`status` is 408 if the client was late, 504 if the worker was."""
    if status == 408:
        return Said(408, "Too slow", f"The request was not sent in time. {why}", "late_request")
    return Said(504, "Too slow", f"The worker of {project} is too slow. {why}", "late_reply")


def malformed(why: str, status: int = 400) -> Said:
    return Said(status, "Bad request", why, "bad_request")


def as_reply(said: Said, request: RequestHead | None, *, keep_alive: bool) -> bytes:
    """The whole reply, for a person or a program; without a body to a HEAD."""
    is_page = request is not None and wants_page(request)
    content = body(said, is_page=is_page)
    lines = [
        b"HTTP/1.1 %d %b" % (said.status, _REASONS[said.status]),
        b"Content-Type: text/html; charset=utf-8" if is_page else b"Content-Type: application/problem+json",
        b"Content-Length: %d" % len(content),
        b"Cache-Control: no-store",
        b"Vary: Accept, Sec-Fetch-Dest, Sec-Fetch-Mode, Sec-Fetch-Site",
        b"X-Content-Type-Options: nosniff",
        b"Referrer-Policy: no-referrer",
        b"Content-Security-Policy: %b" % POLICY.encode(),
    ]
    if said.reload_s:
        lines.append(b"Retry-After: %d" % said.reload_s)
    if not keep_alive:
        lines.append(b"Connection: close")
    elif request is not None and request.is_old:
        lines.append(b"Connection: keep-alive")
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    return head if request is not None and request.method == b"HEAD" else head + content


def body(said: Said, *, is_page: bool) -> bytes:
    """The page, or the JSON for programs."""
    return _page(said) if is_page else _document(said)


def _document(said: Said) -> bytes:
    problem = {
        "type": "about:blank",
        "title": said.title,
        "status": said.status,
        "detail": said.detail,
        "code": said.code,
    }
    if said.reload_s:
        problem["retry_after_seconds"] = said.reload_s
    return json.dumps(problem, ensure_ascii=False).encode() + b"\n"


def _page(said: Said) -> bytes:
    pieces = escape(said.detail).split("`")
    detail = "".join(f"<code>{piece}</code>" if number % 2 else piece for number, piece in enumerate(pieces))
    again = f'<meta http-equiv="refresh" content="{said.reload_s}">' if said.reload_s else ""
    link = (
        ""
        if said.link is None
        else f'<p><a class="button" href="{escape(said.link[1])}"{_target(said.link[1])}>{escape(said.link[0])}</a></p>'
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{again}<title>{escape(said.title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>{escape(said.title)}</h1><p>{detail}</p>{link}</body></html>\n"
    ).encode()


def _target(place: str) -> str:
    """A page of the service is shown in a tab of its own, because it cannot be embedded."""
    return ' target="_blank" rel="noopener noreferrer"' if place else ""
