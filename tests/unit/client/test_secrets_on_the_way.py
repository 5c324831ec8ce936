"""The token goes to the service and to nobody else: no proxy that the environment names, nobody whom a reply points to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.client.conftest import Connect
from tests.unit.client.scripted import ScriptedServer, answer, scripted

from worker_orchestrator.cli.worker_terminal import _open
from worker_orchestrator.errors import CallFailed, OrchestratorError

TOKEN = "secret-of-the-service"


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ScriptedServer]:
    """Whom the environment names as the proxy for everything; and a .netrc with a password for this computer."""
    with scripted(*[answer(502)] * 3) as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.upper(), proxy.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login somebody password something\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        yield proxy


def opened(server: ScriptedServer) -> None:
    url = server.url.replace("http://", "ws://") + "/v1/machines/m/terminal"
    _open(url, {"Authorization": f"Bearer {TOKEN}"})


def test_a_terminal_asks_the_service_itself_whatever_proxy_the_environment_names(elsewhere: ScriptedServer) -> None:
    with scripted(answer(404, {"title": "T", "detail": "d", "code": "machine_not_found"})) as service:
        with pytest.raises(OrchestratorError):
            opened(service)
        (heard,) = service.heard
        assert heard.headers["authorization"] == f"Bearer {TOKEN}"
        assert heard.target == "/v1/machines/m/terminal"
    assert not elsewhere.heard


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_terminal_follows_nobody_to_another_place(elsewhere: ScriptedServer, status: int) -> None:
    """Every key that is typed would go there."""
    for there in (elsewhere.url.replace("http://", "ws://"), elsewhere.url, "/v1/other"):
        with scripted(*[answer(status, headers={"location": there})] * 2) as service:
            with pytest.raises(CallFailed):
                opened(service)
            assert len(service.heard) == 1
    assert not elsewhere.heard


def test_a_client_asks_the_service_itself_whatever_proxy_the_environment_names(
    connect: Connect, elsewhere: ScriptedServer
) -> None:
    with scripted(*[answer(404)] * 2) as service:
        for token, sent in ((TOKEN, f"Bearer {TOKEN}"), (None, None)):
            with connect(service.url, token=token, retries=0) as client, pytest.raises(OrchestratorError):
                client.health()
            assert service.heard[-1].headers.get("authorization") == sent
    assert not elsewhere.heard


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_client_follows_nobody_to_another_place(connect: Connect, elsewhere: ScriptedServer, status: int) -> None:
    with scripted(answer(status, headers={"location": elsewhere.url})) as service:
        with connect(service.url, token=TOKEN, retries=0) as client, pytest.raises(CallFailed):
            client.health()
        assert len(service.heard) == 1
    assert not elsewhere.heard
