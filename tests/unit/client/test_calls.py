"""Both clients against a real server that misbehaves."""

from __future__ import annotations

import asyncio
import io
import logging
import socket
import time
from pathlib import Path

import pytest
from tests.unit.client.conftest import Connect
from tests.unit.client.scripted import Act, answer, chunk, cut, problem, reset, scripted, unheard

from worker_orchestrator.client import AsyncClient
from worker_orchestrator.errors import (
    CallFailed,
    EngineUnavailable,
    Forbidden,
    GenerationMismatch,
    InvalidInput,
    InvalidProject,
    MachineFailed,
    MachineNotFound,
    NoMachineAvailable,
    NotRunning,
    NotSupported,
    OtherPool,
    ProjectHasNoMachine,
    ServiceUnreachable,
    Unauthorized,
)

MACHINE = {
    "id": "m-1",
    "pool": "default",
    "state": "assigned",
    "project": "p",
    "generation": 3,
    "url": "http://localhost:20001",
    "host": "localhost",
    "port": 20001,
    "container_id": None,
    "address": None,
    "template": "t",
    "reason": "",
    "evidence": "",
    "metadata": {},
    "created_at": "2026-01-01T00:00:00Z",
    "changed_at": "2026-01-01T00:00:00Z",
}
RELEASED = {"project": "p", "machine": "m-1", "generation": 3}
DONE = {"exit_code": 0, "stdout": "hi", "stderr": "", "truncated": False}
TOKEN = "a-secret-that-nobody-may-see"

each_loss = pytest.mark.parametrize("loss", [reset, unheard], ids=["reset", "closed"])


@each_loss
def test_an_assign_whose_reply_was_lost_is_sent_again(connect: Connect, loss: Act) -> None:
    """The service gives the same machine again."""
    with scripted(loss, answer(200, MACHINE)) as server, connect(server.url) as client:
        assert client.assign("p", metadata={"branch": "main"}, wait_seconds=9).url == "http://localhost:20001"
    assert [heard.method for heard in server.heard] == ["PUT", "PUT"]
    first, second = (heard.json for heard in server.heard)
    assert first == {"wait_seconds": 9, "metadata": {"branch": "main"}}
    assert 5 < second.pop("wait_seconds") < 9, "what is left of them"
    assert second == {"metadata": {"branch": "main"}}


def test_deadlines_are_sent_where_they_are_asked_for(connect: Connect) -> None:
    """A service of an earlier version refuses a key that it does not know."""
    with scripted(answer(200, MACHINE)) as server, connect(server.url) as client:
        client.assign("p", ttl=60, idle_timeout=0, max_age=3600, confirm_within=1.5)
        assert client.assign("p").lease is None
    assert [heard.json for heard in server.heard] == [
        {"ttl": 60, "max_age": 3600, "idle_timeout": 0, "confirm_within": 1.5},
        {},
    ]


@each_loss
def test_a_keepalive_is_sent_again_and_names_the_generation(connect: Connect, loss: Act) -> None:
    """Twice does what once does; also after a 503."""
    busy = problem(503, "store_failed", headers={"retry-after": "0"})
    with scripted(loss, busy, answer(204)) as server, connect(server.url) as client:
        assert client.keep("p", ttl=60, generation=3) is None
    assert {(one.method, one.target) for one in server.heard} == {("POST", "/v1/projects/p/machine/keepalive")}
    assert [(one.json, one.headers["if-match"]) for one in server.heard] == [({"ttl": 60}, '"3"')] * 3


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [(404, "project_has_no_machine", ProjectHasNoMachine), (412, "generation_mismatch", GenerationMismatch)],
)
def test_a_keepalive_that_comes_too_late_says_so(
    connect: Connect, status: int, code: str, error: type[Exception]
) -> None:
    with scripted(problem(status, code)) as server, connect(server.url) as client, pytest.raises(error):
        client.keep("p", generation=3)


