"""The files of examples/proxies, each in a real proxy with TLS: it asks where a host leads, and sends bytes there itself."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psutil
import pytest
from tests.integration.calling import call
from tests.integration.guarded import a_guarded_service
from tests.integration.running import Running, orchestrator
from tests.recipes.proxies import COMMANDS, Answered, Proxy, a_proxy
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

TOKEN: Final = "tok-0f6c1e7b2d94a853"  # of this test
BEARER: Final = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    flags = ("--engine", "memory", "--min-idle", "1", "--preview-domain", "preview.localhost", "--root-path", "/pool")
    with a_guarded_service(tmp_path_factory.mktemp("guarded"), TOKEN, *flags) as running:
        yield running


@pytest.mark.parametrize("file", COMMANDS)
def test_who_has_a_link_sees_the_preview_for_as_long_as_it_holds(file: str, service: Running, tmp_path: Path) -> None:
    port = service.ports.api
    machine = call(port, "PUT", "/v1/projects/app/machine", {}, BEARER).json["id"]
    flags = ("--url", f"http://localhost:{port}", "--token-file", str(service.folder / "token"))
    link = orchestrator("url", "app", *flags, cwd=tmp_path).stdout.strip()
    with a_proxy(tmp_path, file, port, TOKEN) as proxy:
        assert machine in proxy.ask("app", x_orchestrator_token=TOKEN).text
        assert psutil.Process(service.pid).children() == [], "no byte of that came through the service's own door"
        assert proxy.ask("app").status == 403
        assert proxy.ask("app", x_orchestrator_token="wrong").status == 403
        entered = proxy.ask("app", f"/?{link.partition('?')[2]}")
        assert (entered.status, entered.headers["location"]) == (303, "/")
        cookie = entered.headers["set-cookie"].partition(";")[0]
        seen = proxy.ask("app", cookie=cookie)
        assert (seen.status, machine in seen.text) == (200, True)
        embedded = {"origin": "https://elsewhere.example", "sec_fetch_site": "cross-site", "user_agent": "Mozilla/5.0"}
        assert proxy.ask("app", cookie=cookie, **embedded).status == 200, "what its pages may do, its worker says"
        assert call(port, "POST", "/v1/projects/app/machine/sleep", None, BEARER).status == 200
        woken = proxy.ask("app", cookie=cookie)
        assert (woken.status, machine in woken.text) == (200, True), "the visit woke it, and waited at the door"
        assert call(port, "DELETE", "/v1/projects/app/machine", None, BEARER).status in {200, 204}
        assert proxy.ask("app", cookie=cookie).status == 403
        assert proxy.ask("other", cookie=cookie).status == 403
        under_its_path(proxy)


def under_its_path(proxy: Proxy) -> None:
    """The service itself, with its pages, its API and a session, at /pool/ and nowhere else."""

    def ask(method: str, path: str, body: str | None = None, **headers: str) -> Answered:
        return proxy.ask_host("localhost", method, path, body, **headers)

    site = {"origin": f"https://localhost:{proxy.port}", "host": f"localhost:{proxy.port}"}
    assert "assets/start.js" in ask("GET", "/pool/", accept="text/html").text
    assert ask("GET", "/pool/assets/start.js").status == ask("GET", "/pool/docs").status == 200
    assert ask("GET", "/pool/v1/health").status == 401
    signed = ask("POST", "/pool/login", json.dumps({"token": TOKEN}), **site)
    cookie, *attributes = signed.headers["set-cookie"].split("; ")
    assert attributes == ["HttpOnly", "SameSite=Strict", "Path=/pool", "Secure"]
    session = {"cookie": cookie, "x_session_key": json.loads(signed.text)["key"], **site}
    assert json.loads(ask("PUT", "/pool/v1/projects/pool/machine", "{}", **session).text)["project"] == "pool"
    assert json.loads(ask("GET", "/pool/pool", **session).text)["url"], "the document's own path"
    left_out = ask("GET", "/pool", **session)
    assert (left_out.status // 100, urlsplit(left_out.headers["location"]).path) == (3, "/pool/")
    assert ask("DELETE", "/pool/v1/projects/pool/machine", **session).status == 200
    assert ask("GET", "/v1/health").status != 401, "it is not there"
    assert ask("POST", "/pool/logout", **session).headers["set-cookie"].endswith("Path=/pool; Max-Age=0")


class Routes(http.server.BaseHTTPRequestHandler):
    """Stands for the service: all hosts lead to one worker, which is told another name."""

    worker_port = 0
    asked: list[tuple[str, dict[str, str]]]

    def do_GET(self) -> None:
        self.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        self.send_response(200)
        self.send_header("X-Orchestrator-Target", f"127.0.0.1:{self.worker_port}")
        self.send_header("X-Orchestrator-Host", "told.localhost")
        self.send_header("X-Orchestrator-Cookie", "mine=1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def tell(connection: ServerConnection, request: Any) -> Any:
    """What a worker receives that tells it; a request for a WebSocket goes on."""
    if "upgrade" in request.headers:
        return None
    told = {name.lower(): value for name, value in request.headers.raw_items()}
    reply = connection.respond(200, json.dumps({"path": request.path, **told}))
    reply.headers["Set-Cookie"] = "its=1; Domain=preview.localhost; Path=/"
    return reply


def echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


@contextlib.contextmanager
def a_worker_by_route() -> Iterator[type[Routes]]:
    with serve(echo, "127.0.0.1", 0, process_request=tell) as worker:

        class Own(Routes):
            worker_port, asked = worker.socket.getsockname()[1], []

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Own) as routes:
            threads = [threading.Thread(target=one.serve_forever, daemon=True) for one in (worker, routes)]
            for thread in threads:
                thread.start()
            Own.port = routes.server_address[1]  # type: ignore[attr-defined]
            yield Own
            routes.shutdown()
        worker.shutdown()


@pytest.mark.parametrize("file", COMMANDS)
def test_a_worker_receives_the_request_without_what_belongs_to_the_service(file: str, tmp_path: Path) -> None:
    with a_worker_by_route() as routes, a_proxy(tmp_path, file, routes.port, TOKEN) as proxy:  # type: ignore[attr-defined]
        seen = proxy.ask(
            "app",
            "/a%20b?x=1&y=%2F",
            cookie="mine=1; orchestrator_preview=secret",
            x_orchestrator_token="secret",
            authorization="Basic own",
            x_forwarded_for="9.9.9.9",
            forwarded="for=9.9.9.9",
            origin="https://elsewhere.example",
            sec_fetch_site="cross-site",
            user_agent="Mozilla/5.0",
        )
        received = json.loads(seen.text)
        assert received["path"] == "/a%20b?x=1&y=%2F"
        assert (received["host"], received["cookie"]) == ("told.localhost", "mine=1")
        assert (received["authorization"], received["origin"]) == ("Basic own", "https://elsewhere.example")
        assert "secret" not in seen.text
        assert "9.9.9.9" not in seen.text
        assert TOKEN not in seen.text
        assert "preview.localhost" not in seen.headers["set-cookie"].replace("app.preview.localhost", "")
        (path, asked), *_ = routes.asked
        assert path == "/v1/route?host=app.preview.localhost"
        assert (asked["authorization"], asked["x-orchestrator-token"]) == (f"Bearer {TOKEN}", "secret")
        assert asked["cookie"] == "mine=1; orchestrator_preview=secret"
        assert asked["x-forwarded-for"].rpartition(",")[2].strip() == "127.0.0.1"
        assert {"origin", "sec-fetch-site"} & asked.keys() == set(), "by these the service judges its own callers"
        assert "Mozilla" not in asked.get("user-agent", "")

        name = "app.preview.localhost"
        with connect(f"ws://{name}:{proxy.port}/", sock=proxy.connection(name)) as socket_there:
            socket_there.send("hello")
            assert socket_there.recv(timeout=10) == "hello"
