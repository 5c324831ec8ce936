"""The browser of these tests is switched as Playwright wants it: our own list of what is off takes the place of its list."""

from __future__ import annotations

import psutil
from playwright.sync_api import Browser

OFF = "--disable-features="


def test_all_that_playwright_switches_off_is_off(browser: Browser) -> None:
    """Chromium only heeds the last of these lists."""
    lists = [word.removeprefix(OFF).split(",") for word in command_line() if word.startswith(OFF)]
    assert len(lists) > 1
    assert set(lists[0]) <= set(lists[-1])


def command_line() -> list[str]:
    started = psutil.Process().children(recursive=True)
    return next(one.cmdline() for one in started if "--remote-debugging-pipe" in one.cmdline())
