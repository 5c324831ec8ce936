"""The rights that the chart gives are those that the engine uses: no more, and no fewer.

The engine does all that it can on an API server that writes down which right each request needs. So that a new call cannot
be missed, every place in the source that calls the server must have been passed.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml
from aiohttp import WSMsgType, web
from tests.unit.engines.kubernetes.fake_server import a_pod, events, pods, served

from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.engines.kubernetes import client as calling
from worker_orchestrator.engines.kubernetes.client import Client
from worker_orchestrator.engines.kubernetes.engine import KubernetesEngine
from worker_orchestrator.errors import EngineError

ROOT: Final = Path(__file__).parents[3]
ENGINE: Final = Path(calling.__file__).parent
ROLES: Final = [ROOT / "deploy" / "kustomize" / "base" / "role.yaml", ROOT / "deploy" / "rendered" / "everything.yaml"]
CALLS: Final = {"call", "stream", "websocket"}
PATH: Final = re.compile(r"/api/v1/namespaces/ns(?:/(?P<kind>[a-z]+)(?:/(?P<name>[^/]+)(?:/(?P<part>[a-z]+))?)?)?")
MEASURED: Final = re.compile(r"/apis/metrics\.k8s\.io/v1beta1/namespaces/ns/pods/[^/]+")
EVERYBODY: Final = {"/version"}
"""What Kubernetes lets every account read (the ClusterRole system:public-info-viewer)."""

Right = tuple[str, str]
"""A resource, with its part if it is about one and its group if that is none of the first ones, and a verb."""


def rights_of(request: web.Request) -> set[Right]:
    """Source: https://kubernetes.io/docs/reference/access-authn-authz/authorization/#determine-the-request-verb"""
    if request.path in EVERYBODY:
        return set()
    if MEASURED.fullmatch(request.path):
        return {("pods.metrics.k8s.io", request.method.lower())}
    asked = PATH.fullmatch(request.path)
    assert asked, f"{request.path} is outside of the namespace"
    if asked["kind"] is None:
        return {("namespaces", request.method.lower())}
    resource = "/".join(filter(None, (asked["kind"], asked["part"])))
    if resource == "pods/exec":  # a WebSocket begins with GET; newer servers ask for the verb of POST as well
        return {(resource, "get"), (resource, "create")}
    if request.method == "GET" and asked["name"] is None:
        return {(resource, "watch" if "watch" in request.query else "list")}
    assert request.method == "GET" or (request.method == "POST") == (asked["name"] is None)
    return {(resource, {"GET": "get", "POST": "create", "PUT": "update"}.get(request.method, request.method.lower()))}


class Server:
    """A namespace with one pod that runs, in which everything succeeds."""

    def __init__(self) -> None:
        self.asked: set[Right] = set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked |= rights_of(request)
        if MEASURED.fullmatch(request.path):
            return web.json_response({"containers": []})
        if request.path.endswith("/exec"):
            return await self._ends_at_once(request)
        if request.path.endswith("/log"):
            return web.Response(body=b"a line\n")
        if "watch" in request.query:
            return await events(request, ("ADDED", a_pod("w1", "11")))
        if request.method == "POST":
            return web.json_response(await request.json(), status=201)
        if request.path.endswith("/pods"):
            return pods(a_pod("w1"))
        return web.json_response(a_pod("w1") if "/pods/" in request.path else {"metadata": {"uid": "u"}})

    async def _ends_at_once(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("v5.channel.k8s.io",))
        await socket.prepare(request)
        # To who looks for the processes of a command: there are none left.
        await socket.send_bytes(b"\x01gone\n")
        await socket.send_bytes(b'\x03{"status": "Success"}')
        async for message in socket:
            if message.type is WSMsgType.CLOSE:
                break
        return socket


@contextlib.contextmanager
def noting_places() -> Iterator[set[tuple[str, int]]]:
    """The file and line of each place in the engine that called the server."""
    passed: set[tuple[str, int]] = set()
    kept = {name: getattr(Client, name) for name in CALLS}

    def noting(name: str) -> Any:
        def noted(self: Client, *given: Any, **named: Any) -> Any:
            caller = sys._getframe(1)
            passed.add((Path(caller.f_code.co_filename).name, caller.f_lineno))
            return kept[name](self, *given, **named)

        return noted

    for name in CALLS:
        setattr(Client, name, noting(name))
    try:
        yield passed
    finally:
        for name, original in kept.items():
            setattr(Client, name, original)


def places() -> set[tuple[str, int]]:
    """The same of all places that there are."""
    return {
        (file.name, node.lineno)
        for file in ENGINE.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in CALLS
        and ast.unparse(node.func.value) in {"client", "self._client"}
    }


async def do_everything(client: Client) -> None:
    engine = KubernetesEngine(
        client, "me", {"default": DockerOptions("my/worker:1", pids_limit=2048, log_limit=30 * 1024**2)}
    )
    await engine.ping()
    await engine.identity()
    template = await engine.template("default")
    await engine.create(Machine("w2", "default", template, State.STARTING, None))
    await engine.list()
    watch = engine.watch()
    await anext(watch)
    await watch.aclose()
    await engine.last_lines("w1", 10)
    await engine.environment("w1")
    await engine.stats("w1")
    await engine.exec("w1", ["true"], timeout_s=5)
    terminal = await engine.terminal("w1", ["sh"])
    await terminal.aclose()
    with contextlib.suppress(EngineError):  # it is not started again in place
        await engine.restart("w1")
    await engine.destroy("w1")
    await engine.remove_mark()


def given(file: Path) -> set[Right]:
    roles = [each for each in yaml.safe_load_all(file.read_text("utf-8")) if each["kind"] in {"Role", "ClusterRole"}]
    assert [each["kind"] for each in roles] == ["Role"]
    rules = roles[0]["rules"]
    return {
        (f"{resource}.{group}" if group else resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_rights_of_the_chart_are_what_the_engine_uses() -> None:
    server = Server()

    async def work() -> None:
        async with served(server.answer) as client:
            await do_everything(client)

    with noting_places() as passed:
        asyncio.run(asyncio.wait_for(work(), 30))
    assert places() - passed == set(), "calls that this test does not make"
    for file in ROLES:
        assert given(file) == server.asked
