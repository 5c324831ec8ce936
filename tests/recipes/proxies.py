"""A proxy with TLS in front of previews, with a file of examples/proxies or of a page, and a certificate of its own."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.integration.waiting import eventually
from tests.recipes.at_hand import a_port, needs
from tests.recipes.page import ROOT

__all__ = ["COMMANDS", "E2B_COMMANDS", "EXAMPLES", "Answered", "Proxy", "a_proxy"]

EXAMPLES: Final = ROOT / "examples" / "proxies"
COMMANDS: Final = {
    "nginx.conf": ("nginx", "-p", ".", "-e", "stderr", "-c", "nginx.conf", "-g", "daemon off;"),
    "Caddyfile": ("caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile"),
}
"""By the name of the file."""
E2B_COMMANDS: Final = {
    "e2b.nginx.conf": ("nginx", "-p", ".", "-e", "stderr", "-c", "e2b.nginx.conf", "-g", "daemon off;"),
    "e2b.Caddyfile": ("caddy", "run", "--config", "e2b.Caddyfile", "--adapter", "caddyfile"),
}
"""Those for E2B's clients."""
_PACKAGES: Final = {"nginx": "nginx-light", "caddy": "caddy"}
_DOMAIN: Final = "preview.localhost"


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
    domain: str = _DOMAIN

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.folder / "cert.pem"))

    def connection(self, name: str) -> ssl.SSLSocket:
        return self.trust.wrap_socket(socket.create_connection(("127.0.0.1", self.port), 30), server_hostname=name)

    def ask(self, project: str, path: str = "/", **headers: str) -> Answered:
        return self.ask_host(f"{project}.{self.domain}", "GET", path, **headers)

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
def a_proxy(
    folder: Path, file: str, service_port: int, token: str, *, domain: str = _DOMAIN, port: int = 0, text: str = ""
) -> Iterator[Proxy]:
    """The proxy that reads this file, with the content `text`, or that of examples/proxies. Its log is `proxy.log`."""
    command, port = (COMMANDS | E2B_COMMANDS)[file], port or int(a_port())
    needs(command[0], _PACKAGES[command[0]])
    text = text or (EXAMPLES / file).read_text(encoding="utf-8")
    for theirs, ours in (("8443", str(port)), ("127.0.0.1:9092", f"127.0.0.1:{service_port}"), (_DOMAIN, domain)):
        assert theirs in text, f"{file} has no {theirs}"
        text = text.replace(theirs, ours)
    (folder / file).write_text(text, encoding="utf-8")
    (folder / "token.conf").write_text(f'proxy_set_header Authorization "Bearer {token}";\n', encoding="utf-8")
    made = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost")
    no_authority = ("-addext", "basicConstraints=critical,CA:FALSE")  # some clients trust none as a server
    names = ("-addext", f"subjectAltName=DNS:localhost,DNS:*.{domain}", "-keyout", "key.pem", "-out", "cert.pem")
    subprocess.run([*made, *no_authority, *names], cwd=folder, check=True, capture_output=True)
    own = {"ORCHESTRATOR_BEARER": f"Bearer {token}", "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with (folder / "proxy.log").open("w") as log:
        running = subprocess.Popen(command, cwd=folder, env={**os.environ, **own}, stdout=log, stderr=log)
    try:
        eventually(lambda: _listens(running, port), "the proxy listens", within_s=20)
        yield Proxy(port, folder, domain)
    finally:
        running.terminate()
        running.wait(20)


def _listens(running: subprocess.Popen[bytes], port: int) -> bool:
    assert running.poll() is None, "the proxy ended"
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
