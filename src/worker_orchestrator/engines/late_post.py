"""Posts values to a worker on its own port, for workers that take them by HTTP."""

from __future__ import annotations

import asyncio
import io
from base64 import b64encode
from collections.abc import Collection
from typing import Final

import aiohttp
import msgspec

from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.extras import LateValues
from worker_orchestrator.engines.late_packing import packed
from worker_orchestrator.errors import SetupFailed
from worker_orchestrator.telemetry.blotting import BLOT, blotted
from worker_orchestrator.telemetry.foreign_text import plain, plain_lines

__all__ = ["post_values"]

_CONNECT_S: Final = 5.0
_READ_BYTES: Final = 128 * 1024
_LINE_BYTES: Final = 4096
"""No more of a text can be blotted and kept whole."""
_SHOWN: Final = 200


async def post_values(  # what is sent where, and for how long
    machine: Machine, address: str, path: str, token: str, values: LateValues, limit_s: float = 60.0
) -> None:
    """Post them as JSON. The worker may take its time, up to this limit.

    Raises SetupFailed if nothing answers by then, or if the worker answers anything but 2xx. It shows the first line of the
    answer, without any of the values.
    """
    try:
        async with asyncio.timeout(limit_s):
            await _post(machine, address, path, token, values)
    except TimeoutError:
        late = f"{machine.id} did not answer POST {path} within {limit_s:g} s."
        raise SetupFailed(late, machine=machine.id) from None


async def _post(machine: Machine, address: str, path: str, token: str, values: LateValues) -> None:
    body = await packed(values, lambda: _body(machine, values))
    host = f"[{address}]" if ":" in address else address
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S)
    try:
        async with aiohttp.ClientSession(timeout=limits, auto_decompress=False) as session:
            url = f"http://{host}:{machine.port}{path}"
            async with session.post(url, data=io.BytesIO(body), headers=headers, allow_redirects=False) as reply:
                said = b"" if reply.ok else await _beginning(reply)
                status = reply.status
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
        raise SetupFailed(f"{machine.id} did not answer POST {path}: {_why(error)}.", machine=machine.id) from None
    if not 200 <= status < 300:
        shown = _first_line(said.decode(errors="replace"), [token, *_texts(values)])
        raise SetupFailed(f"{machine.id} answered POST {path} with {status}.", machine=machine.id, output=shown)


def _body(machine: Machine, values: LateValues) -> bytes:
    return msgspec.json.encode(
        {
            "project": machine.project,
            "generation": machine.generation,
            "env": dict(values.env),
            "secrets": dict(values.secrets),
            "files": b64encode(values.files).decode(),
        }
    )


def _why(error: Exception) -> str:
    """Never in the words of the error: they may have a part of the answer in them, written otherwise than it came."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return (error.os_error.strerror or "no connection").lower()
    if isinstance(error, TimeoutError):
        return f"no connection within {_CONNECT_S:g} s"
    return "it hung up" if isinstance(error, OSError | aiohttp.ServerDisconnectedError) else "what it says is no HTTP"


async def _beginning(reply: aiohttp.ClientResponse) -> bytes:
    """What it says; empty if that is so long that a value might be cut off at its end."""
    said = b""
    while len(said) <= _READ_BYTES and (more := await reply.content.read(_READ_BYTES)):
        said += more
    return said if len(said) <= _READ_BYTES else b""


def _first_line(text: str, values: Collection[str]) -> str:
    """The first line as it can be shown, without any value, and without any line of one. Empty if it is very long."""
    for value in sorted((value for value in values if len(value.splitlines()) > 1), key=len, reverse=True):
        text = text.replace(value, BLOT)  # while all of its lines are there
    line = next(iter(text.splitlines()), "")
    if len(line.encode()) > _LINE_BYTES:
        return ""
    words = {*values, *(plain(value, len(value)) for value in values if value), *map(plain_lines, values)}
    shown = plain(blotted(line, words), _LINE_BYTES)
    return plain(blotted(shown, words), _SHOWN)  # a value may have had a terminal's sequence in it, or other blanks


def _texts(values: LateValues) -> list[str]:
    return [*values.env.values(), *values.secrets.values()]
