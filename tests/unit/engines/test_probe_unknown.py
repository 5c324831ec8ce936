"""What a probe over the network says of a worker, and when it says nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from worker_orchestrator.engines.probe import http_probe, tcp_probe
from worker_orchestrator.errors import EngineUnavailable

Probe = Callable[[str, int], Coroutine[Any, Any, str | None]]


@pytest.fixture
def port() -> int:
    """Nobody listens there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize("probe", [http_probe, tcp_probe])
def test_a_refused_connection_is_a_worker_that_does_not_answer(probe: Probe, port: int) -> None:
    assert "nothing answers" in str(asyncio.run(probe("127.0.0.1", port)))


def highest_open() -> int:
    return max(int(opened.name) for opened in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("probe", [http_probe, tcp_probe])
def test_a_process_that_has_no_socket_left_cannot_tell(probe: Probe, port: int) -> None:
    """The worker was not even asked: three of these would fail the whole healthy pool."""

    async def story() -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest_open(), hard))
        held: list[socket.socket] = []
        try:
            with contextlib.suppress(OSError):
                held += iter(socket.socket, None)
            with pytest.raises(EngineUnavailable, match=r"cannot be reached from here \(Too many open files\)"):
                await probe("127.0.0.1", port)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for one in held:
                one.close()

    asyncio.run(story())


@pytest.mark.parametrize("probe", [http_probe, tcp_probe])
def test_a_name_that_nobody_knows_says_nothing_of_a_worker(probe: Probe, port: int) -> None:
    """The engine's, on another computer."""
    with pytest.raises(EngineUnavailable, match="cannot be reached from here"):
        asyncio.run(probe("no-such-host.invalid", port))
