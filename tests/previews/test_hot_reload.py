"""Vite's hot reload in a real Chromium, on each way to a preview: edits, a restart, another machine, sleep.

`make vite` runs it, EDITS=n for more edits. Its limit of time is for a computer that does nothing else. Of this, `make test`
has what readers of docs/recipes/vite.md follow.
"""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.integration.docker_command import docker
from tests.integration.waiting import holds_for
from tests.previews.image import a_vite_image
from tests.previews.screen import Screen, a_screen
from tests.previews.ways import CASES, Case, Site, a_site

EDITS: Final = int(os.environ.get("EDITS") or "10")
AT_MOST_S: Final = 1.0
"""From the order to write a file until the page shows what is in it."""
ASLEEP_S: Final = 3.0
"""So long an open page asks for a machine that sleeps: once a second."""

Times = list[float]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with a_vite_image(tmp_path_factory.mktemp("image")) as tag:
        yield tag


@pytest.fixture(scope="module")
def measured() -> Iterator[dict[str, Times]]:
    """In seconds, by what was measured; printed at the end."""
    found: dict[str, Times] = {}
    yield found
    print(
        "\n\nfrom an edit until it is shown, and from an event until the page is back and live, in ms: median, longest"
    )
    for what, times_s in found.items():
        median, longest = (1000 * value for value in (statistics.median(times_s), max(times_s)))
        print(f"{what:<60} {median:6.0f} {longest:6.0f}   of {len(times_s)}")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_edit_shows_at_once_and_a_page_comes_back_by_itself(
    case: Case, image: str, tmp_path: Path, measured: dict[str, Times]
) -> None:
    with a_site(tmp_path, image, case) as site, a_screen(site.browser) as screen:
        machine = site.assign()
        screen.open(site.entry())
        edits, styles = edited(site, screen, machine, EDITS)
        measured[f"{case}: an edit of a module"] = edits
        measured[f"{case}: an edit of CSS"] = styles
        measured[f"{case}: docker restart"] = [restarted(site, screen, machine)]
        measured[f"{case}: another machine"] = [moved(site, screen, machine)]
        measured[f"{case}: a wake by command"] = [woken(site, screen)]
        measured[f"{case}: a wake by a visit"] = [visited(site, screen)]
    assert max(map(statistics.median, (edits, styles))) < AT_MOST_S


def edited(site: Site, screen: Screen, machine: str, count: int, prefix: str = "edit") -> tuple[Times, Times]:
    """How long so many edits took to show: of a module, and of CSS. Nothing that was typed is lost."""
    screen.type()
    modules, styles = [], []
    for number in range(count):
        begun, message = time.time(), f"{prefix} {number}"
        site.write(machine, "/app/message.js", f'export const message = "{message}";\n')
        screen.shows(message)
        modules.append(screen.shown_at_s(message) - begun)
        begun, color = time.time(), f"rgb({len(prefix)}, {number}, 7)"
        site.write(machine, "/app/style.css", f"h1 {{ color: {color}; }}\n")
        screen.is_colored(color)
        styles.append(screen.shown_at_s(color) - begun)
        assert screen.has_kept_it(), "an edit loaded the page anew"
    return modules, styles


def restarted(site: Site, screen: Screen, machine: str) -> float:
    screen.type()
    begun = time.monotonic()
    docker("restart", machine)
    screen.is_new(f"edit {EDITS - 1}")
    took_s = time.monotonic() - begun
    edited(site, screen, machine, 1, "restarted")
    return took_s


def moved(site: Site, screen: Screen, machine: str) -> float:
    """The project gets another machine; the address stays. A link leads to one machine only, so the next needs another."""
    screen.type()
    site.release()
    begun = time.monotonic()
    other = site.assign()
    assert other != machine
    if site.case.access == "public":
        screen.is_new()
    else:
        screen.visit(site.url, "h1", "Not shown")
        screen.open(site.entry())
    took_s = time.monotonic() - begun
    edited(site, screen, other, 1, "another")
    return took_s


def woken(site: Site, screen: Screen) -> float:
    """What the open page asks for wakes nothing. As soon as its machine is awake, it is back."""
    machine = site.assign()
    screen.type()
    site.sleep()
    holds_for(lambda: site.state == "sleeping", "an open page wakes nothing", for_s=ASLEEP_S)
    assert screen.has_kept_it()
    begun = time.monotonic()
    site.wake()
    screen.is_new("another 0")
    took_s = time.monotonic() - begun
    edited(site, screen, machine, 1, "woken")
    return took_s


def visited(site: Site, screen: Screen) -> float:
    """A navigation wakes it: first there is a page of the service, and then the worker's."""
    machine = site.assign()
    site.sleep()
    begun = time.monotonic()
    screen.open(site.url, "woken 0")
    took_s = time.monotonic() - begun
    edited(site, screen, machine, 1, "visited")
    return took_s


def test_vite_refuses_a_host_that_it_was_not_told(image: str, tmp_path: Path) -> None:
    """What the two settings are for."""
    with (
        a_site(tmp_path, image, Case("nginx, then the door", "own", "public")) as site,
        a_screen(site.browser) as screen,
    ):
        site.assign()
        host = site.url.removeprefix("https://").partition(":")[0]
        refusal = f'Blocked request. This host ("{host}") is not allowed.'
        screen.visit(site.url, "body", re.compile(re.escape(refusal)))
