"""The ways to a preview: through the service's door, by a proxy that asks where it leads, or by a proxy and the door."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from playwright.sync_api import Browser
from tests.browser.conftest import chromium
from tests.integration.calling import call
from tests.integration.guarded import a_guarded_service
from tests.integration.running import Running
from tests.recipes.at_hand import a_port
from tests.recipes.page import ROOT
from tests.recipes.proxies import Proxy, a_proxy

__all__ = ["CASES", "Case", "Site", "a_site"]

PROJECT: Final = "vite-demo"
_DOMAIN: Final = "preview.example.com"
"""No name below it is one that Vite knows by itself."""
_TOKEN: Final = "tok-7c1e0b9d52f84a36"  # of these tests
_HOSTS: Final = {
    "own": "",
    "localhost": 'preview_host = "localhost"\n',
    "told": f'env = {{ __VITE_ADDITIONAL_SERVER_ALLOWED_HOSTS = ".{_DOMAIN}" }}\n',
}
_FILES: Final = {"Caddy asks": "Caddyfile", "nginx asks": "nginx.conf", "nginx, then the door": "nginx.conf"}


@dataclass(frozen=True, slots=True)
class Case:
    """A way, how Vite comes to accept its host, and who may see the preview."""

    way: str
    hosts: str
    access: str

    def __str__(self) -> str:
        return f"{self.way}, host {self.hosts}, {self.access}"

    @property
    def settings(self) -> str:
        """Of the pool."""
        return f'preview_access = "{self.access}"\n{_HOSTS[self.hosts]}'


CASES: Final = (
    Case("the door", "own", "public"),
    Case("the door", "localhost", "link"),
    Case("Caddy asks", "localhost", "public"),
    Case("Caddy asks", "told", "link"),
    Case("nginx asks", "told", "public"),
    Case("nginx asks", "localhost", "link"),
    Case("nginx, then the door", "localhost", "public"),
    Case("nginx, then the door", "told", "link"),
)


@dataclass(frozen=True, slots=True)
class Site:
    """A service, and a browser that finds its previews. `url` is that of the project."""

    service: Running
    browser: Browser
    case: Case
    url: str

    def order(self, method: str, path: str, body: object = None) -> Any:
        """What the service answers to this order, which must succeed."""
        bearer = {"authorization": f"Bearer {_TOKEN}"}
        answer = call(self.service.ports.api, method, f"/v1/{path}", body, bearer)
        assert answer.status in {200, 201, 204}, f"{method} {path}: {answer.status} {answer.text}"
        return answer.json if answer.body else None

    def assign(self) -> str:
        """The machine of the project."""
        return str(self.order("PUT", f"projects/{PROJECT}/machine", {})["id"])

    def release(self) -> None:
        self.order("DELETE", f"projects/{PROJECT}/machine")

    def sleep(self) -> None:
        self.order("POST", f"projects/{PROJECT}/machine/sleep")

    def wake(self) -> None:
        self.order("POST", f"projects/{PROJECT}/machine/wake")

    @property
    def state(self) -> str:
        return str(self.order("GET", f"projects/{PROJECT}/machine")["state"])

    def write(self, machine: str, path: str, text: str) -> None:
        self.order("PUT", f"machines/{machine}/files?path={quote(path)}", text.encode())

    def entry(self) -> str:
        """Where somebody gets in who has not been there."""
        if self.case.access == "public":
            return self.url
        return str(self.order("POST", f"projects/{PROJECT}/links", {"seconds": 600})["url"])


@contextmanager
def a_site(folder: Path, image: str, case: Case) -> Iterator[Site]:
    settings, port = folder / "pool.toml", int(a_port())
    settings.write_text(case.settings)
    flags = ("--image", image, "--min-idle", "1", "--on-release", "recycle", "--config", str(settings))
    if case.way == "the door":
        with a_guarded_service(folder, _TOKEN, *flags) as service, chromium() as browser:
            yield Site(service, browser, case, f"http://{PROJECT}.localhost:{service.ports.api}/")
        return
    domain = ("--preview-domain", _DOMAIN, "--url-template", f"https://{{name}}.{_DOMAIN}:{port}/")
    text = _of_the_page() if "door" in case.way else ""
    with (
        a_guarded_service(folder, _TOKEN, *flags, *domain) as service,
        a_proxy(folder, _FILES[case.way], service.ports.api, _TOKEN, domain=_DOMAIN, port=port, text=text) as proxy,
        chromium(f"--host-resolver-rules=MAP *.{_DOMAIN} 127.0.0.1", _trusting(proxy)) as browser,
    ):
        yield Site(service, browser, case, f"https://{PROJECT}.{_DOMAIN}:{port}/")


def _of_the_page() -> str:
    """The file of nginx in docs/recipes/previews.md, which passes everything on to the door."""
    page = (ROOT / "docs" / "recipes" / "previews.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"^```nginx\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return str(found)


def _trusting(proxy: Proxy) -> str:
    """Chromium trusts the key of this proxy's certificate, and no other."""
    key = subprocess.run(
        ["openssl", "x509", "-in", str(proxy.folder / "cert.pem"), "-noout", "-pubkey"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    der = base64.b64decode("".join(key.splitlines()[1:-1]))
    digest = base64.b64encode(hashlib.sha256(der).digest()).decode()
    return f"--ignore-certificate-errors-spki-list={digest}"