@each_loss
@pytest.mark.parametrize("code", ["project_has_no_machine", "generation_mismatch"])
def test_a_release_whose_reply_was_lost_has_happened(connect: Connect, loss: Act, code: str) -> None:
    """What the second try does not find any more, the first one took."""
    with scripted(loss, problem(404, code)) as server, connect(server.url) as client:
        released = client.release("p", generation=3)
    assert (released.project, released.machine, released.generation) == ("p", "", 3)


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [(404, "project_has_no_machine", ProjectHasNoMachine), (412, "generation_mismatch", GenerationMismatch)],
)
def test_a_release_that_finds_nothing_at_once_says_so(
    connect: Connect, status: int, code: str, error: type[Exception]
) -> None:
    """Nothing was lost, so nothing was done before."""
    with scripted(problem(status, code)) as server, connect(server.url) as client, pytest.raises(error):
        client.release("p", generation=3)


@pytest.mark.parametrize(("etag", "generation"), [('"42"', 42), ("", 0), ('W/"4"', 0), ('"²"', 0)])
def test_who_comes_too_late_is_told_which_generation_holds(connect: Connect, etag: str, generation: int) -> None:
    """By the reply's ETag, where it has a number."""
    script = problem(412, "generation_mismatch", headers={"etag": etag})
    with scripted(script) as server, connect(server.url) as client, pytest.raises(GenerationMismatch) as told:
        client.release("p", generation=3)
    assert told.value.generation == generation


def test_a_destroy_whose_reply_was_lost_has_happened(connect: Connect) -> None:
    """As a release."""
    script = (reset, problem(404, "machine_not_found"))
    with scripted(*script) as server, connect(server.url) as client:
        destroyed = client.destroy("m-1", generation=3)
    assert (destroyed.machine, destroyed.generation) == ("m-1", 3)
    assert server.heard[1].target == "/v1/machines/m-1?generation=3"


def test_a_destroy_may_leave_the_worker_no_time(connect: Connect) -> None:
    script = problem(404, "machine_not_found")
    with scripted(script) as server, connect(server.url) as client, pytest.raises(MachineNotFound):
        client.destroy("m-1", generation=3, now=True)
    assert server.heard[0].target == "/v1/machines/m-1?generation=3&now=true"


@each_loss
@pytest.mark.parametrize("call", ["release", "destroy", "exec"])
def test_what_must_not_happen_twice_goes_out_once(connect: Connect, loss: Act, call: str) -> None:
    """Neither the client nor the library below it sends it again, on a used connection neither."""
    script = (answer(200, MACHINE), loss, answer(500, b"again"))
    with scripted(*script) as server, connect(server.url) as client:
        client.assign("p")
        with pytest.raises(ServiceUnreachable):
            client.exec("m-1", ["date"]) if call == "exec" else getattr(client, call)("p")
    assert len(server.heard) == 2
    assert server.heard[1].connection != server.heard[0].connection


def test_a_connection_that_grew_stale_is_no_error(connect: Connect) -> None:
    """A service that started anew closed the connections that a client kept."""
    with scripted(answer(200, MACHINE)) as server, connect(server.url, retries=1) as client:
        client.machine_of("p")
        for connection in server.connections:
            connection.shutdown(socket.SHUT_RDWR)
        client.machine_of("p")
        for connection in server.connections[1:]:
            connection.shutdown(socket.SHUT_RDWR)
        client.get("m-1")
    assert len(server.heard) == 3


def test_connections_are_used_again(connect: Connect) -> None:
    """One for many calls, one after the other."""
    with scripted(answer(200, MACHINE)) as server, connect(server.url) as client:
        for _ in range(5):
            client.machine_of("p")
    assert {heard.connection for heard in server.heard} == {1}


def test_an_error_keeps_what_the_service_said(connect: Connect) -> None:
    """Class, sentence, status, request id, and when to come again."""
    script = problem(503, "no_machine_available", "All 4 are in use.", {"retry-after": "90"})
    with scripted(script) as server, connect(server.url) as client, pytest.raises(NoMachineAvailable) as told:
        client.assign("p")
    assert str(told.value) == "All 4 are in use."
    assert (told.value.retry_after_s, told.value.status, told.value.request_id) == (90, 503, "r-1")
    assert len(server.heard) == 1


def test_that_the_machine_of_a_project_failed_is_the_last_word(connect: Connect) -> None:
    """Asked once: there is no use in asking again."""
    with (
        scripted(problem(409, "machine_failed", "Release or destroy it.")) as server,
        connect(server.url) as client,
        pytest.raises(MachineFailed, match=r"^Release or destroy it\.$") as told,
    ):
        client.assign("p")
    assert told.value.status == 409
    assert len(server.heard) == 1


