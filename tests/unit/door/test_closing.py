"""How a connection ends whose other side takes nothing."""

from __future__ import annotations

import asyncio
import socket

import pytest
from tests.unit.door.relayed import until

from worker_orchestrator.door import stream
from worker_orchestrator.door.stream import Stream


def test_what_nobody_takes_does_not_keep_a_connection_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than what makes a writer wait: nobody else would ever look at it."""
    monkeypatch.setattr(stream, "CLOSE_S", 0.2)

    async def story() -> None:
        own, peer = socket.socketpair()
        with peer:
            loop = asyncio.get_running_loop()
            _, held = await loop.create_connection(Stream, sock=own)
            while not held.is_full:
                held.write(b"x" * 4096)
            held.close()
            assert not held.is_lost, "what can go out goes out first"
            await asyncio.wait_for(until(lambda: held.is_lost), 10)

    asyncio.run(story())


def test_what_was_taken_ends_at_once() -> None:
    async def story() -> None:
        own, peer = socket.socketpair()
        with peer:
            _, held = await asyncio.get_running_loop().create_connection(Stream, sock=own)
            held.write(b"bye")
            held.close()
            await asyncio.wait_for(until(lambda: held.is_lost), 2)
            assert peer.recv(10) == b"bye"

    asyncio.run(story())
