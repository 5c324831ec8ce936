"""What a page's main thread did, by Chromium's trace: how long each task took, and how long of that it had a processor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page

__all__ = ["Task", "Trace", "traced"]

_KINDS: Final = ["toplevel", "devtools.timeline", "disabled-by-default-devtools.timeline", "blink.user_timing"]


@dataclass(frozen=True, slots=True)
class Task:
    """`begun_ms` since the page's navigation began. Other programs make `wall_ms` longer, and leave `cpu_ms` as it is."""

    begun_ms: float
    wall_ms: float
    cpu_ms: float


@dataclass(slots=True)
class Trace:
    """The tasks of the main thread of the page, once the trace has ended: scripts, styles, layout and painting."""

    tasks: list[Task] = field(default_factory=list)


@contextmanager
def traced(browser: Browser, page: Page, file: Path) -> Iterator[Trace]:
    trace = Trace()
    browser.start_tracing(page=page, path=file, categories=_KINDS)
    try:
        yield trace
    finally:
        browser.stop_tracing()
    trace.tasks += _tasks(json.loads(file.read_text())["traceEvents"])


def _tasks(events: list[dict[str, Any]]) -> list[Task]:
    begins = [one for one in events if one["name"] == "navigationStart" and _is_page(one)]
    begun_us = begins[-1]["ts"] if begins else 0
    names = [one for one in events if one["name"] == "thread_name" and one["args"]["name"] == "CrRendererMain"]
    threads = {_thread(one) for one in begins[-1:] or names}  # the browser keeps another renderer at hand
    return [
        Task((one["ts"] - begun_us) / 1000, one["dur"] / 1000, one["tdur"] / 1000)
        for one in events
        if one["name"] == "RunTask" and "tdur" in one and _thread(one) in threads
    ]


def _thread(event: dict[str, Any]) -> tuple[int, int]:
    return event["pid"], event["tid"]


def _is_page(event: dict[str, Any]) -> bool:
    return str(event["args"].get("data", {}).get("documentLoaderURL", "")).startswith("http")