def test_a_code_of_a_later_version_is_a_failed_call(connect: Connect) -> None:
    """Its sentence is passed on."""
    with (
        scripted(problem(418, "teapot", "No coffee.")) as server,
        connect(server.url) as client,
        pytest.raises(CallFailed, match=r"No coffee\.") as told,
    ):
        client.health()
    assert type(told.value) is CallFailed


@pytest.mark.parametrize(("token", "said"), [(None, "requires a token"), (TOKEN, "refused this token")])
def test_without_the_right_token_one_is_told_how_to_give_it(connect: Connect, token: str | None, said: str) -> None:
    """And never what the wrong one was."""
    with scripted(problem(401, "unauthorized")) as server, connect(server.url, token=token) as client:
        with pytest.raises(Unauthorized, match=rf"{said}.*ORCHESTRATOR_TOKEN or ORCHESTRATOR_TOKEN_FILE") as told:
            client.health()
        assert TOKEN not in repr(client) + repr(told.value) + str(vars(told.value))
    assert server.heard[0].headers.get("authorization") == (token and f"Bearer {token}")


def test_a_redirect_is_not_followed(connect: Connect) -> None:
    """The token goes to the service that it was given for, and nowhere else."""
    with scripted(answer(200, MACHINE)) as other:
        script = answer(307, b"", {"location": f"{other.url}/v1/health"})
        with (
            scripted(script) as server,
            connect(server.url, token=TOKEN) as client,
            pytest.raises(CallFailed, match=f"{server.url} redirects to {other.url}/v1/health"),
        ):
            client.health()
    assert other.heard == []


@pytest.mark.parametrize("call", ["health", "pools", "events"])
@pytest.mark.parametrize("status", [200, 404, 500])
def test_another_program_at_that_port_is_told_from_the_service(connect: Connect, status: int, call: str) -> None:
    """One clear sentence with the address, whatever the other one says."""
    page = answer(status, b"<h1>Welcome to nginx</h1>", kind="text/html")
    with (
        scripted(page) as server,
        connect(server.url, retries=0) as client,
        pytest.raises(CallFailed, match=f"The server at {server.url} .*not a worker orchestrator"),
    ):
        list(getattr(client, call)())


def test_what_the_service_refuses_before_it_looks_is_told_in_its_words(connect: Connect) -> None:
    """As a body that is too large."""
    refused = answer(413, {"error": "Request body too large", "message": "The body may have at most 1048576 bytes."})
    with scripted(refused) as server, connect(server.url) as client, pytest.raises(CallFailed) as told:
        client.exec("m-1", ["cat"])
    assert str(told.value) == "Request body too large. The body may have at most 1048576 bytes."
    assert told.value.status == 413


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "requires a login of its own"),
        (413, r"accepts no request as large as this one. Raise its limit \(nginx: client_max_body_size\)"),
        (426, "does not pass on WebSockets"),
        (429, "limits the number of requests"),
    ],
)
def test_what_a_proxy_in_between_refuses_is_not_blamed_on_the_address(connect: Connect, status: int, said: str) -> None:
    page = answer(status, b"<h1>413 Request Entity Too Large</h1>", kind="text/html")
    with scripted(page) as server, connect(server.url, retries=0) as client:
        with pytest.raises(
            CallFailed, match=f"^A proxy at {server.url} replies {status} in place of the service: it {said}"
        ) as told:
            client.exec("m-1", ["cat"])
        assert told.value.status == status


def test_a_proxy_that_does_not_reach_the_service_says_so(connect: Connect) -> None:
    """It is not the service that answers."""
    with (
        scripted(answer(502, b"<h1>Bad gateway</h1>", kind="text/html")) as server,
        connect(server.url, retries=1) as client,
        pytest.raises(ServiceUnreachable, match=f"{server.url} replies 502"),
    ):
        client.health()
    assert len(server.heard) == 2


def test_nobody_at_that_address(connect: Connect) -> None:
    """Says the address, the reason and what to do."""
    with scripted(reset) as server:
        url = server.url
    with (
        connect(url, retries=1) as client,
        pytest.raises(ServiceUnreachable, match=f"{url} does not answer: connection ref"),
    ):
        client.health()


