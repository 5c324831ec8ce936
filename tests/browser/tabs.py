"""Tabs with the dashboard in them, on a desk or a phone, by day or by night. What they complain of fails the test."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from playwright.sync_api import Browser, BrowserContext, Error, Page, expect
from tests.browser.hearing import Heard
from tests.integration.running import Running

__all__ = ["AWAY", "GONE", "PHONE", "REFUSED", "UNSIGNED", "Tabs", "dialog_of", "is_live", "of_module", "row", "url"]

PHONE: Final[Any] = {"viewport": {"width": 375, "height": 812}, "has_touch": True, "is_mobile": True}
AWAY: Final = (
    r"net::ERR_(CONNECTION_REFUSED|CONNECTION_RESET|CONTENT_LENGTH_MISMATCH|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING|"
    r"SOCKET_NOT_CONNECTED)"
)
"""What a browser says while the service is away."""
GONE: Final = r"status of 404 .*/v1/machines/"
"""What the page asks about may be removed just then, such as a machine that failed."""
UNSIGNED: Final = r"status of 401"
REFUSED: Final = r"status of (400|409|412|422|503)"
_ALWAYS: Final = r"net::ERR_(ABORTED|NETWORK_CHANGED)"
"""What the page wants no more, and what a browser drops when a container changes the computer's network; it asks again."""


@dataclass(slots=True)
class Tabs:
    """Each in a context of its own, so none knows of another."""

    browser: Browser
    contexts: list[BrowserContext] = field(default_factory=list)
    heard: list[tuple[Heard, str]] = field(default_factory=list)

    def open(self, service: Running, path: str = "", *, expects: str = "", live: bool = True, **options: Any) -> Page:
        """A new tab with this view. `expects` is what it may complain of besides, `options` are those of a context."""
        page = self.empty(expects=expects, **options)
        page.goto(url(service, path))
        if live:
            is_live(page)
        return page

    def empty(self, *, expects: str = "", **options: Any) -> Page:
        context = self.browser.new_context(**options)
        context.set_default_timeout(15_000)
        self.contexts.append(context)
        page = context.new_page()
        self.heard.append((Heard.of(page), f"{_ALWAYS}|{expects}" if expects else _ALWAYS))
        return page

    def close(self) -> list[str]:
        """All that they complained of and were not expected to."""
        for context in self.contexts:
            context.close()
        return [said for heard, expected in self.heard for said in heard.errors if not re.search(expected, said)]


def url(service: Running, path: str = "") -> str:
    return f"http://localhost:{service.ports.api}/#/{path}"


def is_live(page: Page) -> None:
    """It shows what the service told, and is told what happens."""
    expect(page.get_by_role("status", name="Connection")).to_have_text("Live")


def row(page: Page, text: str) -> Any:
    """Of the list of machines, the row with this in it."""
    return page.get_by_role("table", name="Machines").get_by_role("row").filter(has_text=text)


def dialog_of(page: Page, button: Any) -> Any:
    """The dialog that this button opens.

    A click is none if the page moves under the pointer, as when a notice appears above it because the computer's network
    changed and the stream of events was cut. Then a person clicks again.
    """
    dialog = page.get_by_role("dialog")
    for _ in range(3):
        button.click()
        with suppress(Error):
            dialog.wait_for(timeout=5000)
            break
    return dialog


def of_module(page: Page, script: str, argument: object) -> Any:
    """What a script makes of this that imports a module. A browser drops that too when the computer's network changes."""
    for _ in range(3):
        try:
            return page.evaluate(script, argument)
        except Error as error:
            if "Failed to fetch dynamically imported module" not in error.message:
                raise
            page.wait_for_timeout(500)
    return page.evaluate(script, argument)
