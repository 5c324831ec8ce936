"""E2B's own client with `E2B_DOMAIN` alone, by the proxies of examples/proxies: HTTPS, and a host for each thing."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

import pytest
from tests.integration.running import Running, a_service
from tests.recipes.at_hand import a_port
from tests.recipes.proxies import E2B_COMMANDS, EXAMPLES, Proxy, a_proxy

DOMAIN: Final = "sandboxes.localhost"
CLIENT: Final = """
import json
from e2b import Sandbox
sandbox = Sandbox.create(envs={"STAGE": "test"}, timeout=300)
sandbox.files.write("/tmp/a", "content")
began = sandbox.commands.run("cat", background=True, stdin=True)
sandbox.commands.send_stdin(began.pid, "in\\n")
sandbox.commands.close_stdin(began.pid)
print(json.dumps({
    "said": [sandbox.commands.run("echo $STAGE").stdout, began.wait().stdout, sandbox.files.read("/tmp/a")],
    "hosts": [sandbox.get_host(9092), sandbox.get_host(3000)], "sandbox": sandbox.sandbox_id,
}))
"""


@pytest.fixture(scope="module", params=E2B_COMMANDS)
def proxied(
    tmp_path_factory: pytest.TempPathFactory, example_image: str, request: pytest.FixtureRequest
) -> Iterator[tuple[Running, Proxy]]:
    folder, port = tmp_path_factory.mktemp("e2b-domain"), int(a_port())
    template = f"https://{{name}}.{DOMAIN}:{port}/"
    flags = ("--e2b", "--on-release", "recycle", "--min-idle", "1", "--ports", "web=9092")
    with (
        a_service(folder, *flags, "--preview-domain", DOMAIN, "--url-template", template) as service,
        a_proxy(folder, request.param, service.ports.api, "", domain=DOMAIN, port=port) as proxy,
    ):
        yield service, proxy


def test_the_client_needs_one_variable(proxied: tuple[Running, Proxy]) -> None:
    service, proxy = proxied
    own = {
        "E2B_DOMAIN": f"{DOMAIN}:{proxy.port}",
        "E2B_API_KEY": "e2b_any",
        "SSL_CERT_FILE": str(proxy.folder / "cert.pem"),
    }
    done = subprocess.run(
        [sys.executable, "-c", CLIENT],
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["said"] == ["test\n", "in\n", "content"]
    reached, nothing = (host.partition(".")[0] for host in told["hosts"])
    assert (reached, told["hosts"][0]) == (f"9092-{told['sandbox']}", f"{reached}.{DOMAIN}:{proxy.port}")
    machine = service.machine_of(told["sandbox"])
    assert machine is not None
    page = proxy.ask(reached)
    assert (page.status, "html" in page.text) == (200, True)
    assert (proxy.ask(nothing).status, proxy.ask("9092-nobody").status) == (404, 404)


@pytest.mark.parametrize("name", ["api", "49983-any"])
def test_the_new_hosts_command_no_more_than_the_door(proxied: tuple[Running, Proxy], name: str) -> None:
    """Whatever is asked of them is asked of /e2b, and no page of a worker may ask."""
    service, proxy = proxied
    host = f"{name}.{DOMAIN}"

    def ask(method: str, path: str, **headers: str) -> int:
        return proxy.ask_host(host, method, path, **headers).status

    assert ask("GET", "/v2/sandboxes") == 200, "which this service, without a token, gives whoever reaches it"
    for path in (
        "/v1/machines",
        "/../v1/machines",
        "/%2e%2e/v1/machines",
        "//v1/machines",
        "/a/../../health",
        "/app",
        "/",
    ):
        assert ask("GET", path) in {400, 404}, path  # nginx has no path above the first folder
    for other in (f"127.0.0.1:{service.ports.api}", "localhost", f"{DOMAIN}:{proxy.port}", "api.elsewhere.example"):
        with contextlib.suppress(http.client.HTTPException, OSError):  # it may hang up as well
            answered = proxy.ask_host(host, "GET", "/v1/machines", host=other)
            assert answered.status >= 400 or not answered.text, other
    assert ask("DELETE", "/v1/projects/app/machine") == 404
    assert ask("GET", "/files?path=/etc/passwd") == 401, "no token of a sandbox"
    worker = f"https://9092-app.{DOMAIN}:{proxy.port}"
    assert ask("GET", "/v2/sandboxes", origin=worker) == 403
    assert ask("GET", "/v2/sandboxes", sec_fetch_site="same-site", referer=f"{worker}/") == 403
    assert ask("POST", "/sandboxes", origin="https://elsewhere.example") == 403


def test_a_project_of_their_name_is_not_reached_there(proxied: tuple[Running, Proxy]) -> None:
    service, proxy = proxied
    service.assign("api")
    machine = service.machine_of("api")
    assert machine is not None
    answered = proxy.ask("api")
    assert (answered.status, machine["id"] in answered.text) == (404, False)


@pytest.mark.parametrize("file", E2B_COMMANDS)
def test_the_file_says_how_to_start_the_service(file: str) -> None:
    text = (EXAMPLES / file).read_text(encoding="utf-8")
    assert "--e2b --preview-domain preview.localhost --url-template https://{name}.preview.localhost:8443/" in text
