"""What visitors that hardly read cost those who assign: the same service, with two hundred of them and without, in turn."""

from __future__ import annotations

import http.client
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.integration.running import Running, a_service

ROUNDS = 9
ASSIGNS = 400
SETTLE_S = 2.0
FLAGS = ("--engine", "memory", "--min-idle", "1")


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


class _Visitors:
    """The process of `visitors`. `worker_port` is that of their worker."""

    def __init__(self) -> None:
        command = sys.executable, "-m", "tests.previews.visitors"
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.worker_port = int(self._process.stdout.readline())

    def tell(self, line: str) -> None:
        """Return when it is done, and has had its consequences."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == f"{line}\n"
        time.sleep(SETTLE_S)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


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


def compared(count: int = 200, rounds: int = ROUNDS) -> Compared:
    """Measure in turn."""
    without, beside, visitors = list[float](), list[float](), _Visitors()
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            a_service(Path(folder), *FLAGS, start=False) as service,
        ):
            port, service_elsewhere = (
                f"WORKER_PORT={visitors.worker_port}",
                str(Path(__file__).with_name("elsewhere.py")),
            )
            service.start(command=("env", port, sys.executable, service_elsewhere))
            service.assign("assigned")
            service.assign("visited")
            _p99_ms(service)
            for _ in range(rounds):
                without.append(_p99_ms(service))
                visitors.tell(f"open {service.ports.api} {count}")
                beside.append(_p99_ms(service))
                visitors.tell("close")
    finally:
        visitors.end()
    return Compared(statistics.median(without), statistics.median(beside))