def test_a_service_that_stays_busy_until_the_time_is_up_is_not_taken_for_one_that_is_gone(connect: Connect) -> None:
    """What it said last is the answer."""

    def silent(connection: socket.socket) -> bool:
        return bool(connection.recv(1))

    script = (problem(503, "no_machine_available", "All 4 are in use.", {"retry-after": "0"}), silent)
    with (
        scripted(*script) as server,
        connect(server.url, timeout_s=0.4) as client,
        pytest.raises(NoMachineAvailable, match="All 4 are in use"),
    ):
        client.assign("p")
    assert len(server.heard) == 2


def test_a_service_that_says_nothing_is_given_up(connect: Connect) -> None:
    """After the time-out, with its reason."""

    def silent(connection: socket.socket) -> bool:
        return bool(connection.recv(1))

    with (
        scripted(silent) as server,
        connect(server.url, timeout_s=0.2) as client,
        pytest.raises(ServiceUnreachable, match="no answer in time"),
    ):
        client.health()


def test_a_service_below_a_path(connect: Connect) -> None:
    """As behind a proxy that serves others too."""
    with scripted(answer(200, MACHINE)) as server, connect(f"{server.url}/fleet/") as client:
        client.machine_of("a:b@c+d=e~f")
    assert server.heard[0].target == "/fleet/v1/projects/a%3Ab%40c%2Bd%3De~f/machine"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b"])
def test_a_name_that_would_be_another_path_is_not_sent(connect: Connect, name: str) -> None:
    """It is no name of anything."""
    with scripted(answer(200, MACHINE)) as server, connect(server.url) as client:
        with pytest.raises(InvalidProject):
            client.assign(name)
        with pytest.raises(MachineNotFound):
            client.destroy(name)
    assert server.heard == []


def test_all_pages_are_one_list(connect: Connect) -> None:
    """Each page says where the next begins."""
    pages = [
        answer(200, {"machines": [MACHINE | {"id": name}], "next": after}) for name, after in (("a", "a"), ("b", None))
    ]
    with scripted(*pages) as server, connect(server.url) as client:
        found = client.machines(states=["idle", "failed"], project="p", pool="default")
    assert [machine.id for machine in found] == ["a", "b"]
    assert server.heard[0].target == "/v1/machines?project=p&limit=1000&state=idle&state=failed&pool=default"
    assert server.heard[1].target.endswith("&after=a")


def test_a_list_may_be_of_several_pools(connect: Connect) -> None:
    with scripted(answer(200, {"machines": [], "next": None})) as server, connect(server.url) as client:
        client.machines(pool=["default", "node20"])
        client.machines()
    targets = [heard.target for heard in server.heard]
    assert targets == ["/v1/machines?limit=1000&pool=default&pool=node20", "/v1/machines?limit=1000"]


def test_a_pool_is_asked_for_by_its_name(connect: Connect) -> None:
    """And not named where none is asked for: a service of an earlier version refuses a key that it does not know."""
    with scripted(answer(200, MACHINE | {"pool": "node20"})) as server, connect(server.url) as client:
        assert client.assign("p", pool="node20").pool == "node20"
        client.assign("p")
    assert [heard.json for heard in server.heard] == [{"pool": "node20"}, {}]


def test_a_project_that_has_a_machine_of_another_pool_hears_so_at_once(connect: Connect) -> None:
    """Another try would not help."""
    refusal = problem(409, "other_pool", "Release it first.")
    with scripted(refusal) as server, connect(server.url) as client, pytest.raises(OtherPool) as told:
        client.assign("p", pool="node20")
    assert (str(told.value), told.value.status, len(server.heard)) == ("Release it first.", 409, 1)


def test_only_what_is_given_is_changed(connect: Connect) -> None:
    """None is something else than nothing: it goes back to the setting."""
    pool = {
        "name": "default", "image": "i", "template": None, "min_idle": 1, "max_idle": None, "limit": 3, "paused": False,
        "configured": {"min_idle": 1, "max_idle": None, "limit": 3}, "machines": {}, "waiting": 0, "problem": None,
        "back_off": None,
    }  # fmt: skip
    with scripted(answer(200, pool)) as server, connect(server.url) as client:
        client.scale(min_idle=4)
        client.scale("default", max_idle=None)
        client.pause()
        client.resume("default")
        client.scale("node20", max_machines=7)
        client.scale("node20", parked=3)
    bodies = [heard.json for heard in server.heard]
    assert bodies == [
        {"min_idle": 4},
        {"max_idle": None},
        {"paused": True},
        {"paused": False},
        {"max_machines": 7},
        {"parked": 3},
    ]
    assert server.heard[-1].target == "/v1/pools/node20"


