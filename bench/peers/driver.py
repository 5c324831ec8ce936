"""What the drivers of all peers share. It runs in the peer's own environment, so it needs only Python.

The harness writes one request a line, as JSON, and reads one reply a line: `{"do": "cold", "parallel": 4}` answers
`{"seconds": 0.9}`, `{"do": "warm", "clients": 16, "seconds": 3}` answers `{"pairs": 900, "took_ms": [...]}`. What goes
wrong is told in `error`, so that it can be told to readers.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

__all__ = ["IMAGE", "at_once", "await_http", "call", "drive", "pairs"]

IMAGE: Final = "worker-orchestrator-bench:latest"
_PAUSE_S: Final = 0.005


def call(port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """One request to a server on this computer: the status and the JSON of its reply."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json", **(headers or {})})
        reply = connection.getresponse()
        data = reply.read()
    finally:
        connection.close()
    return reply.status, json.loads(data) if data else None


def await_http(host: str, port: int, within_s: float = 60.0) -> None:
    """Wait until something answers HTTP there, with any status."""
    deadline = time.monotonic() + within_s
    while True:
        connection = http.client.HTTPConnection(host, port, timeout=2)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing answers at {host}:{port} within {within_s:g} s") from None
            time.sleep(_PAUSE_S)
        else:
            return
        finally:
            connection.close()


def at_once(count: int, one: Callable[[int], Any]) -> tuple[float, list[Any]]:
    """The seconds that so many of these took at once, and what they returned."""
    with ThreadPoolExecutor(count) as threads:
        begun = time.perf_counter()
        made = list(threads.map(one, range(count)))
        return time.perf_counter() - begun, made


def pairs(clients: int, seconds: float, acquire: Callable[[], Any], release: Callable[[Any], None]) -> dict[str, Any]:
    """Let threads take and give back containers for so many seconds."""
    took_ms: list[float] = []
    lock = threading.Lock()
    end = time.perf_counter() + seconds

    def one(_: int) -> None:
        own: list[float] = []
        while (begun := time.perf_counter()) < end:
            taken = acquire()
            own.append((time.perf_counter() - begun) * 1000)
            release(taken)
        with lock:
            took_ms.extend(own)

    took_s, _ = at_once(clients, one)
    return {"pairs": len(took_ms), "seconds": took_s, "took_ms": took_ms}


def drive(peer: Any) -> None:
    """Answer requests until the harness closes the input."""
    print(json.dumps({"ready": True}), flush=True)
    try:
        for line in sys.stdin:
            wanted = json.loads(line)
            deed = wanted.pop("do")
            try:
                reply = getattr(peer, deed)(**wanted)
            except Exception as error:  # noqa: BLE001 # whatever it is, the reader is told
                traceback.print_exc()
                reply = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(reply), flush=True)
    finally:
        peer.close()
