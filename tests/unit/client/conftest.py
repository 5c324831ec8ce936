"""Each test that asks for `connect` runs for Client and for AsyncClient."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from tests.unit.client.either import BOTH, Either

Connect = Callable[..., AbstractContextManager[Either]]


@pytest.fixture(params=BOTH, ids=lambda make: make.__name__)
def connect(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Opens a client: `with connect(server.url) as client`. Settings of whoever runs the tests do not count."""
    for name in ("ORCHESTRATOR_URL", "ORCHESTRATOR_TOKEN", "ORCHESTRATOR_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    made: Connect = request.param
    return made
