"""A pull whose connection breaks: it is tried again soon, and until then it is told. And pools that share an image."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import aiodocker
import aiohttp
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


class Registry:
    """A daemon that lacks images until they are pulled, each of which takes until `may_end`."""

    def __init__(self) -> None:
        self.pulls, self.may_end = list[str](), asyncio.Event()
        self._here = set[str]()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).decode().split()[1]
        name = "shared" if "shared" in path else "later"
        if "/images/create" in path:
            self.pulls.append(name)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + STEP)
            await writer.drain()
            await self.may_end.wait()
            self._here.add(name)
        else:
            status, body = (b"200 OK", b'{"Id":"%s"}' % name.encode()) if name in self._here else (b"404 No", MISSING)
            head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            writer.write(head % (status, len(body)) + body)
        writer.close()


def test_an_image_of_several_pools_is_pulled_once_and_others_wait_for_room(tmp_path: Path) -> None:
    async def story() -> None:
        registry = Registry()
        socket = tmp_path / "docker.sock"
        daemon = await asyncio.start_unix_server(registry, socket)
        connector = aiohttp.UnixConnector(str(socket), force_close=True)
        async with daemon, aiodocker.Docker("http://localhost", connector, api_version="v1.41") as client:
            room = asyncio.Semaphore(1)
            shared, later = Images(client, "shared:v1", room), Images(client, "later:v1", room)
            pools = [asyncio.create_task(images.current()) for images in (shared, shared, later)]
            async with asyncio.timeout(10):
                while "1/9" not in shared.progress or not later.progress:  # noqa: ASYNC110 # nobody tells of it
                    await asyncio.sleep(0.01)
            assert shared.progress.startswith("Pulling the image shared:v1: ")
            assert later.progress == "The image later:v1 is pulled after others."
            assert await later.current(fetch=False) is None, "a look waits for no pull"
            registry.may_end.set()
            async with asyncio.timeout(10):
                assert [image and image["Id"] for image in await asyncio.gather(*pools)] == [
                    "shared",
                    "shared",
                    "later",
                ]
            assert registry.pulls == ["shared", "later"]
            assert (shared.progress, later.progress) == ("", "")
        await connector.close()

    asyncio.run(story())
