"""What goes on: events that can be taken up again, logs and terminals that end when either side goes away."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Final

import pytest
from tests.integration.calling import call
from tests.integration.conftest import Start
from tests.integration.docker_command import docker
from tests.integration.running import Running
from tests.integration.waiting import eventually
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

DISCONNECTS: Final = 100


@contextmanager
def stream(service: Running, path: str, last: int | None = None) -> Iterator[http.client.HTTPResponse]:
    headers = {"Host": "localhost"} | ({} if last is None else {"Last-Event-ID": str(last)})
    with closing(http.client.HTTPConnection("127.0.0.1", service.ports.api, timeout=20)) as connection:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        assert response.status == 200, response.read()
        yield response


def events(response: http.client.HTTPResponse) -> Iterator[dict[str, str]]:
    """One by one, as they come in: the fields of each."""
    fields: dict[str, str] = {}
    while line := response.readline():
        text = line.decode().rstrip("\n")
        if text:
            name, _, value = text.partition(": ")
            fields[name] = value
        elif fields:
            yield fields
            fields = {}


def told(response: http.client.HTTPResponse) -> Iterator[Any]:
    """What happened, as it comes in. Blocks without data only say where the stream stands, and may come at any time."""
    return (json.loads(event["data"]) for event in events(response) if "data" in event)


def assign(service: Running, project: str) -> Any:
    answer = call(service.ports.api, "PUT", f"/v1/projects/{project}/machine")
    assert answer.status in {200, 201}, answer.text
    return answer.json


# events


def test_a_stream_that_is_cut_a_hundred_times_and_survives_a_restart_misses_and_repeats_nothing(start: Start) -> None:
    service = start("--min-idle", "1", "--max-machines", "3")
    service.await_idle(1)
    stop, changes = threading.Event(), 0

    def change() -> None:
        nonlocal changes
        while not stop.is_set():
            try:
                assign(service, "busy")
                service.delete("busy")
                changes += 1
            except (OSError, http.client.HTTPException):  # it is being started again
                time.sleep(0.01)

    writer = threading.Thread(target=change)
    seen: list[int] = []
    with stream(service, "/v1/events") as response:
        place = int(next(events(response))["id"])
    begin = place
    writer.start()
    try:
        for cut in range(DISCONNECTS):
            with stream(service, "/v1/events", place) as response:
                for event in events(response):
                    place = int(event["id"])
                    assert writer.is_alive(), "nothing happens any more"
                    if "data" in event:
                        assert json.loads(event["data"])["id"] == place
                        seen.append(place)
                    if len(seen) % 7 == cut % 7 and "data" in event:
                        break  # somewhere, also within what came in one piece
            if cut == DISCONNECTS // 2:
                service.end(signal.SIGKILL)
                service.start()
    finally:
        stop.set()
        writer.join()
    newest = service.rows("SELECT max(seq) FROM event")[0][0]
    with stream(service, f"/v1/events?after={place}&follow=false") as response:
        seen += [event["id"] for event in told(response)]
    assert seen[-1] >= newest
    stored = service.rows(f"SELECT seq FROM event WHERE seq BETWEEN {begin + 1} AND {seen[-1]} ORDER BY seq")
    assert seen == [row[0] for row in stored]
    assert changes > DISCONNECTS / 10


def test_who_asks_for_what_is_not_kept_any_more_is_told_to_begin_anew(start: Start) -> None:
    service = start("--engine", "memory")
    service.await_idle(2)
    with stream(service, "/v1/events", 999_999) as response:
        reset = next(events(response))
    assert reset["event"] == "reset"
    assert json.loads(reset["data"])["newest"] < 999_999


@pytest.mark.parametrize(
    ("last", "status"), [("9" * 16, 200), ("0", 200), ("9" * 17, 400), ("9" * 5000, 400), ("-1", 400), ("\u00b2", 400)]
)
def test_an_id_is_a_number_of_at_most_sixteen_digits(shared: Running, last: str, status: int) -> None:
    """As described; a longer one is no defect of the service."""
    given = call(shared.ports.api, "GET", "/v1/events?follow=false", headers={"last-event-id": last})
    assert given.status == status, given.text[:200]


def test_a_stream_tells_of_one_project_alone_where_that_is_asked_for(start: Start) -> None:
    service = start("--engine", "memory")
    service.await_idle(2)
    with stream(service, "/v1/events?project=mine") as response:
        place = int(next(events(response))["id"])
        assign(service, "theirs")
        # What it was not asked for moves the place of the stream, and nothing else is said of it.
        moved = next(event for event in events(response) if int(event["id"]) > place)
        assert "data" not in moved
        assign(service, "mine")
        assert next(told(response))["project"] == "mine"


def test_a_stream_ends_when_the_service_does(start: Start) -> None:
    """And does not keep it from ending."""
    service = start("--engine", "memory")
    with stream(service, "/v1/events") as response:
        coming = events(response)
        next(coming)
        begun = time.monotonic()
        assert service.end() == 0
        assert time.monotonic() - begun < 3
        list(coming)


# logs


def test_a_followed_log_ends_with_its_reader(shared: Running) -> None:
    """The service holds no connection to Docker for somebody who has gone."""
    machine = assign(shared, "followed")["id"]
    before = connections_to_docker(shared)
    with ExitStack() as readers:
        for _ in range(before + 1):  # connections that are kept for the next call would not be enough for so many
            response = readers.enter_context(stream(shared, f"/v1/machines/{machine}/logs?follow=true"))
            assert b"listens on" in response.readline()
        assert connections_to_docker(shared) > before
    eventually(lambda: connections_to_docker(shared) <= before, "it is closed")
    shared.delete("followed")


def connections_to_docker(service: Running) -> int:
    """How many local sockets the service holds."""
    import psutil  # noqa: PLC0415 # only here

    return len(psutil.Process(service.pid).net_connections("unix"))


# terminals


@pytest.fixture
def machine(shared: Running) -> Iterator[str]:
    yield assign(shared, "terminal")["id"]
    shared.delete("terminal")


@contextmanager
def terminal(service: Running, machine: str, query: str = "", **words: Any) -> Iterator[ClientConnection]:
    url = f"ws://127.0.0.1:{service.ports.api}/v1/machines/{machine}/terminal?{query}"
    with connect(url, **words) as connection:
        yield connection


def answer(service: Running, machine: str, **words: Any) -> int:
    """The status of the reply to who wants a terminal."""
    try:
        with terminal(service, machine, **words):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


def read_until(connection: ClientConnection, text: bytes) -> bytes:
    said = b""
    while text not in said:
        message = connection.recv(timeout=10)
        assert isinstance(message, bytes), message
        said += message
    return said


def until_closed(connection: ClientConnection) -> tuple[list[str | bytes], int | None]:
    """All that is said, and the code that it is closed with."""
    said: list[str | bytes] = []
    try:
        while True:
            said.append(connection.recv(timeout=10))
    except ConnectionClosed as end:
        return said, None if end.rcvd is None else end.rcvd.code


def processes(machine: str) -> str:
    return docker("top", machine).out


def test_a_full_screen_program_runs_resizes_and_ends(shared: Running, machine: str) -> None:
    with terminal(shared, machine, "command=vi&command=/tmp/note&columns=100&rows=30") as connection:
        screen = read_until(connection, b"\x1b[30;1H")  # its last line
        assert b"\x1b[?1049h" in screen
        connection.send(json.dumps({"columns": 90, "rows": 20}))
        read_until(connection, b"\x1b[20;1H")
        connection.send(b"ia note")
        read_until(connection, b"note")
        connection.send(b"\x1b")
        read_until(connection, b"Modified")
        connection.send(b":wq\r")
        said, code = until_closed(connection)
    assert json.loads(said[-1]) == {"exit_code": 0}
    assert code == 1000
    assert call(shared.ports.api, "GET", f"/v1/machines/{machine}/files?path=/tmp/note").body == b"a note\n"


@pytest.mark.parametrize("how", ["closes", "is cut off"])
def test_when_the_caller_goes_nothing_of_it_stays_in_the_worker(shared: Running, machine: str, how: str) -> None:
    with terminal(shared, machine) as connection:
        connection.send(b"sleep 7654 & sleep 8765\r")
        eventually(lambda: "sleep 8765" in processes(machine), "both run")
        if how == "is cut off":
            connection.socket.shutdown(socket.SHUT_RDWR)
    eventually(lambda: "sleep" not in processes(machine) and " sh\n" not in processes(machine), "all are gone")


def test_when_the_service_ends_nothing_of_it_stays_in_the_worker(start: Start) -> None:
    service = start("--min-idle", "1")
    service.await_idle(1)
    machine = assign(service, "p")["id"]
    with terminal(service, machine) as connection:
        connection.send(b"sleep 7654\r")
        eventually(lambda: "sleep 7654" in processes(machine), "it runs")
        assert service.end() == 0
        eventually(lambda: "sleep 7654" not in processes(machine), "it is gone")


def test_what_is_no_size_ends_a_terminal(shared: Running, machine: str) -> None:
    with terminal(shared, machine) as connection:
        connection.send('{"columns": "many"}')
        assert until_closed(connection)[1] == 1007


@pytest.mark.parametrize(
    ("origin", "status"), [("http://evil.example", 403), ("null", 403), (None, 101), ("http://localhost:3000", 101)]
)
def test_a_foreign_page_opens_no_terminal(shared: Running, machine: str, origin: Any, status: int) -> None:
    assert answer(shared, machine, origin=origin) == status


def test_the_page_of_a_worker_opens_no_terminal(shared: Running, machine: str) -> None:
    """It is on this computer too, but some project wrote it."""
    port = next(m["port"] for m in shared.machines() if m["id"] == machine)
    assert answer(shared, machine, origin=f"http://localhost:{port}") == 403


def test_only_a_terminal_becomes_a_socket(shared: Running) -> None:
    """Every other path goes on in HTTP/1.1, whatever it is asked."""
    upgrade: dict[str, str | None] = {"connection": "Upgrade", "upgrade": "websocket"}
    assert call(shared.ports.api, "GET", "/v1/health", headers=upgrade).status == 200
    assert answer(shared, "worker-1-nobody00") == 404
    assert "without completing" not in shared.log
