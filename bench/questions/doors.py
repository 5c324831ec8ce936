"""What E2B's own client takes here: a create on a warm pool, beside one of a stub that answers at once and stores nothing,
and a command, beside the same one as an exec by the engine's own API.

Both sides are asked in turn, and who is first changes. After eight the sandboxes are killed.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Final

from e2b import Sandbox

from bench.raw_exec import raw_exec
from bench.run import Run
from bench.subjects import PATHS, Subject, free_port, own_folder, running, service

__all__ = ["doors"]

IDLE: Final = 16
AT_ONCE: Final = 8
SETTLE_S: Final = 2.0
FLAGS: Final = ("--e2b", "--on-release", "recycle", "--min-idle", str(IDLE), "--max-machines", str(3 * IDLE))


def doors(run: Run) -> None:
    with service(*FLAGS) as subject, own_folder("stub") as folder:
        subject.await_idle(IDLE)
        port = free_port()
        stub = Subject("stub", port, [sys.executable, "-m", "bench.door_stub", str(port)], folder, PATHS)
        for _ in running(stub):
            sides = {"service": f"http://localhost:{subject.port}/e2b", "stub": f"http://localhost:{port}"}
            for url in sides.values():  # the first create of a process loads half of the client
                _created(url)
            for _ in range(run.rounds(9)):
                _round(run, subject, sides)


def _round(run: Run, subject: Subject, sides: dict[str, str]) -> None:
    took_ms: dict[str, list[float]] = {name: [] for name in sides}
    made = []
    for number in range(AT_ONCE):
        for name in sorted(sides, reverse=bool(number % 2)):
            begun = time.perf_counter()
            sandbox = _created(sides[name])
            took_ms[name].append((time.perf_counter() - begun) * 1000)
            made += [sandbox] if name == "service" else []
    for name, times in took_ms.items():
        run.book.add(f"doors.create.{name}", statistics.median(times))
    _commands(run, subject, made[0])
    for sandbox in made:
        sandbox.kill()
    subject.await_idle(IDLE)
    time.sleep(SETTLE_S)  # the removals


def _commands(run: Run, subject: Subject, sandbox: Sandbox) -> None:
    """The command that does nothing, as E2B's client asks for it where there is no bash."""
    (container,) = [machine["id"] for machine in subject.machines() if machine["assignedProject"] == sandbox.sandbox_id]
    sides: dict[str, Callable[[], object]] = {
        "service": lambda: sandbox.commands.run("true"),
        "raw": lambda: raw_exec(container, ["sh", "-l", "-c", "true"]),
    }
    took_ms: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(AT_ONCE):
        for name in sorted(sides, reverse=bool(number % 2)):
            begun = time.perf_counter()
            sides[name]()
            took_ms[name].append((time.perf_counter() - begun) * 1000)
    for name, times in took_ms.items():
        run.book.add(f"doors.command.{name}", statistics.median(times))


def _created(url: str) -> Sandbox:
    return Sandbox.create(timeout=600, api_url=url, sandbox_url=url, api_key="e2b_any")