def test_a_pool_of_an_earlier_service_is_understood(connect: Connect) -> None:
    """It does not tell what it wants, and why."""
    pool = {
        "name": "default", "image": "i", "template": None, "min_idle": 1, "max_idle": None, "limit": 3, "paused": False,
        "configured": {"min_idle": 1, "max_idle": None, "limit": 3}, "machines": {}, "waiting": 0, "problem": None,
        "back_off": None,
    }  # fmt: skip
    with scripted(answer(200, pool)) as server, connect(server.url) as client:
        told = client.pool()
    assert (told.max_machines, told.spare, told.parked, told.retired) == (None, 0, 0, False)
    assert told.configured.parked is None
    assert (told.wanted_idle, told.why, told.held_back, told.demand) == (None, "", None, None)


def test_a_command_is_a_list_of_words(connect: Connect) -> None:
    """One text would be taken for its letters."""
    with scripted(answer(200, DONE)) as server, connect(server.url) as client:
        with pytest.raises(InvalidInput, match="list of words"):
            client.exec("m-1", "date")
        assert client.exec("m-1", ("date", "-u"), env={"A": "b"}, timeout_seconds=5).stdout == "hi"
    assert server.heard[0].json["command"] == ["date", "-u"]


def test_a_file_is_sent_from_where_it_stands_each_time(connect: Connect, tmp_path: Path) -> None:
    """Also where the first try broke off in the middle of it."""
    content = b"0123456789" * 50_000
    path = tmp_path / "archive.tar"
    path.write_bytes(b"skipped" + content)
    with path.open("rb") as file, scripted(reset, answer(204)) as server, connect(server.url) as client:
        file.seek(7)
        client.write_tar("m-1", "/a b&c", file)
        assert not file.closed
    assert [heard.body for heard in server.heard] == [content, content]
    assert server.heard[1].target == "/v1/machines/m-1/files?path=%2Fa%20b%26c"
    assert server.heard[1].headers["content-type"] == "application/x-tar"
    assert server.heard[1].headers["content-length"] == "500000"


def test_a_pipe_is_sent_once(connect: Connect) -> None:
    """What cannot be read a second time cannot be sent a second time."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    with scripted(reset, answer(204)) as server, connect(server.url) as client, pytest.raises(ServiceUnreachable):
        client.write_tar("m-1", "/", Pipe(b"x" * 100_000))
    with scripted(answer(204)) as server, connect(server.url) as client:
        client.write_tar("m-1", "/", Pipe(b"x" * 100_000))
    assert server.heard[0].body == b"x" * 100_000
    busy = problem(503, "engine_unavailable", headers={"retry-after": "0"})
    with scripted(busy, answer(204)) as server, connect(server.url) as client, pytest.raises(EngineUnavailable):
        client.write_tar("m-1", "/", Pipe(b"x" * 100_000))
    assert len(server.heard) == 1


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_bytes_are_sent_with_their_length(connect: Connect, size: int) -> None:
    """However many there are."""
    with scripted(answer(204)) as server, connect(server.url) as client:
        client.write_file("m-1", "/f", b"x" * size)
    assert len(server.heard[0].body) == size
    assert server.heard[0].headers["content-length"] == str(size)


def test_a_file_that_broke_off_is_read_again(connect: Connect) -> None:
    """Half a file is never taken for a file."""
    half = cut(b"half", kind="application/octet-stream")
    with scripted(half, answer(200, b"the whole")) as server, connect(server.url) as client:
        assert client.read_file("m-1", "/f") == b"the whole"


def test_logs_that_break_off_say_so(connect: Connect) -> None:
    """What came before is there; the end is not taken for the end."""
    with scripted(cut(b"one\n", b"two\n", kind="text/plain")) as server, connect(server.url) as client:
        lines, got = client.logs("m-1", tail=2, follow=True, timestamps=True), b""
        with pytest.raises(ServiceUnreachable, match="the connection was cut"):  # noqa: PT012 # it comes in any pieces
            while True:
                got += next(lines)
    assert got == b"one\ntwo\n"
    assert server.heard[0].target == "/v1/machines/m-1/logs?tail=2&follow=true&timestamps=true"


def test_what_came_before_a_cut_is_read_however_late() -> None:
    """Here the cut is known before the second line is asked for."""

    async def story(url: str) -> bytes:
        async with AsyncClient(url) as client:
            lines = client.logs("m-1", follow=True)
            got = await anext(lines)
            await asyncio.sleep(0.1)
            with pytest.raises(ServiceUnreachable, match="the connection was cut"):  # noqa: PT012 # as above
                while True:
                    got += await anext(lines)
            return got

    def act(connection: socket.socket) -> bool:
        cut(b"one\n", kind="text/plain")(connection)
        time.sleep(0.05)
        connection.sendall(chunk(b"two\n"))
        return False

    with scripted(act) as server:
        assert asyncio.run(story(server.url)) == b"one\ntwo\n"


def test_logs_to_their_end(connect: Connect) -> None:
    """An end in good order is one, and the connection is used again."""
    with scripted(cut(b"one\n", b"two\n", kind="text/plain", end=True)) as server, connect(server.url) as client:
        assert b"".join(client.logs("m-1")) == b"one\ntwo\n"
        assert b"".join(client.read_tar("m-1", "/")) == b"one\ntwo\n"
    assert server.heard[1].headers["accept"] == "application/x-tar"


def test_a_closed_client_opens_new_connections(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is lost by closing early."""
    with caplog.at_level(logging.WARNING), scripted(answer(200, MACHINE)) as server, connect(server.url) as client:
        client.machine_of("p")
        getattr(client, "close" if hasattr(client, "close") else "aclose")()
        client.machine_of("p")
    assert [heard.connection for heard in server.heard] == [1, 2]
    assert caplog.records == []


