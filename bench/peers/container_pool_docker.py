"""container-pool on Docker, in its best case: called in this process without any HTTP.

It comes with a backend for OpenAI alone, so its own interface for backends is filled in here with the fewest calls that can
be: create and start; inspect, which it does at each acquire; remove.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiodocker
from container_pool import BaseContainerBackend, ContainerInfo, ContainerPool, ContainerStatus
from driver import IMAGE, drive


class Backend(BaseContainerBackend):
    """The least of Docker that its interface asks for."""

    def __init__(self, client: aiodocker.Docker) -> None:
        self._client = client

    async def create_container(self, name: str) -> ContainerInfo:
        body = {
            "Image": IMAGE,
            "ExposedPorts": {"9092/tcp": {}},
            "HostConfig": {"PortBindings": {"9092/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}},
        }
        container = await self._client.containers.create(body)
        await container.start()
        found = await container.show()
        port = int(found["NetworkSettings"]["Ports"]["9092/tcp"][0]["HostPort"])
        while not await _serves(port):
            await asyncio.sleep(0.005)
        return ContainerInfo(container.id, ContainerStatus.ACTIVE)

    async def get_container(self, container_id: str) -> ContainerInfo:
        found = await self._client.containers.get(container_id)
        running = found["State"]["Running"]
        return ContainerInfo(container_id, ContainerStatus.ACTIVE if running else ContainerStatus.EXPIRED)

    async def destroy_container(self, container_id: str) -> None:
        await self._client.containers.container(container_id).delete(force=True)

    async def upload_file(self, container_id: str, local_path: str) -> Any:
        raise NotImplementedError

    async def download_file_content(self, container_id: str, file_id: str) -> Any:
        raise NotImplementedError

    async def download_file_to_disk(self, container_id: str, file_id: str, local_path: str) -> Any:
        raise NotImplementedError

    async def delete_file(self, container_id: str, file_id: str) -> None:
        raise NotImplementedError

    async def list_files(self, container_id: str, path_prefix: str = "") -> Any:
        raise NotImplementedError


async def _serves(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        return await reader.read(5) == b"HTTP/"
    except OSError:
        return False
    finally:
        writer.close()


def _pool(client: aiodocker.Docker, size: int) -> ContainerPool:
    return ContainerPool(Backend(client), max_pool_size=size, acquire_timeout=60.0, container_name="bench")


class Peer:
    def cold(self, parallel: int) -> dict[str, Any]:
        return asyncio.run(self._cold(parallel))

    async def _cold(self, parallel: int) -> dict[str, Any]:
        async with aiodocker.Docker() as client:
            pool = _pool(client, parallel)
            begun = time.perf_counter()
            made = await asyncio.gather(*(pool.acquire() for _ in range(parallel)))
            seconds = time.perf_counter() - begun
            await asyncio.gather(*(pool.release(one) for one in made))
            await pool.shutdown()
            return {"seconds": seconds}

    def warm(self, clients: int, seconds: float, machines: int) -> dict[str, Any]:
        return asyncio.run(self._warm(clients, seconds, machines))

    async def _warm(self, clients: int, seconds: float, machines: int) -> dict[str, Any]:
        took_ms: list[float] = []

        async def one(pool: ContainerPool, end: float) -> None:
            while (begun := time.perf_counter()) < end:
                taken = await pool.acquire()
                took_ms.append((time.perf_counter() - begun) * 1000)
                await pool.release(taken)

        async with aiodocker.Docker() as client:
            pool = _pool(client, machines)
            for taken in await asyncio.gather(*(pool.acquire() for _ in range(machines))):
                await pool.release(taken)
            begun = time.perf_counter()
            await asyncio.gather(*(one(pool, begun + seconds) for _ in range(clients)))
            took_s = time.perf_counter() - begun
            await pool.shutdown()
        return {"pairs": len(took_ms), "seconds": took_s, "took_ms": took_ms}

    def close(self) -> None:
        """Nothing to do: each measurement removes what it made."""


if __name__ == "__main__":
    drive(Peer())
