"""A pull whose connection breaks: it is tried again soon, and until then it is told."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import aiodocker
import pytest

from worker_orchestrator.engines.docker.images import Images
from worker_orchestrator.errors import EngineObstructed

MISSING = b'{"message":"No such image: x"}'
STEP = b'{"status":"Downloading","id":"abc","progress":"1/9"}\r\n'


class Daemon:
    """Says that it has no image, and breaks off while it pulls one."""

    def __init__(self, last: bytes, *, resets: bool) -> None:
        self._last, self._resets = last, resets

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while b"/images/create" not in await reader.readuntil(b"\r\n\r\n"):
            head = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            writer.write(head % len(MISSING) + MISSING)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        said = STEP + self._last
        writer.write(b"%x\r\n%s\r\n%s" % (len(said), said, b"0\r\n\r\n" if self._last else b""))
        await writer.drain()
        await asyncio.sleep(0.05)
        if self._resets:
            writer.transport.abort()
        writer.close()


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # aiodocker leaves its reply to the collector
@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("last", [b"", b'{"status":"Extr'])
def test_a_pull_that_breaks_off_is_told_and_no_verdict_on_the_image(
    tmp_path: Path, last: bytes, *, resets: bool
) -> None:
    async def story() -> None:
        socket = tmp_path / "docker.sock"
        daemon = await asyncio.start_unix_server(Daemon(last, resets=resets), socket)
        async with daemon, aiodocker.Docker(f"unix://{socket}", api_version="v1.41") as client:
            images = Images(client, "x:latest")
            with pytest.raises(EngineObstructed, match=r"The image x:latest is not here, and its pull broke off"):
                await asyncio.wait_for(images.current(), 10)
            assert images.progress == ""
            await asyncio.sleep(0.1)
        del images, client
        gc.collect()

    asyncio.run(story())
