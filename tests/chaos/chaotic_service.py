"""The service with a wall clock that chaos sets, and a log that a limit on the size of its files does not reach.

At SIGUSR2 it writes what each of its tasks waits for into its log.

usage: chaotic_service.py OFFSET_FILE serve FLAG…    the file holds seconds that are added to the wall clock
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from worker_orchestrator.cli import main


def shift_wall_clock(file: Path) -> None:
    """Let `time.time` and `time.time_ns` read the offset at each call. The monotonic clock stays as it is."""
    true_ns = time.time_ns

    def shifted_ns() -> int:
        return true_ns() + int(float(file.read_text(encoding="ascii") or 0) * 1e9)

    time.time_ns = shifted_ns
    time.time = lambda: shifted_ns() / 1e9


def log_through_a_pipe() -> None:
    """A process of its own writes the log: RLIMIT_FSIZE holds for files, not for pipes. It may hold already."""
    writer = subprocess.Popen(["prlimit", "--fsize=unlimited", "cat"], stdin=subprocess.PIPE, start_new_session=True)
    assert writer.stdin is not None
    for number in (1, 2):
        os.dup2(writer.stdin.fileno(), number)
    os.set_inheritable(writer.stdin.fileno(), False)  # noqa: FBT003 # as the standard library has it
    writer.stdin.close()


def tell_tasks(*_: object) -> None:
    """A task that is over is not told."""
    for task in list(asyncio.tasks._all_tasks):  # type: ignore[attr-defined] # a handler has no loop to ask
        if not task.done():
            task.print_stack(file=sys.stderr)


if __name__ == "__main__":
    log_through_a_pipe()
    signal.signal(signal.SIGUSR2, tell_tasks)
    shift_wall_clock(Path(sys.argv[1]))
    sys.argv = ["orchestrator", *sys.argv[2:]]
    main()
