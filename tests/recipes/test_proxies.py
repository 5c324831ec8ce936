"""The files of examples/proxies, each in a real proxy with TLS: it asks where a host leads, and sends bytes there itself."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psutil
import pytest
from tests.integration.calling import call
from tests.integration.running import Running, a_service, orchestrator
from tests.integration.waiting import eventually
from tests.recipes.page import ROOT
from tests.recipes.test_pages import a_port, needs
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

PROXIES: Final = ROOT / "examples" / "proxies"
TOKEN: Final = "tok-0f6c1e7b2d94a853"  # of this test
BEARER: Final = {"authorization": f"Bearer {TOKEN}"}
COMMANDS: Final = {
    "nginx.conf": ("nginx", "-p", ".", "-e", "stderr", "-c", "nginx.conf", "-g", "daemon off;"),
    "Caddyfile": ("caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile"),
}
PACKAGES: Final = {"nginx": "nginx-light", "caddy": "caddy"}


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    headers: dict[str, str]
    text: str


@dataclass(frozen=True, slots=True)
class Proxy:
    """On this port, with a certificate for all names below the domain."""

    port: int
    folder: Path

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.folder / "cert.pem"))

    def connection(self, name: str) -> ssl.SSLSocket:
        return self.trust.wrap_socket(socket.create_connection(("127.0.0.1", self.port), 30), server_hostname=name)

    def ask(self, project: str, path: str = "/", **headers: str) -> Answered:
        return self.ask_host(f"{project}.preview.localhost", "GET", path, **headers)

    def ask_host(self, name: str, method: str, path: str, body: str | None = None, **headers: str) -> Answered:
        with contextlib.closing(http.client.HTTPConnection(name, self.port)) as connection:
            connection.sock = self.connection(name)
            connection.request(
                method, path, body, headers={field.replace("_", "-"): value for field, value in headers.items()}
            )
            reply = connection.getresponse()
            found = {field.lower(): value for field, value in reply.getheaders()}
            return Answered(reply.status, found, reply.read().decode())


@contextlib.contextmanager
def a_proxy(folder: Path, file: str, service_port: int) -> Iterator[Proxy]:
    command, port = COMMANDS[file], int(a_port())
    needs(command[0], PACKAGES[command[0]])
    text = (PROXIES / file).read_text(encoding="utf-8")
    assert "8443" in text
    assert "127.0.0.1:9092" in text
    (folder / file).write_text(text.replace("8443", str(port)).replace("9092", str(service_port)), encoding="utf-8")
    (folder / "token.conf").write_text(f'proxy_set_header Authorization "Bearer {TOKEN}";\n', encoding="utf-8")
    made = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost")
    names = (
        "-addext",
        "subjectAltName=DNS:localhost,DNS:*.preview.localhost",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
    )
    subprocess.run([*made, *names], cwd=folder, check=True, capture_output=True)
    own = {"ORCHESTRATOR_BEARER": f"Bearer {TOKEN}", "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with (folder / "proxy.log").open("w") as log:
        running = subprocess.Popen(command, cwd=folder, env={**os.environ, **own}, stdout=log, stderr=log)
    try:
        proxy = Proxy(port, folder)
        eventually(lambda: _listens(running, port), "the proxy listens", within_s=20)
        yield proxy
    finally:
        running.terminate()
        running.wait(20)


def _listens(running: subprocess.Popen[bytes], port: int) -> bool:
    assert running.poll() is None, "the proxy ended"
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)
    flags = ("--engine", "memory", "--min-idle", "1", "--token-file", str(folder / "token"))
    with a_service(
        folder, *flags, "--preview-domain", "preview.localhost", "--root-path", "/pool", start=False
    ) as running:
        running.start(await_answer=False)
        eventually(lambda: _lives(running), "the service answers", within_s=30)
        yield running


def _lives(service: Running) -> bool:
    with contextlib.suppress(OSError):
        return service.get("/livez").status == 200
    return False


@pytest.mark.parametrize("file", COMMANDS)
def test_who_has_a_link_sees_the_preview_for_as_long_as_it_holds(file: str, service: Running, tmp_path: Path) -> None:
    port = service.ports.api
    machine = call(port, "PUT", "/v1/projects/app/machine", {}, BEARER).json["id"]
    flags = ("--url", f"http://localhost:{port}", "--token-file", str(service.folder / "token"))
    link = orchestrator("url", "app", *flags, cwd=tmp_path).stdout.strip()
    with a_proxy(tmp_path, file, port) as proxy:
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
        assert proxy.ask("app", cookie=cookie).status == 503
        eventually(lambda: proxy.ask("app", cookie=cookie).status == 200, "the visit woke it", within_s=20)
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
    with a_worker_by_route() as routes, a_proxy(tmp_path, file, routes.port) as proxy:  # type: ignore[attr-defined]
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