# where a preview leads


LEADS = {"project": "p", "target": "127.0.0.1:9093", "host": "p.localhost"}


@each_loss
def test_a_proxy_passes_on_what_the_visitor_shows_and_asks_again(connect: Connect, loss: Act) -> None:
    with scripted(loss, answer(200, LEADS)) as server, connect(server.url, token=TOKEN) as client:
        target = client.route(
            "p.localhost", cookie="a=ü; orchestrator_preview=x;b=", token="theirs", address="192.0.2.1"
        )
    assert (target.project, target.target, target.host) == ("p", "127.0.0.1:9093", "p.localhost")
    for heard in server.heard:
        assert (heard.method, heard.target) == ("GET", "/v1/route?host=p.localhost")
        assert heard.headers["authorization"] == f"Bearer {TOKEN}"
        assert heard.headers["cookie"] == "orchestrator_preview=x"
        assert (heard.headers["x-orchestrator-token"], heard.headers["x-forwarded-for"]) == ("theirs", "192.0.2.1")


def test_a_visitor_who_shows_nothing_is_not_made_one_who_shows_something(connect: Connect) -> None:
    with scripted(answer(200, LEADS)) as server, connect(server.url) as client:
        client.route("p.localhost", cookie="a=b", token="", address=None)
    assert {"cookie", "x-orchestrator-token", "x-forwarded-for"}.isdisjoint(server.heard[0].headers)


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (403, "forbidden", Forbidden),
        (404, "project_has_no_machine", ProjectHasNoMachine),
        (404, "not_found", CallFailed),
        (409, "not_running", NotRunning),
        (409, "machine_failed", MachineFailed),
        (501, "not_supported", NotSupported),
    ],
)
def test_where_a_preview_leads_nowhere_the_proxy_hears_why(
    connect: Connect, status: int, code: str, error: type[Exception]
) -> None:
    with scripted(problem(status, code)) as server, connect(server.url) as client, pytest.raises(error):
        client.route("p.localhost")


@pytest.mark.parametrize("value", ["a\r\nHost: other", "a\nb", "\u20ac", "\0"])
def test_what_a_visitor_cannot_have_sent_is_refused_and_not_shown(connect: Connect, value: str) -> None:
    with scripted() as server, connect(server.url) as client, pytest.raises(InvalidInput) as refused:
        client.route("p.localhost", cookie=f"orchestrator_preview={value}", token=value)
    assert value not in str(refused.value)
    assert server.heard == []
