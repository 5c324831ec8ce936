"""What /v1 promises beyond its description: fences, patience, sizes that stay, and nobody in who should not be."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, Final

import pytest
from tests.integration.calling import Answer, call
from tests.integration.conftest import Start
from tests.integration.docker_command import docker
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually

RACES: Final = 5_000
"""Of each of two clients."""


def v1(service: Running, method: str, path: str, body: object = None, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return call(service.ports.api, method, f"/v1{path}", body, named)


def told(answer: Answer, status: int) -> Any:
    assert answer.status == status, f"{answer.status} {answer.text}"
    return json.loads(answer.body) if answer.body else None


def assign(service: Running, project: str, status: int = 201, **body: object) -> Any:
    return told(v1(service, "PUT", f"/projects/{project}/machine", body or None), status)


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with a_service(tmp_path_factory.mktemp("memory"), "--engine", "memory", "--max-machines", "20") as service:
        service.await_idle(2)
        yield service


# assign


def test_the_first_assign_is_new_and_every_other_gives_the_same(memory: Running) -> None:
    first = v1(memory, "PUT", "/projects/once/machine")
    machine = told(first, 201)
    again = v1(memory, "PUT", "/projects/once/machine")
    assert told(again, 200) == machine
    assert first.headers["etag"] == again.headers["etag"] == f'"{machine["generation"]}"'
    assert told(v1(memory, "GET", "/projects/once/machine"), 200) == machine
    assert told(v1(memory, "DELETE", "/projects/once/machine"), 200)["generation"] == machine["generation"]
    assert told(v1(memory, "GET", "/projects/once/machine"), 404)["code"] == "project_has_no_machine"


def test_what_a_project_says_of_its_machine_goes_with_it(memory: Running) -> None:
    machine = assign(memory, "said", metadata={"owner": "ada"})
    assert machine["metadata"] == {"owner": "ada"}
    assert assign(memory, "said", 200)["metadata"] == {"owner": "ada"}
    assert assign(memory, "said", 200, metadata={})["metadata"] == {}
    assign(memory, "said", 200, metadata={"owner": "bob"})
    told(v1(memory, "DELETE", "/projects/said/machine"), 200)
    assert told(v1(memory, "GET", f"/machines/{machine['id']}"), 200)["metadata"] == {}


def test_who_does_not_wait_hears_so_at_once_and_what_was_begun_for_him_is_there_next_time(start: Start) -> None:
    service = start("--min-idle", "0", "--max-machines", "2")
    eventually(lambda: told(v1(service, "GET", "/pools/default"), 200)["template"], "it knows what to start")
    refused = v1(service, "PUT", "/projects/hasty/machine", {"wait_seconds": 0})
    assert told(refused, 503)["code"] == "no_machine_available"
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.took_s < 1
    service.await_idle(1)
    assign(service, "hasty", wait_seconds=0)


def test_each_client_waits_as_long_as_it_is_willing_to(start: Start) -> None:
    """Though both ask for the same project."""
    service = start("--min-idle", "0", "--max-machines", "1", "--assign-timeout", "20")
    assign(service, "holder")
    answers: dict[float, Answer] = {}

    def wait(seconds: float) -> None:
        answers[seconds] = v1(service, "PUT", "/projects/both/machine", {"wait_seconds": seconds})

    clients = [threading.Thread(target=wait, args=(seconds,)) for seconds in (1.0, 15.0)]
    for client in clients:
        client.start()
    clients[0].join()
    assert answers[1.0].status == 503
    assert 0.9 < answers[1.0].took_s < 4
    told(v1(service, "DELETE", "/projects/holder/machine"), 200)
    clients[1].join()
    assert answers[15.0].status == 201


def test_how_a_project_came_to_its_machine_is_told_also_after_a_restart(start: Start) -> None:
    service = start("--min-idle", "1", "--max-machines", "3")
    service.await_idle(1)
    assign(service, "warm")
    assign(service, "cold")
    warm, cold = (told(v1(service, "GET", f"/projects/{name}/why"), 200) for name in ("warm", "cold"))
    assert (warm["how"], cold["how"]) == ("warm", "cold")
    assert cold["stages"]["line_ms"] > 0
    assert cold["stages"]["create_ms"] > 0
    assert [event["cause"] for event in warm["events"]] == ["assigned"]
    eventually(lambda: len(service.rows("SELECT * FROM trace")) == 2, "both are kept")
    service.end()
    service.start()
    assert told(v1(service, "GET", "/projects/cold/why"), 200)["stages"] == cold["stages"]


# fences


def test_a_release_or_destroy_of_an_old_generation_hits_nobody(memory: Running) -> None:
    old = assign(memory, "fenced")
    told(v1(memory, "DELETE", "/projects/fenced/machine"), 200)
    new = assign(memory, "fenced")
    for path in ("/projects/fenced/machine", f"/machines/{new['id']}"):
        late = v1(memory, "DELETE", f"{path}?generation={old['generation']}")
        assert told(late, 412)["code"] == "generation_mismatch"
        assert late.headers["etag"] == f'"{new["generation"]}"'
        told(v1(memory, "DELETE", path, If_Match=f'"{old["generation"]}"'), 412)
        both = f"{path}?generation={new['generation']}"
        told(v1(memory, "DELETE", both, If_Match=f'"{old["generation"]}"'), 412)
    assert assign(memory, "fenced", 200) == new
    told(v1(memory, "DELETE", "/projects/fenced/machine", If_Match=f'"{new["generation"]}"'), 200)


@pytest.mark.parametrize("slip", ["generaton=1", "Generation=1", "force=true"])
def test_a_guard_with_a_slip_in_its_name_does_not_let_the_call_through(memory: Running, slip: str) -> None:
    machine = assign(memory, "slipped")
    for path, known in (("/projects/slipped/machine", "generation"), (f"/machines/{machine['id']}", "generation, now")):
        refused = told(v1(memory, "DELETE", f"{path}?{slip}"), 400)
        assert refused["detail"] == f"Unknown query parameter {slip.partition('=')[0]!r}. Allowed: {known}."
    assert assign(memory, "slipped", 200) == machine
    assert told(v1(memory, "GET", f"/pools?{slip}"), 400)["detail"].endswith("This call takes none.")
    told(v1(memory, "DELETE", "/projects/slipped/machine"), 200)


def test_in_ten_thousand_races_no_release_frees_a_newer_machine(memory: Running) -> None:
    """Two clients assign and release one project; every third release comes again, later than all others."""
    replies: Counter[tuple[int, int]] = Counter()
    lock = threading.Lock()

    def race() -> None:
        late: list[int] = []
        with closing(http.client.HTTPConnection("127.0.0.1", memory.ports.api, timeout=30)) as connection:

            def ask(method: str, path: str) -> tuple[int, Any]:
                connection.request(method, f"/v1/projects/raced/machine{path}", headers={"Host": "localhost"})
                reply = connection.getresponse()
                return reply.status, json.loads(reply.read())

            for number in range(RACES):
                status, machine = ask("PUT", "")
                assert status in {200, 201}, machine
                generation = machine["generation"]
                status, said = ask("DELETE", f"?generation={generation}")
                assert status in {200, 404, 412}, said
                assert status != 200 or said["generation"] == generation
                with lock:
                    replies[generation, status] += 1
                late.append(generation)
                if number % 3 == 0:
                    old = late.pop(0)
                    if old != generation:
                        status, said = ask("DELETE", f"?generation={old}")
                        assert status in {404, 412}, f"{old} was freed twice: {said}"

    clients = [threading.Thread(target=_noting, args=(race, failures := list[BaseException]())) for _ in range(2)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert not failures, failures[0]
    freed = {generation: count for (generation, status), count in replies.items() if status == 200}
    assert sum(replies.values()) == 2 * RACES
    assert set(freed.values()) == {1}, "a generation was released twice"
    assert {generation for generation, _ in replies} == freed.keys(), "an assignment was never released"


def _noting(work: Callable[[], None], failures: list[BaseException]) -> None:
    try:
        work()
    except BaseException as failure:  # noqa: BLE001 # of a thread, told by the test
        failures.append(failure)


# list


def test_pages_tell_every_machine_once(memory: Running) -> None:
    for number in range(5):
        assign(memory, f"page-{number}")
    everything = told(v1(memory, "GET", "/machines"), 200)
    assert everything["next"] is None
    found, after = [], ""
    while after is not None:
        page = told(v1(memory, "GET", f"/machines?limit=2&after={after}"), 200)
        assert len(page["machines"]) <= 2
        found += [machine["id"] for machine in page["machines"]]
        after = page["next"]
    assert found == [machine["id"] for machine in everything["machines"]]
    assigned = told(v1(memory, "GET", "/machines?state=assigned&project=page-3"), 200)["machines"]
    assert [machine["project"] for machine in assigned] == ["page-3"]
    for number in range(5):
        told(v1(memory, "DELETE", f"/projects/page-{number}/machine"), 200)


# pools


def test_sizes_changed_at_run_time_survive_a_restart_until_they_are_given_back(start: Start) -> None:
    service = start("--min-idle", "1", "--max-machines", "4")
    service.await_idle(1)
    changed = told(v1(service, "PATCH", "/pools/default", {"min_idle": 2, "limit": 3}), 200)
    assert (changed["min_idle"], changed["limit"]) == (2, 3)
    assert changed["configured"] == {"min_idle": 1, "max_idle": None, "limit": 4, "max_machines": None, "parked": None}
    service.await_idle(2)
    service.end()
    service.start()
    assert told(v1(service, "GET", "/pools/default"), 200)["min_idle"] == 2
    refused = told(v1(service, "PATCH", "/pools/default", {"min_idle": 5}), 400)
    assert refused["detail"] == "min_idle is 5, but must be at most the limit, which is 3."
    back = told(v1(service, "PATCH", "/pools/default", {"min_idle": None, "limit": None, "max_idle": 1}), 200)
    assert (back["min_idle"], back["limit"], back["max_idle"]) == (1, 4, 1)
    service.await_idle(1)


def test_a_paused_pool_starts_nothing_and_says_so(start: Start) -> None:
    service = start("--min-idle", "1", "--max-machines", "3")
    service.await_idle(1)
    assert told(v1(service, "PATCH", "/pools/default", {"paused": True}), 200)["paused"]
    assign(service, "last")
    refused = told(v1(service, "PUT", "/projects/next/machine"), 503)
    assert "is paused" in refused["detail"]
    assert len(service.containers()) == 1
    paused = "The pool default is paused, so no machine is started. Run `orchestrator resume` to go on."
    ready = call(service.ports.api, "GET", "/readyz")
    assert (ready.status, ready.json["problems"]) == (503, [paused])
    health = told(v1(service, "GET", "/health"), 200)
    assert (health["status"], health["problems"]) == ("down", [paused])
    told(v1(service, "PATCH", "/pools/default", {"paused": False}), 200)
    assign(service, "next")


# who may call


def test_probes_need_neither_token_nor_host_and_the_page_of_the_api_no_token(start: Start) -> None:
    service = start("--engine", "memory", start=False)
    token = service.folder / "token"
    token.write_text("a-token-of-tests-1234")
    token.chmod(0o600)
    service.flags = (*service.flags, "--token-file", str(token))
    service.start(await_answer=False)
    anybody: dict[str, str | None] = {"host": "10.1.2.3:80"}
    eventually(lambda: _status(service, "/livez", anybody) == 200, "it lives")
    eventually(lambda: _status(service, "/readyz", anybody) == 200, "it is ready")
    assert _status(service, "/docs", {}) == 200
    assert _status(service, "/openapi.json", {}) == 200
    for path in ("/metrics", "/v1/health", "/v1/events", "/v1/machines/x/terminal"):
        refused = call(service.ports.api, "GET", path)
        assert refused.status == 401, path
        assert refused.headers["www-authenticate"] == "Bearer"
    refused = call(service.ports.api, "GET", "/v1/health")
    assert refused.headers["content-type"] == "application/problem+json"
    assert json.loads(refused.body)["code"] == "unauthorized"
    with_token: dict[str, str | None] = {"authorization": "Bearer a-token-of-tests-1234"}
    assert _status(service, "/v1/health", with_token) == 200


def _status(service: Running, path: str, headers: dict[str, str | None]) -> int:
    try:
        return call(service.ports.api, "GET", path, headers=headers).status
    except OSError:
        return 0


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/projects/p/machine"), ("DELETE", "/machines/x"), ("PATCH", "/pools/default"), ("GET", "/events")],
)
def test_a_foreign_page_gets_nothing_of_v1(memory: Running, method: str, path: str) -> None:
    refused = v1(memory, method, path, Origin="https://evil.example")
    assert told(refused, 403)["code"] == "forbidden"
    assert "access-control-allow-origin" not in refused.headers


def test_a_front_end_on_loopback_may_use_all_methods(memory: Running) -> None:
    asked: dict[str, str | None] = {"origin": "http://localhost:3000", "access-control-request-method": "PATCH"}
    preflight = call(memory.ports.api, "OPTIONS", "/v1/pools/default", headers=asked)
    assert preflight.status == 204
    assert "PATCH" in preflight.headers["access-control-allow-methods"]


def test_a_request_is_found_again_by_its_id(memory: Running) -> None:
    answer = v1(memory, "PUT", "/projects/traced/machine", X_Request_Id="my-request-1")
    assert answer.headers["x-request-id"] == "my-request-1"
    eventually(lambda: "request=my-request-1" in memory.log, "the log names it")
    strange = v1(memory, "GET", "/health", X_Request_Id="a b")
    assert strange.headers["x-request-id"] != "a b"
    assert told(v1(memory, "GET", "/machines/nobody"), 404)["request_id"]
    told(v1(memory, "DELETE", "/projects/traced/machine"), 200)


@pytest.mark.parametrize(
    ("method", "path", "body", "says"),
    [
        ("PUT", "/projects/.p/machine", None, "'.p' is not a project id"),
        ("PUT", "/projects/p/machine", {"wait_seconds": -1}, "wait_seconds is -1, but must be from 0 to 3600."),
        ("PUT", "/projects/p/machine", {"wait": 1}, "Object contains unknown field `wait`"),
        ("PUT", "/projects/p/machine", b"{", "The body of this call is invalid"),
        ("PUT", "/projects/p/machine", {"metadata": {"": "x"}}, "a key has 1 to 64 characters"),
        ("DELETE", "/projects/p/machine?generation=x", None, "generation is 'x', but must be a whole number"),
        ("GET", "/machines?state=odd", None, "state is 'odd', but must be one of idle, parked, starting"),
        ("GET", "/machines?limit=0", None, "limit is '0', but must be a whole number from 1 to 1000."),
        ("GET", "/events?follow=perhaps", None, "follow is 'perhaps', but must be true or false."),
        ("PATCH", "/pools/default", {"limit": 0}, "limit is 0, but must be a whole number from 1 to 10000, or null."),
    ],
)
def test_bad_input_gets_a_sentence_that_says_what_is_allowed(
    memory: Running, method: str, path: str, body: object, says: str
) -> None:
    assert says in told(v1(memory, method, path, body), 400)["detail"]


def test_what_an_engine_cannot_do_is_said(memory: Running) -> None:
    machine = memory.machines()[0]["id"]
    for method, path, body in [
        ("POST", "exec", {"command": ["ls"]}),
        ("GET", "files?path=/x", None),
        ("GET", "stats", None),
    ]:
        assert told(v1(memory, method, f"/machines/{machine}/{path}", body), 501)["code"] == "not_supported"


# inside a worker


def test_a_client_that_hangs_up_leaves_no_command_behind(shared: Running) -> None:
    machine = assign(shared, "left")
    with closing(http.client.HTTPConnection("127.0.0.1", shared.ports.api, timeout=30)) as connection:
        body = json.dumps({"command": ["sleep", "4321"], "timeout_seconds": 600})
        connection.request("POST", f"/v1/machines/{machine['id']}/exec", body, {"Host": "localhost"})
        eventually(lambda: "sleep 4321" in processes(machine["id"]), "it runs")
    eventually(lambda: "sleep 4321" not in processes(machine["id"]), "it is gone")
    told(v1(shared, "DELETE", "/projects/left/machine"), 200)


def processes(machine_id: str) -> str:
    return docker("top", machine_id).out


def test_a_link_is_followed_and_a_folder_is_no_file(shared: Running) -> None:
    machine = assign(shared, "files")["id"]
    files = f"/machines/{machine}/files?path="
    told(v1(shared, "PUT", f"{files}/tmp/a.txt", b"a note"), 204)
    command = {"command": ["sh", "-c", "cd /tmp; ln -s a.txt b.txt; ln -s loop loop; ls -l a.txt"]}
    done = told(v1(shared, "POST", f"/machines/{machine}/exec", command), 200)
    assert done["stdout"].startswith("-rw-r--r--"), done
    assert v1(shared, "GET", f"{files}/tmp/b.txt").body == b"a note"
    assert "from link to link" in told(v1(shared, "GET", f"{files}/tmp/loop"), 400)["detail"]
    assert "application/x-tar" in told(v1(shared, "GET", f"{files}/tmp"), 400)["detail"]
    assert told(v1(shared, "GET", f"{files}/tmp/none"), 404)["code"] == "path_not_found"
    assert told(v1(shared, "PUT", f"{files}/none/a.txt", b"x"), 404)["code"] == "path_not_found"
    assert told(v1(shared, "GET", f"{files}tmp"), 400)["detail"].startswith(
        "path is 'tmp', but must be an absolute path"
    )
    told(v1(shared, "DELETE", f"/machines/{machine}"), 200)


def test_a_file_that_cannot_be_written_is_told_to_its_sender_with_its_path(shared: Running) -> None:
    """As an error of the caller; a path under a file is in no folder."""
    machine = assign(shared, "wrong-files")["id"]
    files = f"/machines/{machine}/files?path="
    for path, body, media, said in (
        ("/tmp", b"x", "text/plain", "/tmp is a folder in the container"),
        ("/srv/files", b"x", "text/plain", "/srv/files is a folder in the container"),
        ("/srv/index.html/x", b"x", "text/plain", "/srv/index.html is not a folder in the container"),
        ("/srv/index.html", b"x" * 1024, "application/x-tar", "/srv/index.html is not a folder in the container"),
        ("/srv/files", b"x" * 1000, "application/x-tar", "What was sent for /srv/files is not a whole tar archive"),
        (
            "/srv/files",
            b"x" * 3_000_000,
            "application/x-tar",
            "What was sent for /srv/files is not a whole tar archive",
        ),
    ):
        problem = told(v1(shared, "PUT", f"{files}{path}", body, content_type=media), 400)
        assert problem["code"] == "invalid_request"
        assert problem["detail"].startswith(said)
        assert "/var/lib" not in problem["detail"]
    reached = told(v1(shared, "GET", f"{files}/proc/1/status"), 400)
    assert reached["code"] == "path_out_of_reach"
    told(v1(shared, "DELETE", f"/machines/{machine}"), 200)


def test_a_file_may_be_larger_than_other_bodies(shared: Running) -> None:
    machine = assign(shared, "large")["id"]
    content = bytes(range(256)) * 4096 * 8
    told(v1(shared, "PUT", f"/machines/{machine}/files?path=/tmp/large", content), 204)
    assert v1(shared, "GET", f"/machines/{machine}/files?path=/tmp/large").body == content
    too_large = call(
        shared.ports.api, "PUT", f"/v1/machines/{machine}/files?path=/x", headers={"content-length": str(2**31)}
    )
    assert too_large.status == 413
    told(v1(shared, "DELETE", f"/machines/{machine}"), 200)
