"""Both clients give the output of a command as it comes, and tell a stream that broke off from one that is complete."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import closing

import pytest
from tests.unit.client.conftest import Connect
from tests.unit.client.scripted import Act, answer, chunk, cut, problem, reset, scripted

from worker_orchestrator.errors import (
    CallFailed,
    EngineUnavailable,
    InvalidInput,
    NotRunning,
    ServiceUnreachable,
)
from worker_orchestrator.wire.v1 import ExecEnd, ExecOutput

JSONL = "application/jsonl"
OUT = ExecOutput(stream="stdout", text="hi\n")
ERR = ExecOutput(stream="stderr", text="é")
END = ExecEnd(exit_code=3, truncated=False)
LINES = (
    b'{"stream":"stdout","text":"hi\\n"}\n{"stream":"stdout","text":""}\n\n'
    + '{"stream":"stderr","text":"é"}\n{"later":"version"}\n'.encode()
)
END_LINE = b'{"exit_code":3,"truncated":false}\n'


def streamed(*pieces: bytes, end: bool = True) -> Act:
    return cut(*pieces, end=end, kind=JSONL)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_pieces_and_the_end_come_however_the_bytes_are_cut(connect: Connect, size: int) -> None:
    """Empty pieces, blank lines and lines of a later version are left out."""
    content = LINES + END_LINE
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    with scripted(streamed(*pieces)) as server, connect(server.url) as client:
        assert list(client.exec_stream("m-1", ["date"], env={"A": "b"}, generation=4)) == [OUT, ERR, END]
    assert server.heard[0].headers["accept"] == JSONL
    assert server.heard[0].headers["if-match"] == '"4"'
    assert (server.heard[0].json["command"], server.heard[0].json["env"]) == (["date"], {"A": "b"})
    assert "stream" not in server.heard[0].json


def test_a_piece_is_given_before_the_command_ends(connect: Connect) -> None:
    may_end = threading.Event()

    def act(connection: socket.socket) -> bool:
        streamed(LINES, end=False)(connection)
        assert may_end.wait(10)
        connection.sendall(chunk(END_LINE) + b"0\r\n\r\n")
        return True

    with scripted(act) as server, connect(server.url) as client:
        parts = client.exec_stream("m-1", ["date"])
        assert next(parts) == OUT
        may_end.set()
        assert list(parts) == [ERR, END]


@pytest.mark.parametrize("end", [True, False])
def test_a_stream_without_its_last_line_is_broken(connect: Connect, end: bool) -> None:  # noqa: FBT001 # a case
    """Also one that ends in good order, as a proxy may end it. It is not sent again."""
    with scripted(streamed(LINES, b'{"exit_code":0', end=end)) as server, connect(server.url) as client:
        parts = client.exec_stream("m-1", ["date"])
        assert [next(parts), next(parts)] == [OUT, ERR]
        with pytest.raises(ServiceUnreachable, match="broke off the output of the command"):
            next(parts)
    assert len(server.heard) == 1


def test_an_error_in_the_last_line_is_raised(connect: Connect) -> None:
    details = {
        "type": "t",
        "title": "T",
        "status": 503,
        "detail": "Away.",
        "code": "engine_unavailable",
        "request_id": "r",
    }
    last = json.dumps({"error": details}).encode() + b"\n"
    with scripted(streamed(LINES, last)) as server, connect(server.url) as client:
        parts = client.exec_stream("m-1", ["date"])
        assert [next(parts), next(parts)] == [OUT, ERR]
        with pytest.raises(EngineUnavailable, match=r"Away\.") as told:
            next(parts)
    assert (told.value.status, told.value.request_id) == (503, "r")


def test_what_prevents_the_start_is_raised_as_by_exec(connect: Connect) -> None:
    with scripted(problem(409, "not_running")) as server, connect(server.url) as client:
        with pytest.raises(NotRunning):
            list(client.exec_stream("m-1", ["date"]))
        with pytest.raises(InvalidInput, match="list of words"):
            list(client.exec_stream("m-1", "date"))


def test_a_lost_reply_is_not_asked_for_again(connect: Connect) -> None:
    with scripted(reset) as server, connect(server.url) as client, pytest.raises(ServiceUnreachable):
        list(client.exec_stream("m-1", ["date"]))
    assert len(server.heard) == 1


def test_a_service_that_cannot_stream_gives_its_one_reply(connect: Connect) -> None:
    """It does not look at `Accept`, and has run the command: nothing is sent a second time."""
    whole = {"exit_code": None, "stdout": "hi\n", "stderr": "", "truncated": True}
    with scripted(answer(200, whole)) as server, connect(server.url) as client:
        assert list(client.exec_stream("m-1", ["date"])) == [OUT, ExecEnd(exit_code=None, truncated=True)]
    assert len(server.heard) == 1


@pytest.mark.parametrize("reply", [streamed(b"<p>\n"), answer(200, b"<p>", kind="text/html")])
def test_another_program_is_told_from_the_service(connect: Connect, reply: Act) -> None:
    with scripted(reply) as server, connect(server.url) as client, pytest.raises(CallFailed, match="another version"):
        list(client.exec_stream("m-1", ["date"]))


def test_who_leaves_early_hangs_up(connect: Connect) -> None:
    """That is how the service hears that nobody waits for the command."""
    hung_up = threading.Event()

    def act(connection: socket.socket) -> bool:
        streamed(LINES, end=False)(connection)
        connection.settimeout(10)
        if connection.recv(1) == b"":
            hung_up.set()
        return False

    with scripted(act) as server, connect(server.url) as client:
        with closing(client.exec_stream("m-1", ["date"])) as parts:
            assert next(parts) == OUT
        assert hung_up.wait(5)
