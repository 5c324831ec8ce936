"""What visitors that do not read cost those who assign: the same service, with two hundred of them and without, in turn."""

from __future__ import annotations

import contextlib
import http.client
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.integration.running import Running, a_service

ROUNDS = 7
ASSIGNS = 300


@dataclass(frozen=True)
class Compared:
    """The median over all rounds of the 99th percentile of an assign, in milliseconds."""

    without_ms: float
    with_ms: float

    @property
    def ratio(self) -> float:
        return self.with_ms / self.without_ms

    def __str__(self) -> str:
        return (
            f"p99 of an assign: {self.without_ms:.2f} ms without, {self.with_ms:.2f} ms with ({self.ratio:.2f} times)"
        )


def _p99_ms(service: Running) -> float:
    """Of assigns of a project that has its machine, on one connection."""
    caller = http.client.HTTPConnection("127.0.0.1", service.ports.api)
    took = list[float]()
    for _ in range(ASSIGNS):
        begun_at = time.perf_counter()
        caller.request("GET", "/assigned")
        caller.getresponse().read()
        took.append((time.perf_counter() - begun_at) * 1000)
    caller.close()
    return statistics.quantiles(took, n=100)[98]


@contextlib.contextmanager
def _slow(service: Running, count: int) -> Iterator[None]:
    """So many visitors that send a byte of their body now and then, and read nothing."""
    visitors, is_over = list[socket.socket](), threading.Event()
    for _ in range(count):
        one = socket.create_connection(("127.0.0.1", service.ports.api))
        one.sendall(b"POST / HTTP/1.1\r\nHost: visited.localhost\r\nContent-Length: 1000000\r\n\r\n")
        visitors.append(one)

    def drip() -> None:
        while not is_over.wait(1.0):
            for one in visitors:
                with contextlib.suppress(OSError):
                    one.send(b"x")

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        time.sleep(0.5)
        yield
    finally:
        is_over.set()
        dripping.join()
        for one in visitors:
            one.close()


def compared(count: int = 200, rounds: int = ROUNDS) -> Compared:
    """Measure in turn."""
    without, beside = list[float](), list[float]()
    with (
        tempfile.TemporaryDirectory() as folder,
        a_service(Path(folder), "--engine", "memory", "--min-idle", "1") as service,
    ):
        service.assign("assigned")
        service.assign("visited")
        _p99_ms(service)
        for _ in range(rounds):
            without.append(_p99_ms(service))
            with _slow(service, count):
                beside.append(_p99_ms(service))
    return Compared(statistics.median(without), statistics.median(beside))
