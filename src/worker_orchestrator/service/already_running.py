"""Who it is that listens where this service was to listen: most often another orchestrator, which was forgotten."""

from __future__ import annotations

import asyncio
import re
from typing import Final
from urllib.parse import urlsplit

import msgspec

from worker_orchestrator.errors import PortInUse, StoreRefused
from worker_orchestrator.http.server.listening import own_url
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.store.lock import Lock
from worker_orchestrator.wire.v1 import Problem, ServiceHealth

__all__ = ["who_listens"]

_TIMEOUT_S: Final = 2.0
_LONGEST_BYTES: Final = 65536
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]{1,9})\r\n", re.IGNORECASE)


async def who_listens(settings: Settings, error: PortInUse) -> PortInUse:
    """The error that says so if an orchestrator answers at this address; else the one that was given."""
    url = own_url(settings.host, settings.port)
    if not await _is_orchestrator(url):
        return error
    found, otherwise = (
        f"Another orchestrator already runs at {url}",
        "Use it, stop it, or choose another port with --port.",
    )
    if settings.engine == "memory":
        return PortInUse(f"{found}. {otherwise}")
    pid = await asyncio.to_thread(_holder, settings)
    if pid is None:
        return PortInUse(f"{found}. It does not use the state directory {settings.state_dir}. {otherwise}")
    return PortInUse(
        f"{found}, and the state directory {settings.state_dir} is in use by the orchestrator with pid {pid}. Use it, stop "
        "it, or choose both another port and another folder with --port and --state-dir."
    )


async def _is_orchestrator(url: str) -> bool:
    """It is asked without a token: whatever program has the port, ours is none of its business."""
    address = urlsplit(url)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reply = await _ask(address.hostname or "", address.port or 0, address.netloc)
        head, _, body = reply.partition(b"\r\n\r\n")
        is_ok = head[:15].split(b" ")[1:2] == [b"200"]
        msgspec.json.decode(body, type=ServiceHealth if is_ok else Problem)
    except (OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError, RecursionError):
        return False
    return True


async def _ask(host: str, port: int, named: str) -> bytes:
    """The beginning of the reply: its head, and the body if its length is known."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET /v1/health HTTP/1.1\r\nHost: {named}\r\nConnection: close\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        return head + (b"" if length is None else await reader.readexactly(min(int(length[1]), _LONGEST_BYTES)))
    finally:
        writer.close()


def _holder(settings: Settings) -> int | None:
    try:
        return Lock.holder(settings.state_dir)
    except StoreRefused:
        return None
