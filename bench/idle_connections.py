"""Assigns and releases beside 10,000 idle connections: how long an assign takes, and how large the service grows.

    python bench/idle_connections.py [memory | docker] [SECONDS]

Connections come from 127.0.0.2 and on, 500 each, and say nothing; the service closes each after 10 s, and 1,200 a second are
opened again. Beside
them 200 requests a second (an assign, a release, in turns) start at their time, whether or not earlier ones are answered.
Needs 11,000 file descriptors. Exit code 1 if the 99th percentile is 100 ms or more, or the service grew to 300 MiB.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from contextlib import suppress
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import psutil
import uvloop

API = 9793
IDLE = 10_000
PER_ADDRESS = 500
OPENED_PER_S = 1200
RATE = 200.0
LIMIT_MS, LIMIT_MIB = 100.0, 300.0
FLAGS = {
    "memory": ["--engine", "memory", "--min-idle", "10"],
    "docker": ["--image", "worker-orchestrator-example:latest", "--min-idle", "2", "--max-machines", "20"],
}


def crowd(is_open: Synchronized[int], opened: Synchronized[int]) -> None:
    """Keep 10,000 connections open, in a process of its own, until it is ended."""
    poll, lines = select.epoll(), dict[int, tuple[socket.socket, int]]()
    free = deque(range(IDLE))
    begun, tried = time.monotonic(), 0
    while True:
        due = int((time.monotonic() - begun) * OPENED_PER_S) - tried
        for _ in range(min(due, len(free), 50)):
            place = free.popleft()
            line = socket.socket()
            try:
                line.bind((f"127.0.0.{2 + place // PER_ADDRESS}", 0))
                line.connect(("127.0.0.1", API))
            except OSError:
                line.close()
                free.append(place)
                continue
            lines[line.fileno()] = line, place
            poll.register(line, select.EPOLLIN)
            opened.value += 1
        tried += due
        for number, _ in poll.poll(0.005):
            line, place = lines.pop(number)
            line.close()
            free.append(place)
        is_open.value = len(lines)


class Caller:
    """Keeps some connections, as a client library does, and asks at fixed times."""

    def __init__(self) -> None:
        self.kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.took_ms: list[float] = []
        self.failed: list[str] = []

    async def ask(self, request: str) -> int:
        """The status of one reply; a kept connection that was closed meanwhile is replaced."""
        while self.kept:
            line = self.kept.pop()
            with suppress(OSError, RuntimeError, asyncio.IncompleteReadError):  # RuntimeError: uvloop's word for closed
                return await self._ask(line, request)
        return await self._ask(await asyncio.open_connection("127.0.0.1", API), request)

    async def _ask(self, line: tuple[asyncio.StreamReader, asyncio.StreamWriter], request: str) -> int:
        reader, writer = line
        writer.write(f"{request} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        await reader.readexactly(int(head.partition("content-length: ")[2].split()[0]))
        self.kept.append(line)
        return int(head.split()[1])

    async def pair(self, number: int, due: float) -> None:
        """An assign at its time, and a release 1/RATE later or when the assign is answered."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(due - loop.time())
        status = await self.ask(f"GET /p{number}")
        self.took_ms.append((loop.time() - due) * 1000)
        if status != 200:
            self.failed.append(f"assign {status}")
        await asyncio.sleep(due + 1 / RATE - loop.time())
        if await self.ask(f"DELETE /p{number}") != 200:
            self.failed.append("release")


async def watch(pid: int) -> float:
    """The largest resident size, in MiB, until cancelled."""
    process, peak = psutil.Process(pid), 0.0
    with suppress(asyncio.CancelledError):
        while True:
            peak = max(peak, process.memory_info().rss / 2**20)
            await asyncio.sleep(0.1)
    return peak


async def main(pid: int, seconds: float, is_open: Synchronized[int]) -> bool:
    caller, watching = Caller(), asyncio.create_task(watch(pid))
    while is_open.value < 0.95 * IDLE:  # of another process
        await asyncio.sleep(0.05)
    begun, fewest = asyncio.get_running_loop().time() + 0.1, is_open.value
    pairs = [
        asyncio.create_task(caller.pair(number, begun + number * 2 / RATE)) for number in range(int(seconds * RATE / 2))
    ]
    while not all(pair.done() for pair in pairs):
        fewest = min(fewest, is_open.value)
        await asyncio.sleep(0.05)
    await asyncio.gather(*pairs)
    watching.cancel()
    peak = await watching
    times = sorted(caller.took_ms)
    p50, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
    print(
        f"assigns: {len(times)}, p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {times[-1]:.1f} ms; {len(caller.failed)} failed"
    )
    print(f"at least {fewest} idle connections at all times; service: at most {peak:.0f} MiB resident")
    return not caller.failed and p99 < LIMIT_MS and peak < LIMIT_MIB


def run() -> int:
    engine = sys.argv[1] if len(sys.argv) > 1 else "memory"
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-m", "worker_orchestrator"]
        flags = [*FLAGS[engine], "--state-dir", state, "--log-format", "json"]
        with Path(state, "log").open("w") as log:
            service = subprocess.Popen(
                [*command, "serve", *flags, "--port", str(API), "--first-port", "32000"], stderr=log
            )
        is_open, opened = multiprocessing.Value("i", 0), multiprocessing.Value("i", 0)
        others = multiprocessing.Process(target=crowd, args=(is_open, opened), daemon=True)
        try:
            time.sleep(3)
            others.start()
            good = uvloop.run(main(service.pid, seconds, is_open))
            print(f"{opened.value} idle connections were opened in all")
        finally:
            others.kill()
            service.terminate()
            service.wait()
            if engine == "docker":
                subprocess.run([*command, "down", "--all", "--yes", *flags], check=False)
    print("good" if good else "NOT GOOD")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(run())
