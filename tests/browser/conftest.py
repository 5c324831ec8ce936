"""A real Chromium, a real service on real Docker with something to lose, and a page on another origin."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from tests.browser import undisturbed
from tests.browser.pages import Pages, Relay, pages, relay
from tests.browser.tabs import Tabs
from tests.integration.conftest import pytest_runtest_makereport
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually

__all__ = ["browser", "chromium", "page", "pytest_runtest_makereport", "service", "site", "tabs", "target", "unharmed"]

_PLAYWRIGHTS = (
    "AvoidUnnecessaryBeforeUnloadCheckSync,DestroyProfileOnBrowserClose,HttpsUpgrades,HttpsFirstBalancedModeAutoEnable,"
    "LensOverlay,MediaRouter,PaintHolding,ThirdPartyStoragePartitioning,AvoidCorsURLLoaderRestartOnRedirect,"
    "TcpPortRandomizationWin,OptimizationHints,NetworkTimeServiceQuerying,AimEnabled,PreconnectToSearch,"
    "msForceBrowserSignIn,msEdgeUpdateLaunchServicesPreferredVersion"
)
"""The features that Playwright switches off by itself: Chromium only heeds the last list that it is given."""
_ADDRESS_BAR = "WebUIOmniboxPopup,WebUIOmniboxAimPopup,WebUIOmniboxFullPopup"
"""Pages below the address bar of each new window, which nobody sees here: half of what a tab costs."""
_ARGS = (
    f"--disable-features={_PLAYWRIGHTS},{_ADDRESS_BAR},SpareRendererForSitePerProcess",
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
    "--host-resolver-rules=MAP evil.example 127.0.0.1, MAP rebind.example 127.0.0.1",
)

expect.set_options(
    timeout=15_000
)  # as patient as a tab: on a busy computer a page of /docs takes more than 5 s to appear


@contextmanager
def chromium(*more: str) -> Iterator[Browser]:
    """Debian's Chromium, with these options too: of two of a name, the later holds. None is downloaded.

    It hears nothing of the networks that come and go with the containers of other tests (`undisturbed`).
    """
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        missing = "There is no Chromium: `apt-get install chromium` brings it."
        if os.environ.get("CI") == "true":
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=undisturbed.__file__, args=[*_ARGS, *more], env={**os.environ, "UNDISTURBED": path}
        )
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for the tests of a file; where CI has none, they fail.

    It ends with its file: Playwright's event loop runs in this thread, and tests elsewhere need one of their own.
    """
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty tab of a browser that knows nothing."""
    context = browser.new_context()
    context.set_default_timeout(15_000)
    try:
        yield context.new_page()
    finally:
        context.close()


@pytest.fixture
def tabs(browser: Browser) -> Iterator[Tabs]:
    """Tabs for the dashboard. No test of it passes in which one complained."""
    opened = Tabs(browser)
    try:
        yield opened
    finally:
        complaints = opened.close()
    assert complaints == []


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[Running]:
    """Two idle machines, and one that the project `held` works with."""
    flags = ("--max-machines", "6", "--assign-timeout", "20")
    with a_service(tmp_path_factory.mktemp("browser"), *flags) as service:
        service.await_idle(2)
        service.assign("held")
        service.await_idle(2)
        yield service


@pytest.fixture
def target(service: Running) -> Iterator[Relay]:
    """The service, with a view of what reaches it."""
    with relay(service.ports.api) as seen:
        yield seen


@pytest.fixture(scope="session")
def site() -> Iterator[Pages]:
    with pages() as served:
        yield served


def picture(service: Running) -> list[Any]:
    """All that an attack could change: in the database, in the API's listing, in Docker."""
    rows = service.rows("SELECT id, state, project, generation FROM machine ORDER BY id")
    generation = service.rows("SELECT value FROM meta WHERE key = 'generation'")
    return [rows, generation, service.machines(), sorted(service.containers())]


def is_at_rest(service: Running) -> bool:
    states = {state for (state,) in service.rows("SELECT state FROM machine")}
    return states == {"ready"} and len(service.idle()) >= 2


@pytest.fixture
def unharmed(service: Running) -> Iterator[None]:
    """Whatever the test does: nothing was assigned, released or destroyed, and nothing went wrong in the service."""
    eventually(lambda: is_at_rest(service), "all machines are ready, two of them idle")
    before = picture(service)
    yield
    assert picture(service) == before
    assert "Traceback" not in service.log
    assert "defect" not in service.log
