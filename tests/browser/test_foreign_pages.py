"""Pages of other sites, in a real Chromium: they take no machine, destroy none, and read nothing.

Each attack is a page of its own; a relay in front of the service shows that the request did come and how it was answered.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Page
from tests.browser.pages import Pages, Relay, Seen, pages, relay
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually

# What a page may do by itself. TARGET is the service, HELD the machine of a project. `tell(what)` says what the page could
# read, `done()` that it came to its end.
BY_ITSELF: Final = {
    "fetch": "fetch('TARGET/victim').then(r => r.text()).then(tell, tell).finally(done)",
    "fetch that wants no reply": """fetch('TARGET/victim', {mode: 'no-cors'})
        .then(async r => tell([r.type, r.status, await r.text()]), tell).finally(done)""",
    "fetch with credentials": "fetch('TARGET/victim', {credentials: 'include'}).then(tell, tell).finally(done)",
    "fetch through a redirect of its own": "fetch('/to-victim', {mode: 'no-cors'}).then(r => tell(r.status)).finally(done)",
    "list of machines": "fetch('TARGET/machines/list').then(r => r.text()).then(tell, tell).finally(done)",
    "image": "add('img', {src: 'TARGET/victim'})",
    "image through a redirect of its own": "add('img', {src: '/to-victim'})",
    "script": "add('script', {src: 'TARGET/victim'})",
    "module": "add('script', {src: 'TARGET/victim', type: 'module'})",
    "style sheet": "add('link', {href: 'TARGET/victim', rel: 'stylesheet'})",
    "video": "add('video', {src: 'TARGET/victim'})",
    "object": "add('object', {data: 'TARGET/victim'})",
    "frame": "add('iframe', {src: 'TARGET/victim'}, e => tell(e.contentDocument))",
    "prefetch": "add('link', {href: 'TARGET/victim', rel: 'prefetch'})",
    "preload": "add('link', {href: 'TARGET/victim', rel: 'preload', as: 'image'})",
    "event stream": """{const source = new EventSource('TARGET/victim');
        source.onerror = () => {source.close(); done()}; source.onmessage = m => tell(m.data)}""",
    "web socket": """{const socket = new WebSocket('TARGET/victim'.replace('http', 'ws'));
        socket.onclose = done; socket.onmessage = m => tell(m.data)}""",
    "worker": """try {new Worker('TARGET/victim')} catch (e) {tell(e)}
        fetch('TARGET/victim', {mode: 'no-cors'}).finally(done)""",
    "release": "fetch('TARGET/held', {method: 'DELETE'}).then(r => r.text()).then(tell, tell).finally(done)",
    "destroy in JSON": """fetch('TARGET/destroy', {method: 'POST', body: '{"containerId": "HELD"}',
        headers: {'content-type': 'application/json'}}).then(r => r.text()).then(tell, tell).finally(done)""",
    "destroy without a preflight": """fetch('TARGET/destroy', {method: 'POST', mode: 'no-cors',
        body: '{"containerId": "HELD"}'}).then(r => tell(r.status), tell).finally(done)""",
    "destroy by a beacon": "tell(navigator.sendBeacon('TARGET/destroy', '{\"containerId\": \"HELD\"}')); done()",
}
# What leads the tab, or a new one, to the service.
BY_GOING_THERE: Final = {
    "script that goes there": "<script>location = 'TARGET/victim'</script>",
    "refresh": "<meta http-equiv=refresh content='0; url=TARGET/victim'>",
    "link that a script clicks": "<a id=a href='TARGET/victim'>a</a><script>a.click()</script>",
    "link that a person clicks": "<a id=click href='TARGET/victim'>a</a>",
    "link through a redirect of its own": "<a id=click href='/to-victim'>a</a>",
    "link without a referrer": "<a id=click rel='noreferrer' href='TARGET/victim'>a</a>",
    "link to a new tab": "<a id=click target=_blank rel=opener href='TARGET/victim'>a</a>",
    "popup": "<button id=click onclick=\"opened = window.open('TARGET/victim')\">a</button>",
    "form that looks like JSON": """<form method=post action='TARGET/destroy' enctype='text/plain'>
        <input name='{"containerId":"HELD","a":"' value='"}'><button id=click>a</button></form>""",
    "form": """<form method=post action='TARGET/destroy'><input name=containerId value='HELD'>
        <button id=click>a</button></form>""",
    "form that asks": "<form action='TARGET/victim'><button id=click>a</button></form>",
    "form that a script sends": """<form id=f method=post action='TARGET/destroy' enctype='text/plain'>
        <input name='{"containerId":"HELD","a":"' value='"}'></form><script>f.submit()</script>""",
}
HARMLESS: Final = {"TypeError: Failed to fetch", "opaque 0 ", "0", "null", "true", "SecurityError"}
"""What a page is told of requests whose replies it may not read."""
REFUSAL: Final = "Cross-site request refused"
TOOLS: Final = """<script>
    window.told = [];
    window.tell = what => told.push(Array.isArray(what) ? what.join(' ') : String(what));
    window.done = () => { window.ended = true };
    window.add = (tag, attributes, look = () => {}) => {
        const element = Object.assign(document.createElement(tag), attributes);
        element.onload = element.onerror = event => { look(element); done() };
        document.body.append(element);
    };
