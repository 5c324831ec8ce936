"""What a request of a preview costs the door, counted: functions of the door that are called, on any computer.

Who makes the figure smaller writes the smaller one here. Who needs a larger one says in the commit what it buys.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

from tests.unit.door.relayed import Relayed, lived

CALLS: Final = 115
"""A little more than measured, for a small page on a kept connection, whose worker's connection rested. Each turn that a
coroutine gets counts."""
REQUESTS: Final = 50
_REQUEST: Final = b"GET / HTTP/1.1\r\nHost: app.localhost\r\nAccept: */*\r\nCookie: a=b\r\n\r\n"


async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\npage")


def test_a_small_request_calls_few_functions_of_the_door() -> None:
    calls = 0

    def see(frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event == "call" and "/door/" in frame.f_code.co_filename and "/src/" in frame.f_code.co_filename

    async def story(stage: Relayed) -> None:
        reader, writer = await stage.open()
        for number in range(REQUESTS + 1):
            if number == 1:
                sys.setprofile(see)
            writer.write(_REQUEST)
            await reader.readuntil(b"page")
        sys.setprofile(None)
        writer.close()

    try:
        lived(page, story)
    finally:
        sys.setprofile(None)
    assert calls / REQUESTS <= CALLS
