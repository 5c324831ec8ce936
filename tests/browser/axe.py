"""axe-core, which finds what shuts people out of a page, and a look for what is cut off on a small screen."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page, ViewportSize

__all__ = ["DESK", "PHONE", "complaints", "cut_off", "violations"]

DESK: Final = ViewportSize(width=1280, height=800)
PHONE: Final = ViewportSize(width=375, height=812)

_ROOT: Final = Path(__file__).parents[2]
_LEVELS: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
_RUN: Final = """levels => axe.run(document, {runOnly: levels, resultTypes: ['violations'], preload: false}).then(
    found => found.violations.flatMap(({id, nodes}) => nodes.map(node => `${id}: ${node.target} ${node.failureSummary}`)))"""
_CUT_OFF: Final = """() => {
    const page = document.scrollingElement
    if (page.scrollWidth > page.clientWidth) return [`the page is ${page.scrollWidth} px wide`]
    const isHeld = element => {
        for (let one = element.parentElement; one; one = one.parentElement)
            if (getComputedStyle(one).overflowX !== 'visible') return true
        return false
    }
    return [...document.querySelectorAll('main *, header *, dialog *')].filter(one => {
        const box = one.getBoundingClientRect()
        return box.width && box.height && (box.right > innerWidth + 1 || box.left < -1) && !isHeld(one)
    }).map(one => one.outerHTML.slice(0, 120))
}"""


@cache
def _source() -> str:
    """Of the version that package-lock.json pins."""
    subprocess.run([_ROOT / "scripts" / "node-modules"], check=True, timeout=300, capture_output=True)
    return (_ROOT / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def complaints(page: Page) -> dict[str, list[str]]:
    """What is wrong with what the page shows, in either colour scheme and size. Nothing should be."""
    found = {}
    for size, viewport in (("phone", PHONE), ("desk", DESK)):
        page.set_viewport_size(viewport)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
            found[f"{size}, {scheme}"] = violations(page) + cut_off(page)
    return {which: what for which, what in found.items() if what}


def violations(page: Page) -> list[Any]:
    """Of WCAG 2.2, levels A and AA."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_source())
    return list(page.evaluate(_RUN, _LEVELS))


def cut_off(page: Page) -> list[str]:
    """What does not fit in the width of the screen, but for what scrolls by itself."""
    return list(page.evaluate(_CUT_OFF))
