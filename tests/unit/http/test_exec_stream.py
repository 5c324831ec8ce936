"""The output of a command becomes lines of JSON as it comes, and its last line says how the command ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest

from worker_orchestrator.engines.extras import OUTPUT_BYTES
from worker_orchestrator.errors import EngineUnavailable, NotRunning
from worker_orchestrator.http.server.streamed_response import ServiceEnd, StreamedResponse
from worker_orchestrator.http.v1 import exec_stream
from worker_orchestrator.http.v1.exec_stream import JSONL, OutputPipe, RunningCommand

Work = Callable[[OutputPipe], Awaitable[int | None]]


async def lines_of(work: Work) -> list[Any]:
    """All lines of a command that does this."""
    pipe = OutputPipe()

    async def run() -> int | None:
        return await work(pipe)

    command = RunningCommand(pipe, run())
    await command.begin()
    return [json.loads(line) for part in [part async for part in command.lines()] for line in part.splitlines()]


def all_lines(work: Work) -> list[Any]:
    return asyncio.run(lines_of(work))


async def until_read() -> None:
    """Let the reader take what there is."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_pieces_come_in_their_order_and_the_end_comes_last() -> None:
    async def work(pipe: OutputPipe) -> int:
        pipe.started()
        for stream, data in (("stdout", b"a"), ("stderr", b"b"), ("stdout", b"c\n")):
            await pipe.take(stream, data)
            await until_read()
        return 3

    assert all_lines(work) == [
        {"stream": "stdout", "text": "a"},
        {"stream": "stderr", "text": "b"},
        {"stream": "stdout", "text": "c\n"},
        {"exit_code": 3, "truncated": False},
    ]


def test_no_character_is_cut_however_its_bytes_come() -> None:
    """Also if the other stream writes in between. Bytes that are no text are replaced, at the end too."""

    async def work(pipe: OutputPipe) -> int:
        pipe.started()
        for byte in "ä€😀".encode():
            await pipe.take("stdout", bytes([byte]))
            await pipe.take("stderr", b"-")
            await until_read()
        await pipe.take("stdout", b"\xff\xe2\x82")
        return 0

    found = all_lines(work)
    texts = {
        name: "".join(line["text"] for line in found[:-1] if line["stream"] == name) for name in ("stdout", "stderr")
    }
    assert texts == {"stdout": "ä€😀\ufffd\ufffd", "stderr": "-" * 9}
    assert all(line["text"] for line in found[:-1])


def test_a_command_whose_output_nobody_reads_waits() -> None:
    """So that no more than a pipe of it is kept; it goes on when somebody reads."""

    async def scenario() -> None:
        written = 0

        async def work(pipe: OutputPipe) -> int:
            nonlocal written
            pipe.started()
            for _ in range(100):
                written += 1
                await pipe.take("stdout", b"x" * 16384)
            return 0

        pipe = OutputPipe()
        command = RunningCommand(pipe, work(pipe))
        await command.begin()
        await until_read()
        assert written == 4
        source = command.lines()
        parts = [part async for part in source]
        assert written == 100
        assert max(map(len, parts)) < 6 * 16384
        assert sum(len(json.loads(line).get("text", "")) for part in parts for line in part.splitlines()) == 1_638_400

    asyncio.run(scenario())


def test_what_is_written_while_it_is_ended_is_kept_as_far_as_there_is_room() -> None:
    async def work(pipe: OutputPipe) -> None:
        pipe.started()
        pipe.keep("stdout", b"x" * (OUTPUT_BYTES - 1))
        pipe.keep("stderr", b"yz")
        pipe.keep("stderr", b"z")

    *pieces, end = all_lines(work)
    assert [(piece["stream"], len(piece["text"])) for piece in pieces] == [("stdout", OUTPUT_BYTES - 1), ("stderr", 1)]
    assert end == {"exit_code": None, "truncated": True}


def test_in_silence_an_empty_piece_says_that_the_command_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exec_stream, "PING_S", 0.01)

    async def work(pipe: OutputPipe) -> int:
        pipe.started()
        await asyncio.sleep(0.5)
        return 0

    *pings, end = all_lines(work)
    assert len(pings) > 2
    assert all(ping == {"stream": "stdout", "text": ""} for ping in pings)
    assert end["exit_code"] == 0


def test_what_goes_wrong_before_the_start_is_raised_and_later_it_is_the_last_line() -> None:
    async def at_once(_pipe: OutputPipe) -> int:
        raise NotRunning

    async def later(pipe: OutputPipe) -> int:
        pipe.started()
        await pipe.take("stdout", b"a")
        raise EngineUnavailable("Docker does not answer.")

    with pytest.raises(NotRunning):
        all_lines(at_once)
    first, last = all_lines(later)
    assert first["text"] == "a"
    assert last.keys() == {"error"}
    assert (last["error"]["code"], last["error"]["status"]) == ("engine_unavailable", 503)
    assert last["error"]["detail"] == "Docker does not answer."


@pytest.mark.parametrize("cause", ["hang-up", "service end"])
def test_a_reply_that_ends_early_ends_the_command_and_has_no_last_line(cause: str) -> None:
    async def scenario() -> None:
        is_ended, hung_up, service_end = asyncio.Event(), asyncio.Event(), ServiceEnd()
        sent: list[MutableMapping[str, Any]] = []

        async def work(pipe: OutputPipe) -> int:
            pipe.started()
            await pipe.take("stdout", b"a")
            try:
                await asyncio.Event().wait()
            finally:
                is_ended.set()
            return 0

        async def receive() -> MutableMapping[str, Any]:
            await hung_up.wait()
            return {"type": "http.disconnect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)
            if message.get("body"):
                hung_up.set() if cause == "hang-up" else service_end.announce()

        pipe = OutputPipe()
        command = RunningCommand(pipe, work(pipe))
        await command.begin()
        response = StreamedResponse(command.lines(), service_end, JSONL)
        async with asyncio.timeout(5):
            await response({"type": "http", "method": "POST"}, receive, send)
        assert is_ended.is_set()
        assert dict(response.headers)["x-accel-buffering"] == "no"
        assert [message.get("body") for message in sent] == [None, b'{"stream":"stdout","text":"a"}\n']
        assert all(message.get("more_body", True) for message in sent), "it does not look complete"
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())


def test_a_cancellation_at_the_moment_of_news_is_not_swallowed() -> None:
    """Else a command that writes without a pause would go on for a reader who has gone."""

    async def scenario() -> None:
        pipe = OutputPipe()
        waiting = asyncio.ensure_future(pipe.news(60))
        await until_read()
        pipe.keep("stdout", b"a")
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()

    asyncio.run(scenario())
