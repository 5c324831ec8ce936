"""The output of a command while it runs: over /v1, with the command line and with both clients, on Docker."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

import pytest
from openapi_schema_validator import OAS31Validator
from tests.integration.calling import call
from tests.integration.conftest import Start
from tests.integration.described import DESCRIBED
from tests.integration.docker_command import docker
from tests.integration.running import Running
from tests.integration.test_command_line import MODULE, reaching
from tests.integration.waiting import eventually
from tests.unit.client.either import BOTH

from worker_orchestrator.errors import ServiceUnreachable
from worker_orchestrator.wire.v1 import ExecEnd, ExecOutput

JSONL: Final = "application/jsonl"
TICKS: Final = "for i in 1 2 3; do echo out $i; echo err $i >&2; sleep 0.7; done; exit 9"
SLEEPS: Final = "echo begun; sleep 4321"
LARGE_BYTES: Final = 10 * 2**20
PROMPT_S: Final = 5.0
"""For ending a command on a busy computer."""


@pytest.fixture
def machine(shared: Running, request: pytest.FixtureRequest) -> Iterator[str]:
    """The id of the machine of a project of this test's own."""
    shared.assign(name := re.sub(r"[^a-z0-9]+", "-", request.node.name)[:100])
    found = shared.machine_of(name)
    assert found is not None
    yield found["id"]
    shared.destroy(found["id"])


@contextmanager
def streaming(service: Running, machine: str, script: str, **options: Any) -> Iterator[http.client.HTTPResponse]:
    """The reply to a command, which is read line by line."""
    connection = http.client.HTTPConnection("127.0.0.1", service.ports.api, timeout=60)
    body = json.dumps({"command": ["sh", "-c", script], **options})
    headers = {"accept": JSONL, "content-type": "application/json", "host": f"localhost:{service.ports.api}"}
    with closing(connection):
        connection.request("POST", f"/v1/machines/{machine}/exec", body, headers)
        yield connection.getresponse()


def lines_of(reply: http.client.HTTPResponse) -> list[Any]:
    return [json.loads(line) for line in reply.read().splitlines()]


def text_of(lines: list[Any], stream: str) -> str:
    return "".join(line["text"] for line in lines if line.get("stream") == stream)


def runs(machine: str, words: str) -> bool:
    return words in docker("exec", machine, "ps").out


# over HTTP


def test_output_comes_while_the_command_runs(shared: Running, machine: str) -> None:
    """The first line long before the end; the last one says how it ended, and each has the described shape."""
    begun = time.monotonic()
    with streaming(shared, machine, TICKS) as reply:
        assert (reply.status, reply.headers["content-type"]) == (200, JSONL)
        assert reply.headers["x-accel-buffering"] == "no"
        lines = [json.loads(reply.readline())]
        first_s = time.monotonic() - begun
        lines += lines_of(reply)
        all_s = time.monotonic() - begun
    assert all_s > 2.0
    assert first_s < all_s - 1.3, "two pauses before the end"
    assert text_of(lines, "stdout") == "out 1\nout 2\nout 3\n"
    assert text_of(lines, "stderr") == "err 1\nerr 2\nerr 3\n"
    assert lines[-1] == {"exit_code": 9, "truncated": False}
    shape = OAS31Validator({"$ref": "#/components/schemas/ExecLine", **DESCRIBED})
    for line in [*lines, {"stream": "stdout", "text": ""}]:
        shape.validate(line)
    assert not shape.is_valid({"exit_code": 9})
    assert not shape.is_valid({"stream": "both", "text": ""})


def test_no_character_is_cut_between_two_pieces(shared: Running, machine: str) -> None:
    script = r"printf 'a\303'; sleep 0.4; printf '\244\342'; sleep 0.4; printf '\202\254\377'"
    with streaming(shared, machine, script) as reply:
        lines = lines_of(reply)
    assert lines[0]["text"] == "a"
    assert text_of(lines, "stdout") == "aä€\ufffd"