</script>"""


def await_in(page: Page, look: Callable[[], object], what: str) -> None:
    """Wait while the browser goes on: a new tab opens only when somebody listens to it."""

    def turn() -> object:
        page.wait_for_timeout(10)
        return look()

    eventually(turn, what)


def lure(site: Pages, target: Relay, service: Running, html: str) -> str:
    """The URL of a page with this attack."""
    held = service.machine_of("held")
    assert held is not None
    site.redirects["/to-victim"] = f"{target.url}/victim"
    return site.put(TOOLS + html.replace("TARGET", target.url).replace("HELD", held["id"]))


def assert_refused(page: Page, target: Relay, site: str = "cross-site") -> None:
    """Something came, all of it from such a site, and all of it was turned away."""

    def of_the_page() -> list[Seen]:
        return [one for one in target.seen if one.path != "/favicon.ico"]  # this the browser adds by itself

    await_in(page, of_the_page, "a request of the page arrives")
    seen = of_the_page()
    sites = [one.site for one in seen if "upgrade" not in one.headers]  # a browser marks no WebSocket
    assert set(sites) <= {site}
    assert {one.status for one in seen} == {403}
    assert {one.method for one in seen} <= {"GET", "POST", "OPTIONS"}


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("attack", BY_ITSELF)
def test_a_foreign_page_gets_nothing_by_itself(
    attack: str, page: Page, site: Pages, target: Relay, service: Running
) -> None:
    """No machine, and not a word of any reply."""
    page.goto(lure(site, target, service, f"<script>{BY_ITSELF[attack]}</script>"))
    assert_refused(page, target)
    if attack not in {"prefetch", "object"}:  # of these a page does not hear
        page.wait_for_function("window.ended")
    told = [what.partition(" at ")[0].partition(": Failed to construct")[0] for what in page.evaluate("told")]
    assert set(told) <= HARMLESS
    entries = page.evaluate(
        "performance.getEntriesByType('resource').map(e => [e.name, e.responseStatus, e.encodedBodySize])"
    )
    assert [entry for entry in entries if entry[1:] != [0, 0] and target.url in entry[0]] == []


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("attack", BY_GOING_THERE)
def test_a_foreign_page_that_leads_a_browser_here_gets_nothing(
    attack: str, page: Page, site: Pages, target: Relay, service: Running
) -> None:
    """With and without a click: the person sees the refusal, and the page does not."""
    page.goto(lure(site, target, service, BY_GOING_THERE[attack]), wait_until="commit")
    if "id=click" in BY_GOING_THERE[attack]:
        page.click("#click", no_wait_after=True)
    assert_refused(page, target)
    await_in(page, lambda: any(REFUSAL in tab.inner_text("body") for tab in page.context.pages), "the refusal shows")
    if attack == "popup":
        assert "SecurityError" in page.evaluate(
            "() => { try { return opened.document.body.innerText } catch (e) { return String(e) } }"
        )


OF_A_WORKER: Final = [
    *("fetch", "image", "frame", "release", "destroy in JSON", "destroy without a preflight"),
    *("link that a person clicks", "link without a referrer", "form that looks like JSON"),
]


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("attack", OF_A_WORKER)
def test_the_page_of_a_worker_gets_nothing(attack: str, page: Page, target: Relay, service: Running) -> None:
    """Some project wrote it, and it is shown on localhost: the same site as the service, and another port."""
    with pages(service.ports.last) as worker:
        html = BY_GOING_THERE.get(attack) or f"<script>{BY_ITSELF[attack]}</script>"
        url = lure(worker, target, service, html).replace("evil.example", "localhost")
        page.goto(url, wait_until="commit")
        if "id=click" in html:
            page.click("#click", no_wait_after=True)
        assert_refused(page, target, "same-site")


def test_an_allowed_name_opens_no_door_for_foreign_pages(page: Page, site: Pages, tmp_path: Path) -> None:
    """Over plain HTTP to such a name a browser marks nothing as cross-site."""
    with a_service(tmp_path, "--engine", "memory", "--allow-host", "rebind.example") as service:
        with relay(service.ports.api) as target:
            victim = f"http://rebind.example:{target.port}/victim"
            page.goto(site.put(TOOLS + f"<script>add('img', {{src: '{victim}'}})</script>"))
            await_in(page, lambda: [one for one in target.seen if one.path == "/victim"], "the image is asked for")
            assert {(one.site, one.status) for one in target.seen if one.path == "/victim"} == {("", 403)}
        assert [machine for machine in service.machines() if machine["isUsed"]] == []
        assert service.get("/victim", {"host": "rebind.example"}).status == 200, "a program is no browser"
