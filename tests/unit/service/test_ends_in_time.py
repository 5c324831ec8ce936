"""A service that was told to end is gone soon, whatever it waits for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

from worker_orchestrator.service.ending import end_in_time

NEVER_ENDS = """
import asyncio, time
from worker_orchestrator.service.ending import end_in_time

async def serve():
    end_in_time(0.5)
    await asyncio.gather(stubborn(), asyncio.to_thread(time.sleep, 600))

async def stubborn():
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass

asyncio.run(serve())
"""


def test_a_process_that_waits_for_ever_is_ended_and_says_for_what() -> None:
    begun_at = time.monotonic()
    done = subprocess.run([sys.executable, "-c", NEVER_ENDS], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert time.monotonic() - begun_at > 0.5
    said = done.stdout + done.stderr
    assert "the service did not end by itself" in said
    assert "waits_for" in said


def test_it_waits_for_its_time_and_for_nobody_who_does_not_read_what_it_says() -> None:
    codes: list[int] = []
    ended = threading.Event()

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    async def serve() -> None:
        end_in_time(0.2, end)
        assert not codes, "it returns at once"

    asyncio.run(serve())
    assert ended.wait(10)
    assert codes == [1]


def test_it_is_called_off_by_what_ended_in_time() -> None:
    codes: list[int] = []

    async def lead() -> None:
        end_in_time(0.1, codes.append)()
        await asyncio.sleep(0.3)

    asyncio.run(lead())
    assert codes == []
