"""Who has the port that the service was to listen on, asked without telling it anything."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from tests.unit.client.scripted import Act, answer, problem, scripted

from worker_orchestrator.errors import PortInUse
from worker_orchestrator.service import already_running
from worker_orchestrator.service.already_running import who_listens
from worker_orchestrator.settings.settings import Settings

TAKEN = PortInUse("The port is taken.")
SETTINGS = replace(
    Settings(), engine="memory", host="127.0.0.1", token="a-secret-of-at-least-16-characters"
)  # of this test


def asked(url: str) -> PortInUse:
    return asyncio.run(who_listens(replace(SETTINGS, port=urlsplit(url).port or 0), TAKEN))


def test_an_orchestrator_that_requires_a_token_is_told_by_its_refusal() -> None:
    with scripted(problem(401, "unauthorized")) as server:
        assert "Another orchestrator already runs at" in asked(server.url).message


def test_whatever_has_the_port_is_not_told_our_token() -> None:
    """Any program may have taken it."""
    with scripted(problem(401, "unauthorized")) as server:
        asked(server.url)
        (heard,) = server.heard
        assert "authorization" not in {name.lower() for name in heard.headers}


OTHERS = [
    answer(200, {"status": "ok"}),
    answer(401, {}),
    answer(404, {"error": "not found"}),
    answer(200, b"[" * 60_000),
]


@pytest.mark.parametrize("reply", OTHERS)
def test_any_other_program_is_no_orchestrator(reply: Act) -> None:
    with scripted(reply) as server:
        assert asked(server.url) is TAKEN


def test_nobody_who_answers_is_no_orchestrator_either() -> None:
    with scripted() as server:
        url = server.url
    assert asked(url) is TAKEN


def test_a_program_that_never_ends_its_reply_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(already_running, "_TIMEOUT_S", 0.3)

    def drip(connection: socket.socket) -> bool:
        with contextlib.suppress(OSError):
            for _ in range(200):
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                time.sleep(0.05)
        return False

    begun_at = time.monotonic()
    with scripted(drip) as server:
        assert asked(server.url) is TAKEN
        assert time.monotonic() - begun_at < 5
