"""HTTP calls as a client makes them, one connection each."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Answer", "all_soon", "call"]

STEP_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply: status, headers with names in lower case, body, and how long it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    took_s: float

    @property
    def json(self) -> Any:
        """The body, which must be marked as JSON."""
        assert self.headers.get("content-type") == "application/json", f"no JSON: {self.headers} {self.body!r}"
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


def call(
    port: int,
    method: str,
    path: str,
    body: object = None,
    headers: Mapping[str, str | None] | None = None,
    *,
    host: str = "127.0.0.1",
    timeout_s: float = 45.0,
) -> Answer:
    """One request. `body`: bytes as they are, anything else as JSON; a header that is None is left out (Host too)."""
    given = {name.lower(): value for name, value in (headers or {}).items()}
    payload = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    if body is not None:
        given = {"content-type": "application/json", **given}
    begun = time.monotonic()
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        named = {"host": f"localhost:{port}", "content-length": str(len(payload)) if payload else None, **given}
        for name, value in named.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(payload or None)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read(), time.monotonic() - begun)
    finally:
        connection.close()


async def all_soon(
    port: int, paths: Sequence[str], then: Callable[[int, Answer], Awaitable[None]]
) -> tuple[list[Answer], float]:
    """All these GETs at once. Awaits `then`, with the number of the path, after each answer.

    Returns the answers in the order of the paths, and by how much this process itself was late at worst, in seconds.
    Hundreds of threads would be held up by each other, and not by the service.
    """

    async def one(number: int, path: str) -> Answer:
        answer = await _get(port, path)
        await then(number, answer)
        return answer

    late_s: list[float] = [0.0]
    watch = asyncio.create_task(_watch_own_delay(late_s))
    answers = await asyncio.gather(*(one(number, path) for number, path in enumerate(paths)))
    watch.cancel()
    return answers, max(late_s)


async def _watch_own_delay(late_s: list[float]) -> None:
    while True:
        planned = time.monotonic() + STEP_S
        await asyncio.sleep(STEP_S)
        late_s.append(time.monotonic() - planned)


async def _get(port: int, path: str) -> Answer:
    begun = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        took_s = time.monotonic() - begun
    finally:
        writer.close()
    line, _, fields = head.partition(b"\r\n")
    named = http.client.parse_headers(io.BytesIO(fields + b"\r\n\r\n"))
    return Answer(int(line.split()[1]), {name.lower(): value for name, value in named.items()}, body, took_s)
