"""A command in a container by the engine's own API: make the exec, start it, read its output, ask for its exit code."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Sequence
from typing import Any

from bench.raw_docker import SOCKET

__all__ = ["raw_exec"]


class _Engine(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(SOCKET)


def raw_exec(container: str, command: Sequence[str]) -> None:
    """Run this command, which must succeed. A start has a connection of its own, which the engine ends."""
    engine = _Engine("docker")
    try:
        wanted = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True}
        made = _asked(engine, "POST", f"/containers/{container}/exec", wanted)
        _start(made["Id"])
        found = _asked(engine, "GET", f"/exec/{made['Id']}/json")
        assert found["ExitCode"] == 0, found
    finally:
        engine.close()


def _start(exec_id: str) -> None:
    engine = _Engine("docker")
    try:
        engine.request(
            "POST", f"/exec/{exec_id}/start", json.dumps({"Detach": False}), {"Content-Type": "application/json"}
        )
        engine.getresponse().read()
    finally:
        engine.close()


def _asked(engine: _Engine, method: str, path: str, body: Any = None) -> Any:
    text = None if body is None else json.dumps(body)
    engine.request(method, path, text, {"Content-Type": "application/json"})
    reply = engine.getresponse()
    found = json.loads(reply.read())
    assert reply.status in {200, 201}, found
    return found
