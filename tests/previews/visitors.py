"""A worker with an endless reply, and visitors of it that hardly read, in a process of their own.

It prints the port of the worker. Each line that it is told is done before it prints that line: `open PORT COUNT` (so many
visitors of the service at that port) and `close`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

PIECE = b"\x00" * 65_536
REQUEST = b"GET / HTTP/1.1\r\nHost: visited.localhost\r\n\r\n"
READ_BYTES = 1024
"""What each visitor reads in a second."""


async def _stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(PIECE)
            await writer.drain()
    writer.close()


async def _visit(port: int, begun: asyncio.Semaphore) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        own.settimeout(0)
        await loop.sock_connect(own, ("127.0.0.1", port))
        await loop.sock_sendall(own, REQUEST)
        assert (await loop.sock_recv(own, 12)) == b"HTTP/1.1 200"
        begun.release()
        while await loop.sock_recv(own, READ_BYTES):  # noqa: ASYNC110 # it is slow by itself
            await asyncio.sleep(1)


async def main() -> None:
    server = await asyncio.start_server(_stream, "127.0.0.1", 0, backlog=500)
    print(server.sockets[0].getsockname()[1], flush=True)
    visits = list[asyncio.Task[None]]()
    while line := await asyncio.to_thread(sys.stdin.readline):
        words = line.split()
        if words[0] == "open":
            begun = asyncio.Semaphore(0)
            visits = [asyncio.create_task(_visit(int(words[1]), begun)) for _ in range(int(words[2]))]
            for _ in visits:
                await begun.acquire()
        else:
            for visit in visits:
                visit.cancel()
            await asyncio.gather(*visits, return_exceptions=True)
        print(line, end="", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
