"""A tab with the page of docs/recipes/vite.md, which writes down by itself what it has shown, and when."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from playwright.sync_api import Browser, Error, Page, expect
from tests.integration.waiting import eventually

__all__ = ["Screen", "a_screen"]

AT_BEGIN: Final = "as it began"
"""The message of each new machine."""
TYPED: Final = "typed by hand"
"""What is in the field of a page that was not loaded anew."""
# Before each frame that it paints, in each page that the tab loads.
_WATCH: Final = """{
    const last = {}
    window.shown = []
    const look = () => {
        const found = {
            message: document.querySelector("#message")?.textContent,
            color: document.querySelector("h1") && getComputedStyle(document.querySelector("h1")).color,
        }
        for (const [name, value] of Object.entries(found))
            if (value && value !== last[name]) shown.push({what: last[name] = value, at: Date.now()})
        requestAnimationFrame(look)
    }
    look()
}"""

_SHOWN_AT: Final = """what => new Promise(tell => {
    const look = () => {
        const found = shown.find(each => each.what === what)
        found ? tell(found.at) : requestAnimationFrame(look)
    }
    look()
})"""


@dataclass(frozen=True, slots=True)
class Screen:
    """Times are in seconds since 1970, by the computer's clock, which is the browser's too."""

    page: Page
    said: list[str]
    """What its page has said in the console since it was loaded."""

    def open(self, url: str, message: str = AT_BEGIN) -> None:
        self.visit(url, "#message", message)
        self.is_live()

    def visit(self, url: str, where: str, text: str | re.Pattern[str]) -> None:
        """Open it until the page has this text at this selector.

        Again if need be: Chromium drops what it is loading when a container changes the computer's network.
        """
        eventually(lambda: self._opens(url, where, text), f"{url} shows {text}", within_s=60)

    def _opens(self, url: str, where: str, text: str | re.Pattern[str]) -> bool:
        try:
            self.page.goto(url)
            expect(self.page.locator(where)).to_have_text(text, timeout=10_000)
        except (Error, AssertionError):
            return False
        return True

    def shows(self, message: str, *, within_s: float = 30) -> None:
        """Wait until this message is there, whatever the tab has loaded meanwhile."""
        expect(self.page.locator("#message")).to_have_text(message, timeout=within_s * 1000)

    def is_colored(self, color: str) -> None:
        expect(self.page.locator("h1")).to_have_css("color", color)

    def type(self) -> None:
        """Something that only this page has, in the field and in its memory."""
        self.page.fill("input", TYPED)
        self.page.evaluate("text => { window.kept = text }", TYPED)

    def has_kept_it(self) -> bool:
        """Whether the page is still the one in which it was typed."""
        kept = self.page.evaluate("[window.kept, document.querySelector('input').value]")
        return bool(kept == [TYPED, TYPED])

    def is_new(self, message: str = AT_BEGIN) -> None:
        """Wait until the tab has loaded its page anew, by itself, and shows this."""
        expect(self.page.locator("input")).to_have_value("", timeout=30_000)
        try:
            self.shows(message, within_s=10)
        except AssertionError:
            if not any("ERR_NETWORK_CHANGED" in each for each in self.said):
                raise
            self.open(self.page.url, message)  # it came back, but another container stopped one of its files
        self.is_live()

    def shown_at_s(self, what: str) -> float:
        """When this message or color was painted for the first time. It must be there already."""
        return float(self.page.evaluate(_SHOWN_AT, what)) / 1000

    def is_live(self) -> None:
        """Wait until the page hears of edits: one that came before that would be lost on it."""
        deadline = time.monotonic() + 30
        while not any("[vite] connected" in each for each in self.said):
            assert time.monotonic() < deadline, f"the page of Vite has no connection. It said: {self.said}"
            self.page.wait_for_timeout(20)


@contextmanager
def a_screen(browser: Browser) -> Iterator[Screen]:
    """A tab of a browser that knows nothing."""
    context = browser.new_context()
    context.set_default_timeout(15_000)
    context.add_init_script(_WATCH)
    screen = Screen(context.new_page(), [])
    screen.page.on("framenavigated", lambda _: screen.said.clear())
    screen.page.on("console", lambda message: screen.said.append(message.text))
    try:
        yield screen
    finally:
        context.close()
