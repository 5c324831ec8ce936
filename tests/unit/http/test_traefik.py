"""What Traefik is told of the previews, and what it hears when it asks of a visitor.

The shape is that of Traefik 3 (its types `dynamic.Router`, `dynamic.ServersLoadBalancer`, `dynamic.ForwardAuth`,
`dynamic.Headers`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from starlette.requests import Request
from starlette.responses import Response
from tests.unit.http.test_previews import HOSTS, TOKEN, Stage, lived

from worker_orchestrator.core.preview_names import name_of
from worker_orchestrator.errors import InvalidInput, NotSupported
from worker_orchestrator.http.previews.hosts import PreviewHosts
from worker_orchestrator.http.previews.traefik import Serving, told_to_traefik
from worker_orchestrator.http.v1.traefik_routes import TraefikRoutes

LINKS = "!QueryRegexp(`orchestrator_link`, `.*`)"
SHOWN = r"(HeaderRegexp(`Cookie`, `(^|;\s*)orchestrator_preview=`) || HeaderRegexp(`X-Orchestrator-Token`, `.`))"


def to(url: str) -> dict[str, Any]:
    return {"loadBalancer": {"servers": [{"url": url}]}}


def test_it_is_told_each_way_in_its_own_words() -> None:
    serving = [
        Serving("web", "m-2.7", "127.0.0.1", {"": 9094}),
        Serving("app", "m-1.3", "::1", {"": 9093, "api": 9095}, is_by_link=True, rewrites=True),
        Serving("old", "m-3.9", "127.0.0.1", {"": 9096}, may_be_reused=True),
    ]
    hosts = PreviewHosts("preview.example.com", ["pool.preview.example.com", "elsewhere.example"])
    told = told_to_traefik(serving, hosts, "http://10.0.0.1:9092", lambda host, key: f"check {host} {key}")

    def check(host: str, key: str) -> dict[str, Any]:
        return {
            "forwardAuth": {
                "address": f"check {host} {key}",
                "trustForwardHeader": False,
                "authRequestHeaders": ["Accept", "Cookie", "X-Orchestrator-Token"],
                "authResponseHeaders": ["Cookie", "X-Orchestrator-Token"],
            }
        }

    def request_headers(**headers: str) -> dict[str, Any]:
        return {"headers": {"customRequestHeaders": {name.replace("_", "-"): text for name, text in headers.items()}}}

    def router(name: str, rule: str, *middlewares: str) -> dict[str, Any]:
        return {"rule": rule, "priority": 20, "service": name, "middlewares": list(middlewares)}

    bare = "orchestrator-bare"
    assert told == {
        "http": {
            "routers": {
                "orchestrator": {
                    "rule": r"HostRegexp(`^[a-z0-9-]+\.preview\.example\.com$`) && !Host(`pool.preview.example.com`)",
                    "priority": 10,
                    "service": "orchestrator",
                },
                "preview-api--app": router(
                    "preview-api--app",
                    f"Host(`api--app.preview.example.com`) && {LINKS} && {SHOWN}",
                    *("preview-api--app-check", bare, "preview-api--app-host"),
                ),
                "preview-app": router(
                    "preview-app",
                    f"Host(`app.preview.example.com`) && {LINKS} && {SHOWN}",
                    *("preview-app-check", bare, "preview-app-host"),
                ),
                "preview-old": router(
                    "preview-old", f"Host(`old.preview.example.com`) && {LINKS}", "preview-old-check", bare
                ),
                "preview-web": router("preview-web", f"Host(`web.preview.example.com`) && {LINKS}", bare),
            },
            "services": {
                "orchestrator": to("http://10.0.0.1:9092"),
                "preview-api--app": to("http://[::1]:9095"),
                "preview-app": to("http://[::1]:9093"),
                "preview-old": to("http://127.0.0.1:9096"),
                "preview-web": to("http://127.0.0.1:9094"),
            },
            "middlewares": {
                bare: request_headers(Forwarded="", X_Orchestrator_Token=""),
                "preview-api--app-check": check("api--app.preview.example.com", "m-1.3"),
                "preview-api--app-host": request_headers(Host="localhost:9095"),
                "preview-app-check": check("app.preview.example.com", "m-1.3"),
                "preview-app-host": request_headers(Host="localhost:9093"),
                "preview-old-check": check("old.preview.example.com", "m-3.9"),
            },
        }
    }
    again = told_to_traefik(reversed(serving), hosts, "http://10.0.0.1:9092", lambda host, key: f"check {host} {key}")
    assert json.dumps(told) == json.dumps(again), "another order would be a change to Traefik"


@pytest.mark.parametrize(
    "host", ["app.localhost", "x--abc.localhost", "no.localhost", "pool.localhost", "a.b.localhost"]
)
def test_what_has_no_way_of_its_own_leads_to_the_service_but_for_its_own_names(host: str) -> None:
    told = told_to_traefik([], HOSTS, "http://localhost:9092", lambda *_: "")
    (rule,) = [router["rule"] for router in told["http"]["routers"].values()]
    (pattern,) = re.findall(r"^HostRegexp\(`(.*)`\) && !Host\(`pool.localhost`\)$", rule)
    assert (re.search(pattern, host) is not None) == (host != "a.b.localhost")


def test_the_file_for_traefik_asks_at_that_path_with_the_token() -> None:
    files = Path(__file__).parents[3] / "examples" / "proxies"
    static = yaml.safe_load((files / "traefik.yml").read_text(encoding="utf-8"))
    (entry,) = static["entryPoints"].values()
    assert entry == {
        "address": ":8443",
        "http": {"tls": {}},
        "transport": {"respondingTimeouts": {"readTimeout": "0s"}},
    }
    assert static["providers"] == {
        "providersThrottleDuration": "1s",
        "http": {
            "endpoint": "http://127.0.0.1:9092/v1/routes/traefik",
            "pollInterval": "1s",
            "headers": {"Authorization": "Bearer TOKEN"},
        },
        "file": {"filename": "traefik-certificates.yml"},
    }
    dynamic = yaml.safe_load((files / static["providers"]["file"]["filename"]).read_text(encoding="utf-8"))
    certificate = {"certFile": "cert.pem", "keyFile": "key.pem"}
    assert dynamic == {"tls": {"stores": {"default": {"defaultCertificate": certificate}}}}


@dataclass(frozen=True)
class Told:
    http: Mapping[str, Any]

    def check(self, name: str) -> str:
        """Path and query of the check before this way; empty if there is none."""
        found = self.http["middlewares"].get(f"preview-{name}-check")
        return "" if found is None else str(found["forwardAuth"]["address"])


class Asked:
    """The routes, over a stage of previews."""

    def __init__(self, stage: Stage) -> None:
        finding = stage.finding
        self.routes = TraefikRoutes(HOSTS, stage.links, finding.serving, finding.answer_for_proxy)

    async def told(self) -> Told:
        reply = await self.routes.show(request("/v1/routes/traefik", host="10.0.0.1:9092"))
        return Told(json.loads(bytes(reply.body))["http"])

    async def check(self, address: str, **headers: str) -> Response:
        assert address.startswith("http://10.0.0.1:9092/v1/routes/check?")
        return await self.routes.check(request(f"/?{urlsplit(address).query}", **headers))


def request(target: str, **headers: str) -> Request:
    path, _, query = target.partition("?")
    fields = [(name.replace("_", "-").encode(), text.encode("latin-1")) for name, text in headers.items()]
    return Request(
        {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": query.encode(),
            "headers": fields,
            "client": None,
        }
    )


def test_it_hears_of_each_machine_that_serves_and_of_no_other() -> None:
    async def story(stage: Stage) -> None:
        asked = Asked(stage)
        assert (await asked.told()).http["routers"].keys() == {"orchestrator"}
        machine = await stage.assigned()
        ports = dict(machine.ports)
        services = (await asked.told()).http["services"]
        assert services["orchestrator"] == to("http://10.0.0.1:9092"), "where Traefik asked"
        assert services["preview-app"] == services["preview-web--app"] == to(f"http://10.0.0.1:{ports['web']}")
        assert services["preview-api--app"] == to(f"http://10.0.0.1:{ports['api']}")
        await stage.assigned("Other.One")
        assert f"preview-{name_of('Other.One')}" in (await asked.told()).http["routers"]
        await stage.orchestrator.sleepers.sleep("app")
        await stage.orchestrator.release("Other.One")
        assert (await asked.told()).http["routers"].keys() == {"orchestrator"}, "the door shows the rest"

    lived(story)


def test_only_where_nobody_else_can_be_there_it_does_not_ask() -> None:
    async def story(stage: Stage) -> None:
        asked = Asked(stage)
        await stage.assigned()
        for on_release, access, is_checked in (
            ("reuse", "auto", True),
            ("recycle", "auto", False),
            ("recycle", "public", False),
            ("recycle", "link", True),
        ):
            pool = replace(stage.pools["default"], on_release=on_release, preview_access=access)
            stage.pools["default"] = pool
            assert bool((await asked.told()).check("app")) == is_checked, (on_release, access)
        del stage.pools["default"]
        assert (await asked.told()).check("app"), "nobody knows what it may be"

    lived(story)


def test_who_shows_a_pass_is_let_through_without_it() -> None:
    async def story(stage: Stage) -> None:
        asked = Asked(stage)
        machine = await stage.assigned()
        address = (await asked.told()).check("app")
        link = stage.links.sign(machine, int(stage.wall) + 100)
        passed = await asked.check(address, cookie=f"a=1; orchestrator_preview={link}; b=2")
        assert (passed.status_code, passed.headers["cookie"]) == (204, "a=1; b=2")
        passed = await asked.check(address, cookie=f"orchestrator_preview={link}")
        assert passed.status_code == 204
        assert "cookie" not in passed.headers, "Traefik removes it then"
        passed = await asked.check(address, x_orchestrator_token=TOKEN, x_forwarded_for="192.0.2.1")
        assert passed.status_code == 204
        stage.wall += 200
        for shown in ({}, {"cookie": f"orchestrator_preview={link}"}, {"x_orchestrator_token": "wrong"}):
            refused = await asked.check(address, **shown)
            assert (refused.status_code, json.loads(bytes(refused.body))["code"]) == (403, "preview_refused")
        page = await asked.check(address, accept="text/html,*/*", cookie=f"orchestrator_preview={link}")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert b"<h1>Not shown</h1>" in bytes(page.body)
        assert "default-src 'none'" in page.headers["content-security-policy"]

    lived(story, TOKEN)


def test_wrong_tokens_count_by_who_asks_and_not_by_whom_it_names() -> None:
    async def story(stage: Stage) -> None:
        asked = Asked(stage)
        await stage.assigned()
        address = (await asked.told()).check("app")

        async def status(token: str, way: str) -> int:
            return (await asked.check(address, x_orchestrator_token=token, x_forwarded_for=way)).status_code

        assert await status(TOKEN, "192.0.2.1") == 204
        for number in range(11):
            assert await status(f"wrong-{number}", f"192.0.2.{number + 2}") == 403
        assert await status(TOKEN, "198.51.100.1") == 403, "whatever address it makes up"
        assert await status(TOKEN, "192.0.2.1") == 204, "who was right before is counted apart"

    lived(story, TOKEN)


def test_what_it_was_told_of_an_earlier_assignment_leads_nobody_to_the_next_one() -> None:
    async def story(stage: Stage) -> None:
        asked = Asked(stage)
        first = await stage.assigned()
        address = (await asked.told()).check("app")
        assert (await asked.check(address)).status_code == 204
        await stage.orchestrator.release("app")
        while (await stage.assigned("next")).id != first.id:
            await stage.orchestrator.release("next")
        await stage.assigned()
        for accept in ("text/html", ""):
            old = await asked.check(address, accept=accept)
            assert (old.status_code, old.headers["retry-after"], old.headers["cache-control"]) == (503, "1", "no-store")
        assert b'http-equiv="refresh"' in bytes((await asked.check(address, accept="text/html")).body)
        await stage.orchestrator.sleepers.sleep("app")
        assert (await asked.check((await asked.told()).check("next"))).status_code == 204
        assert (await asked.check(address)).status_code == 503
        assert stage.beside == [], "nothing is woken"

    lived(story)


def test_who_was_not_told_to_ask_hears_nothing() -> None:
    async def story(stage: Stage) -> None:
        asked = Asked(stage)
        await stage.assigned()
        address = (await asked.told()).check("app")
        ((proof,), (key,)) = (parse_qs(urlsplit(address).query)[name] for name in ("proof", "key"))
        made_up = [
            *(address.replace(proof, other) for other in ("", proof[:-1], proof + "A", "A" * 43, "%C3%BC")),
            *(address.replace("app.localhost", other) for other in ("next.localhost", "App.localhost", "")),
            *(address.replace(key, other) for other in ("", f"{key}0")),
        ]
        for other in made_up:
            assert other != address
            refused = await asked.check(other)
            assert (refused.status_code, json.loads(bytes(refused.body))["code"]) == (403, "forbidden"), other

    lived(story)


def test_without_a_host_it_cannot_be_told_where_the_service_is() -> None:
    async def story(stage: Stage) -> None:
        with pytest.raises(InvalidInput, match="Host is missing"):
            await Asked(stage).routes.show(request("/v1/routes/traefik"))

    lived(story)


def test_without_previews_there_is_nothing_to_tell() -> None:
    async def story(stage: Stage) -> None:
        asked = Asked(stage)
        address = "http://10.0.0.1:9092/v1/routes/check?host=app.localhost&key=k&proof=" + stage.links.proof(
            "app.localhost", "k"
        )
        asked.routes = TraefikRoutes(HOSTS, stage.links, stage.finding.serving, None)
        with pytest.raises(NotSupported):
            await asked.told()
        assert (await asked.check(address)).status_code == 403

    lived(story)