def test_much_output_comes_whole(shared: Running, machine: str) -> None:
    """Ten MiB, of which a whole reply would keep one."""
    with streaming(shared, machine, f"yes 0123456 | head -c {LARGE_BYTES}") as reply:
        lines = lines_of(reply)
    assert text_of(lines, "stdout") == "0123456\n" * (LARGE_BYTES // 8)
    assert lines[-1] == {"exit_code": 0, "truncated": False}


def test_a_slow_reader_slows_the_command(shared: Running, machine: str) -> None:
    """Nobody keeps what it does not read; when it reads again, all of it comes."""
    script = f"yes 0123456 | head -c {LARGE_BYTES} | tee /srv/copy; touch /srv/done"

    def size() -> str:
        return docker("exec", machine, "stat", "-c", "%s", "/srv/copy", check=False).out

    with streaming(shared, machine, script) as reply:
        sizes = [""]

        def stands_still() -> bool:
            time.sleep(0.5)
            sizes.append(size())
            return sizes[-1] == sizes[-2] != ""

        eventually(stands_still, "it writes no more")
        assert int(sizes[-1]) < LARGE_BYTES
        assert docker("exec", machine, "ls", "/srv/done", check=False).out == ""
        lines = lines_of(reply)
    assert len(text_of(lines, "stdout")) == LARGE_BYTES
    assert lines[-1]["exit_code"] == 0


def test_who_hangs_up_ends_the_command(shared: Running, machine: str) -> None:
    with streaming(shared, machine, SLEEPS) as reply:
        assert json.loads(reply.readline())["text"] == "begun\n"
        assert runs(machine, "sleep 4321")
    eventually(lambda: not runs(machine, "sleep 4321"), "no process of it is left", within_s=PROMPT_S)


def test_its_time_limit_holds(shared: Running, machine: str) -> None:
    """Also for a command that never stops writing."""
    for script in (SLEEPS, "yes & yes >&2"):
        begun = time.monotonic()
        with streaming(shared, machine, script, timeout_seconds=1) as reply:
            lines = lines_of(reply)
        assert 1 <= time.monotonic() - begun < 1 + PROMPT_S
        assert lines[-1]["exit_code"] is None
        assert text_of(lines, "stdout").startswith(("begun\n", "y\n"))
        assert not runs(machine, "sleep 4321")
        assert not runs(machine, "yes")


def test_a_missing_program_is_told_on_the_error_output(shared: Running, machine: str) -> None:
    for accept in (JSONL, "*/*"):
        answer = call(
            shared.ports.api, "POST", f"/v1/machines/{machine}/exec", {"command": ["no-such"]}, {"accept": accept}
        )
        *said, end = [json.loads(line) for line in answer.body.splitlines()]
        told = end["stderr"] if accept == "*/*" else said[0]["text"]
        assert end["exit_code"] == 127
        assert told == 'orchestrator: The worker has no program "no-such" in its PATH.\n'


def test_what_prevents_the_start_is_a_status(shared: Running, machine: str) -> None:
    """As without a stream."""
    docker("pause", machine)
    try:
        with streaming(shared, machine, "true") as reply:
            assert (reply.status, reply.headers["content-type"]) == (409, "application/problem+json")
            assert json.load(reply)["code"] == "not_running"
    finally:
        docker("unpause", machine)
    with streaming(shared, machine, "true", timeout_seconds=0) as reply:
        assert reply.status == 400
    with streaming(shared, "worker-1700000000000-neverwas1", "true") as reply:
        assert reply.status == 404


def test_a_container_that_ends_ends_the_stream(shared: Running, machine: str) -> None:
    """With a last line, which may be an error: its process was killed, and nobody may know its code."""
    with streaming(shared, machine, SLEEPS) as reply:
        assert json.loads(reply.readline())["text"] == "begun\n"
        docker("kill", machine)
        lines = lines_of(reply)
    assert lines[-1].get("exit_code") == 137 or lines[-1]["error"]["code"] == "not_running", lines


@pytest.mark.parametrize("make", BOTH, ids=lambda make: make.__name__)
def test_a_service_that_stops_ends_streams_at_once_and_their_commands(start: Start, make: Callable[..., Any]) -> None:
    """Whoever reads hears that this was not the end of the command."""
    service = start("--min-idle", "1", "--max-machines", "1")
    service.await_idle(1)
    service.assign("p")
    (container,) = service.containers()
    with make(f"http://localhost:{service.ports.api}") as client:
        parts = client.exec_stream(client.machine_of("p").id, ["sh", "-c", SLEEPS])
        assert next(parts) == ExecOutput(stream="stdout", text="begun\n")
        begun = time.monotonic()
        assert service.end() == 0
        assert time.monotonic() - begun < PROMPT_S
        with pytest.raises(ServiceUnreachable, match="broke off the output of the command"):
            list(parts)
    assert not runs(container, "sleep 4321")


def test_the_memory_engine_runs_no_commands(start: Start) -> None:
    """Which is said by the status, with a stream as without one."""
    service = start("--engine", "memory", "--min-idle", "1")
    (idle,) = service.await_idle(1)
    for accept in (JSONL, "*/*"):
        answer = call(service.ports.api, "POST", f"/v1/machines/{idle}/exec", {"command": ["true"]}, {"accept": accept})
        assert (answer.status, json.loads(answer.body)["code"]) == (501, "not_supported")


# with a client


@pytest.mark.parametrize("make", BOTH, ids=lambda make: make.__name__)
def test_a_client_gives_pieces_as_they_come(shared: Running, machine: str, make: Callable[..., Any]) -> None:
    begun = time.monotonic()
    with make(f"http://localhost:{shared.ports.api}") as client:
        parts = client.exec_stream(machine, ["sh", "-c", TICKS])
        pieces = [next(parts)]
        first_s = time.monotonic() - begun
        pieces += parts
        all_s = time.monotonic() - begun
        assert pieces[-1] == ExecEnd(exit_code=9, truncated=False)
        assert "".join(piece.text for piece in pieces[:-1] if piece.stream == "stderr") == "err 1\nerr 2\nerr 3\n"
        assert first_s < all_s - 1.3
        with closing(client.exec_stream(machine, ["sh", "-c", SLEEPS])) as parts:
            assert next(parts).text == "begun\n"
        eventually(lambda: not runs(machine, "sleep 4321"), "leaving early ends it", within_s=PROMPT_S)


# with the command line


def exec_(service: Running, machine: str, *words: str) -> subprocess.Popen[bytes]:
    command = [*MODULE, "exec", machine, *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=service.folder, env=reaching(service)
    )


def test_the_command_line_prints_what_comes(shared: Running, machine: str) -> None:
    """Each stream to its own, through pipes too."""
    with exec_(shared, machine, "--", "sh", "-c", TICKS) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"out 1\n"
        read_at = time.monotonic()
        assert process.stderr.readline() == b"err 1\n"
        rest = process.communicate(timeout=20)
        assert time.monotonic() - read_at > 1.3, "two pauses before the end"
        assert rest == (b"out 2\nout 3\n", b"err 2\nerr 3\n")
        assert process.returncode == 9


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, None), (signal.SIGKILL, None)])
def test_ctrl_c_ends_the_command_in_the_worker(
    shared: Running, machine: str, number: signal.Signals, code: int | None
) -> None:
    """And whatever else ends the one on this side."""
    with exec_(shared, machine, "--", "sh", "-c", SLEEPS) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        assert runs(machine, "sleep 4321")
        process.send_signal(number)
        _, told = process.communicate(timeout=20)
        assert process.returncode == code if code is not None else process.returncode != 0
        assert b"Traceback" not in told
    eventually(lambda: not runs(machine, "sleep 4321"), "no process of it is left", within_s=PROMPT_S)


def test_a_reader_that_closes_the_pipe_ends_the_command(shared: Running, machine: str) -> None:
    """As `| head` does, with its exit code."""
    with exec_(shared, machine, "yes") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"y\n"
        process.stdout.close()
        assert process.wait(timeout=20) == 141
    eventually(lambda: not runs(machine, "yes"), "no process of it is left", within_s=PROMPT_S)


def test_a_missing_program_has_the_exit_code_of_a_shell(shared: Running, machine: str) -> None:
    for words, code, said in (
        (["no-such"], 127, b'orchestrator: The worker has no program "no-such" in its PATH.\n'),
        (["/tmp"], 126, b'orchestrator: "/tmp" is not executable in the worker, or not for this user.\n'),
    ):
        with exec_(shared, machine, *words) as process:
            assert process.communicate(timeout=20) == (b"", said)
            assert process.returncode == code
