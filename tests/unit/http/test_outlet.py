"""The head of a reply and what follows it leave in one write, and nothing overtakes a head that waits. On real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from worker_orchestrator.http.server.outlet import Outlet

HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"
BODY: Final = b"body"


class Connection:
    """An outlet, the socket at the other end, and what was written at once: `writes`."""

    def __init__(self, outlet: Outlet, other: socket.socket, writes: list[bytes]) -> None:
        self.outlet, self.writes = outlet, writes
        self.write, self._other = outlet.reply_transport.write, other

    async def heard(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            data += await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self._other, 1 << 20), 10)
        return data


def run(monkeypatch: pytest.MonkeyPatch, test: Callable[[Connection], Awaitable[None]]) -> None:
    writes: list[bytes] = []

    def noted(descriptor: int, data: bytes) -> int:
        writes.append(data)
        return real(descriptor, data)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, other = socket.socketpair()
        other.settimeout(0)
        transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, ours)
        monkeypatch.setattr(os, "write", noted)
        try:
            await test(Connection(Outlet(transport, loop), other, writes))
        finally:
            monkeypatch.undo()
            transport.abort()
            other.close()

    real = os.write
    asyncio.run(main())


def test_a_head_and_its_body_are_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(to: Connection) -> None:
        for _ in range(2):
            to.write(HEAD)
            assert not to.writes
            to.write(BODY)
            assert to.writes == [HEAD + BODY]
            assert await to.heard(len(HEAD + BODY)) == HEAD + BODY
            to.writes.clear()

    run(monkeypatch, test)


def test_a_head_waits_no_longer_than_for_the_next_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(to: Connection) -> None:
        to.write(HEAD)
        assert await to.heard(len(HEAD)) == HEAD
        to.write(BODY)
        assert await to.heard(len(BODY)) == BODY
        assert to.writes == [HEAD], "once, and the body needs no head"

    run(monkeypatch, test)


@pytest.mark.parametrize("end", ["flush", "send", "close"])
def test_nothing_overtakes_a_head_without_a_body(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    async def test(to: Connection) -> None:
        to.write(HEAD)
        if end == "flush":
            to.outlet.flush()
            to.outlet.send(BODY)
        elif end == "send":
            to.outlet.send_and_linger(BODY)
        else:
            to.outlet.reply_transport.close()
        said = await to.heard(len(HEAD) + (0 if end == "close" else len(BODY)))
        assert said == (HEAD if end == "close" else HEAD + BODY)

    run(monkeypatch, test)


def test_a_long_body_is_not_copied_behind_its_head(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(to: Connection) -> None:
        long = b"x" * 300_000
        to.write(HEAD)
        to.write(long)
        assert await to.heard(len(HEAD + long)) == HEAD + long
        assert to.writes == [HEAD]

    run(monkeypatch, test)


def test_a_lost_connection_sends_no_head(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(to: Connection) -> None:
        to.write(HEAD)
        to.outlet.forget()
        to.outlet.flush()
        await asyncio.sleep(0)
        assert not to.writes

    run(monkeypatch, test)
