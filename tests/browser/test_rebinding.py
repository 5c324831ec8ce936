"""A foreign name that resolves to this machine makes its page same-origin with the service: the Host gives it away."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page
from tests.browser.pages import Relay


@pytest.mark.usefixtures("unharmed")
def test_a_page_whose_name_was_rebound_to_this_machine_gets_nothing(page: Page, target: Relay) -> None:
    """It may read its own origin's replies, so each of them must be a refusal."""
    rebound = f"http://rebind.example:{target.port}"
    answer = page.goto(f"{rebound}/victim")
    assert answer is not None
    assert answer.status == 403
    calls = (
        ("GET", "/victim"),
        ("GET", "/machines/list"),
        ("GET", "/health"),
        ("DELETE", "/held"),
        ("POST", "/destroy"),
    )
    for method, path in calls:
        status, body = page.evaluate(
            """async ([method, path]) => {
                const body = method == 'POST' ? '{"containerId": "held"}' : undefined
                const reply = await fetch(path, {method, body, headers: {'content-type': 'application/json'}})
                return [reply.status, await reply.json()]
            }""",
            [method, path],
        )
        assert (status, body["error"]) == (403, "Host not allowed")
    assert {one.site for one in target.seen} == {""}  # a browser marks nothing that goes to such a name over plain HTTP
    assert {one.status for one in target.seen} == {403}
