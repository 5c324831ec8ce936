"""What is posted to a worker, and what is told of its answer: never a value."""

from __future__ import annotations

import asyncio
import base64
import gzip
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from msgspec.structs import replace

from worker_orchestrator.core.machine import Holding, Machine, State
from worker_orchestrator.engines import late_post
from worker_orchestrator.engines.extras import LateValues
from worker_orchestrator.engines.late_post import post_values
from worker_orchestrator.errors import SetupFailed

VALUES = LateValues({"A": "hunter"}, {"s": "hunter2", "t": "x\x1b[1my"}, b"tar")
MACHINE = replace(
    Machine("worker-1700000000000-abcdefghi", "default", "f00d", State.READY, 9093), holding=Holding("p"), generation=3
)


@asynccontextmanager
async def a_worker(answer: bytes) -> AsyncIterator[tuple[Machine, list[bytes]]]:
    """It answers this once, and notes what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[16:]) for line in head.lower().splitlines() if line.startswith(b"content-length: "))
        asked.append(head + await reader.readexactly(length))
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield replace(MACHINE, port=server.sockets[0].getsockname()[1]), asked


async def post(machine: Machine, values: LateValues = VALUES) -> None:
    async with asyncio.timeout(10):
        await post_values(machine, "127.0.0.1", "/configure", "t0ken", values)


def failure(answer: bytes, values: LateValues = VALUES) -> SetupFailed:
    async def story() -> SetupFailed:
        async with a_worker(answer) as (machine, _):
            with pytest.raises(SetupFailed) as failed:
                await post(machine, values)
            return failed.value

    return asyncio.run(story())


def answered(status: bytes, body: bytes, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s" % (status, more, len(body), body)


def test_it_gets_all_of_them_and_the_token() -> None:
    async def story() -> None:
        async with a_worker(answered(b"204 No Content", b"")) as (machine, asked):
            await post(machine)
        head, _, body = asked[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /configure HTTP/1.1\r\n")
        assert b"\r\nAuthorization: Bearer t0ken\r\n" in head
        assert b"\r\nContent-Type: application/json" in head
        assert msgspec.json.decode(body) == {
            "project": "p",
            "generation": 3,
            "env": {"A": "hunter"},
            "secrets": {"s": "hunter2", "t": "x\x1b[1my"},
            "files": base64.b64encode(b"tar").decode(),
        }

    asyncio.run(story())


@pytest.mark.parametrize(("size", "is_here"), [(3, True), (1024 * 1024, False)], ids=["small", "large"])
def test_large_values_are_encoded_while_others_are_served(
    monkeypatch: pytest.MonkeyPatch, size: int, *, is_here: bool
) -> None:
    threads: list[int] = []

    def noted(content: bytes) -> bytes:
        threads.append(threading.get_ident())
        return base64.b64encode(content)

    monkeypatch.setattr(late_post, "b64encode", noted)

    async def story() -> None:
        async with a_worker(answered(b"204 No Content", b"")) as (machine, asked):
            await post(machine, LateValues({}, {}, bytes(size)))
        assert (
            msgspec.json.decode(asked[0].partition(b"\r\n\r\n")[2])["files"] == base64.b64encode(bytes(size)).decode()
        )

    asyncio.run(story())
    assert [thread == threading.get_ident() for thread in threads] == [is_here]


@pytest.mark.parametrize("status", [b"302 Found", b"400 No", b"500 Oh"])
def test_any_other_answer_is_a_failure_and_no_redirect_is_followed(status: bytes) -> None:
    failed = failure(answered(status, b"no\nmore", b"Location: http://127.0.0.1:1/hunter2\r\n"))
    assert failed.message == f"{MACHINE.id} answered POST /configure with {status[:3].decode()}."
    assert failed.machine == MACHINE.id
    assert "hunter" not in failed.output


def test_the_first_line_of_the_answer_is_told_without_any_value() -> None:
    failed = failure(answered(b"400 No", b"bad hunter2, hunter, t0ken, x\x1b[1my and xy!\nmore"))
    assert failed.output == "bad ***, ***, ***, *** and ***!"


KEY = "-----BEGIN-----\nMIIEvQIBADANBgkq\n  hkiG9w0BAQEFAASC\n-----END-----\n"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("no key: MIIEvQIBADANBgkq is short\nmore", "no key: *** is short"),
        ("no key: [hkiG9w0BAQEFAASC]", "no key: [***]"),
        (f"no key: {KEY}!", "no key: ***!"),
        (f"no key: {KEY.encode('unicode_escape').decode()}!", r"no key: ***\n***\n ***\n***\n!"),
        ("no key: MIIEvQIB\x1b[1mADANBgkq!", "no key: ***!"),
        ("no key\n" * 3000, "no key"),
        ("no key " * 3000, ""),
    ],
)
def test_a_value_of_several_lines_is_not_told_line_by_line_either(said: str, shown: str) -> None:
    failed = failure(answered(b"400 No", said.encode()), LateValues({}, {"key": KEY}))
    assert failed.output == shown


def test_an_answer_that_is_packed_is_not_unpacked() -> None:
    """A few of its bytes could become gigabytes. What is not text is told as little as possible."""
    body = gzip.compress(b"plain words " * 5000)
    failed = failure(answered(b"400 No", body, b"Content-Encoding: gzip\r\n"))
    assert failed.message == f"{MACHINE.id} answered POST /configure with 400."
    assert "plain words" not in failed.output


def test_an_answer_that_is_so_long_that_a_value_may_be_cut_is_not_told() -> None:
    assert failure(answered(b"400 No", b"hunter2" * 40_000)).output == ""


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "it hung up"),
        (b"SSH-2.0-hunter2\r\n", "what it says is no HTTP"),
        (b"HTTP/1.1 400 OK\r\nX: hunter2 \x00\r\n\r\n", "what it says is no HTTP"),
        (b"HTTP/1.1 400 OK\r\nContent-Length: 20\r\n\r\nhunter2", "what it says is no HTTP"),
    ],
)
def test_what_is_no_answer_is_a_failure_and_is_not_quoted(answer: bytes, why: str) -> None:
    assert failure(answer).message == f"{MACHINE.id} did not answer POST /configure: {why}."


def test_where_nothing_listens_it_fails() -> None:
    async def story() -> None:
        async with a_worker(b"") as (machine, _):
            pass
        with pytest.raises(SetupFailed, match="did not answer POST /configure: connect"):
            await post(machine)

    asyncio.run(story())
