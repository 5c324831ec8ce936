"""The API document, line by line, against the real service on real Docker."""

from __future__ import annotations

import http.client
import re
import socket
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.integration.calling import Answer, call
from tests.integration.conftest import Start
from tests.integration.docker_command import LABEL, a_name, docker, docker_json, is_podman
from tests.integration.running import Running
from tests.integration.waiting import PortBlock, eventually

MACHINE_ID = re.compile(r"worker-\d{13}-[a-z0-9]{9}")
PROJECT = "cmj7fop3s0002tt2w50m0rvex"  # the document's own
NO_MACHINE = "Failed to create worker or no machines available"


@pytest.fixture(scope="module")
def api(shared: Running) -> Running:
    return shared


@pytest.fixture(autouse=True)
def _as_it_was(api: Running) -> Iterator[None]:
    """No test leaves a machine assigned to the next one."""
    yield
    for machine in api.machines():
        if machine["isUsed"]:
            api.release(machine["id"])


def assert_error(answer: Answer, status: int, error: str | None = None) -> None:
    """JSON with `error`, perhaps a `message`, and nothing else."""
    assert answer.status == status, answer.text
    assert set(answer.json) <= {"error", "message"}
    assert answer.json["error"]
    if error is not None:
        assert answer.json["error"] == error


# 1.1 assign


def test_assign_answers_as_documented(api: Running) -> None:
    """200 with ip, port, url and containerId, and the URL answers at once."""
    answer = api.get(f"/{PROJECT}")
    assert answer.status == 200
    machine = answer.json
    assert list(machine) == ["ip", "port", "url", "containerId"]
    assert machine["ip"] == "localhost"
    assert isinstance(machine["port"], int)
    assert api.ports.first <= machine["port"] <= api.ports.last
    assert machine["url"] == f"http://localhost:{machine['port']}"
    assert MACHINE_ID.fullmatch(machine["containerId"])
    with urllib.request.urlopen(machine["url"], timeout=5) as page:
        assert page.status == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"


def test_a_project_that_asks_again_gets_the_same_machine(api: Running) -> None:
    """However often it asks."""
    assert api.assign(PROJECT) == api.assign(PROJECT) == api.assign(PROJECT)


def test_two_projects_get_two_machines(api: Running) -> None:
    """A machine has at most one project."""
    first, second = api.assign("one"), api.assign("two")
    assert first["containerId"] != second["containerId"]
    assert first["port"] != second["port"]


def test_ten_requests_at_once_for_one_project_share_one_machine(api: Running) -> None:
    """Whoever comes last is not last in line."""
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: api.get("/ten-at-once"), range(10)))
    assert [answer.status for answer in answers] == [200] * 10
    assert len({answer.json["containerId"] for answer in answers}) == 1
    assert sum(machine["isUsed"] for machine in api.machines()) == 1


def test_a_worker_is_created_where_none_is_idle(api: Running) -> None:
    """More than the pool keeps ready."""
    machines = [api.assign(f"project-{number}") for number in range(4)]
    assert len({machine["containerId"] for machine in machines}) == 4


@pytest.mark.parametrize(
    "project",
    ["a", "0", "_", "~", "-", ":", "@", "+", "=", ",", "a.b", "A-Za_z0.9~:@+=,", "x" * 128, "worker-1-abc", "%61bc"],
)
def test_a_valid_project_id_gets_a_machine(api: Running, project: str) -> None:
    """1 to 128 letters, digits or . _ ~ : @ + = , - that do not start with a dot."""
    answer = api.get(f"/{project}")
    assert answer.status == 200, answer.text
    held = [machine["assignedProject"] for machine in api.machines() if machine["isUsed"]]
    assert held == [project.replace("%61", "a")]


@pytest.mark.parametrize(
    "project",
    [
        "x" * 129,
        ".hidden",
        "..",
        "bad%20id",
        "caf%C3%A9",
        "%E2%82%AC",
        "a%00b",
        "a%0Ab",
        "a*b",
        "%22",
        "a%25b",
        "%FF",
    ],
)
def test_an_invalid_project_id_is_refused_and_takes_no_machine(api: Running, project: str) -> None:
    """400 with one sentence that says what is allowed."""
    answer = api.get(f"/{project}")
    assert_error(answer, 400, "Invalid project id")
    assert "1 to 128 letters" in answer.json["message"]
    assert not any(machine["isUsed"] for machine in api.machines())


NOTHING_THERE = """
    /a/b // /a// //a /a%2Fb /machines /machines/ /machines/list// /machines/x /health/x /health// /destroy/x
    /v1 /docs/x /openapi.json/x /metrics/x /livez/x /readyz/x /login/x /logout/x /assets /assets/x /static /robots.txt
    /favicon.ico /apple-touch-icon.png /apple-touch-icon-precomposed.png
    /.well-known /.well-known/appspecific/com.chrome.devtools.json
"""


def test_one_trailing_slash_changes_nothing(api: Running) -> None:
    """As in Express without strict routing, where this API comes from."""
    assert api.get("/health/").json["status"] == "ok"
    assert len(api.get("/machines/list/").json["machines"]) == len(api.machines())
    assert api.get(f"/{PROJECT}/").json == api.assign(PROJECT)
    assert call(api.ports.api, "POST", "/destroy/", {}).status == 400
    assert call(api.ports.api, "DELETE", f"/{PROJECT}/").json == {"message": f"Machine {PROJECT} released"}


@pytest.mark.parametrize(
    ("query", "tag"), [("?generation=1", None), ("?a=b&Generation=1", None), ("", '"1"'), ("", '""')]
)
def test_whoever_insists_on_a_generation_here_is_told_where_that_can_be_done(
    api: Running, query: str, tag: str | None
) -> None:
    """To release whoever has the machine now is what he wanted to rule out."""
    mine = api.assign("fenced")
    for method, path, body in (
        ("DELETE", "/fenced", None),
        ("DELETE", f"/{mine['containerId']}", None),
        ("POST", "/destroy", {"containerId": mine["containerId"]}),
    ):
        refused = call(api.ports.api, method, path + query, body, {"If-Match": tag})
        assert refused.status == 400
        assert "DELETE /v1/projects/{project}/machine" in refused.json["message"]
    assert api.assign("fenced") == mine
    assert call(api.ports.api, "DELETE", "/fenced?other=1", None, {"If-Match": "*"}).status == 200


@pytest.mark.parametrize("path", NOTHING_THERE.split())
def test_a_reserved_name_or_unknown_path_is_not_found(api: Running, path: str) -> None:
    """What a browser asks for by itself takes no machine."""
    assert_error(api.get(path), 404, "Not found")
    assert not any(machine["isUsed"] for machine in api.machines())


@pytest.mark.parametrize("path", ["/v1/machines", "/docs", "/openapi.json", "/metrics", "/livez", "/readyz", "/login"])
def test_a_reserved_name_with_something_there_takes_no_machine(api: Running, path: str) -> None:
    """The names that are no project ids are those of routes beyond the document."""
    assert api.get(path).status == 200
    assert not any(machine["isUsed"] for machine in api.machines())


def test_the_index_says_what_is_here(api: Running) -> None:
    """Whoever opens the base URL is told where to go."""
    answer = api.get("/")
    assert answer.status == 200
    assert answer.json["service"] == "worker-orchestrator"
    assert not any(machine["isUsed"] for machine in api.machines())


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/", {"GET", "HEAD"}),
        ("PUT", "/some-project", {"GET", "HEAD", "DELETE"}),
        ("POST", "/some-project", {"GET", "HEAD", "DELETE"}),
        ("PATCH", "/some-project", {"GET", "HEAD", "DELETE"}),
        ("GET", "/destroy", {"POST"}),
        ("DELETE", "/destroy", {"POST"}),
        ("HEAD", "/destroy", {"POST"}),
        ("POST", "/health", {"GET", "HEAD"}),
        ("DELETE", "/health", {"GET", "HEAD"}),
        ("DELETE", "/machines/list", {"GET", "HEAD"}),
    ],
)
def test_another_method_is_not_allowed(api: Running, method: str, path: str, allowed: set[str]) -> None:
    """405 in JSON, and Allow says what is."""
    answer = call(api.ports.api, method, path)
    assert answer.status == 405
    assert set(answer.headers["allow"].split(", ")) == allowed
    if method == "HEAD":
        assert answer.body == b""
    else:
        assert_error(answer, 405, "Method not allowed")
    assert not any(machine["isUsed"] for machine in api.machines())


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("HEAD", {}),
        ("OPTIONS", {}),
        ("GET", {"Sec-Purpose": "prefetch"}),
        ("GET", {"Sec-Purpose": "prefetch;prerender"}),
        ("GET", {"Purpose": "prefetch"}),
        ("GET", {"X-Moz": "prefetch"}),
    ],
)
def test_a_look_takes_no_machine(api: Running, method: str, headers: dict[str, str]) -> None:
    """Neither HEAD nor OPTIONS, nor what a browser fetches in advance."""
    answer = call(api.ports.api, method, "/just-looking", None, headers)
    assert answer.status == {"HEAD": 404, "OPTIONS": 204, "GET": 503}[method]
    assert api.machine_of("just-looking") is None


def test_head_of_an_assigned_project_is_what_get_says(api: Running) -> None:
    """Without the body."""
    expected = api.get(f"/{PROJECT}")
    answer = call(api.ports.api, "HEAD", f"/{PROJECT}")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == expected.headers["content-length"]


# 1.2 release


@pytest.mark.parametrize("named_by", ["project", "machine id", "container id", "whole container id"])
def test_a_machine_is_released_by_any_of_its_names(api: Running, named_by: str) -> None:
    """The reply names what was asked for; the machine is idle again and can be assigned anew."""
    machine = api.assign(PROJECT)
    native = docker_json("inspect", machine["containerId"])["Id"]
    names = {"project": PROJECT, "machine id": machine["containerId"]}
    name = {**names, "container id": native[:12], "whole container id": native}[named_by]
    answer = api.delete(name)
    assert (answer.status, answer.json) == (200, {"message": f"Machine {name} released"})
    eventually(lambda: machine["containerId"] in api.idle(), "the machine is idle")


def test_what_is_unknown_cannot_be_released(api: Running) -> None:
    """404, for a project that has no machine as for a name that never was one."""
    for name in ("no-such-project", "worker-1000000000000-aaaaaaaaa", "0" * 12, "0" * 64, "bad%20id"):
        answer = api.delete(name)
        assert answer.status == 404
        assert answer.json == {"error": "Machine not found"}


def test_a_project_that_was_released_has_nothing_to_release(api: Running) -> None:
    """The second time is a 404 by project; an idle machine, by its own id, stays idle."""
    machine = api.assign(PROJECT)
    api.release(PROJECT)
    assert_error(api.delete(PROJECT), 404, "Machine not found")
    api.release(machine["containerId"])
    eventually(lambda: machine["containerId"] in api.idle(), "the machine is idle")


# 1.3 destroy


@pytest.mark.parametrize("named_by", ["machine id", "container id", "whole container id"])
def test_a_machine_is_destroyed_by_its_ids(api: Running, named_by: str) -> None:
    """The reply names what was asked for, and when it comes the container is gone."""
    machine = api.assign(PROJECT)["containerId"]
    native = docker_json("inspect", machine)["Id"]
    name = {"machine id": machine, "container id": native[:12], "whole container id": native}[named_by]
    answer = api.post_destroy(name)
    assert (answer.status, answer.json) == (200, {"message": f"Container {name} destroyed successfully"})
    assert docker("container", "inspect", machine, check=False).failed
    assert machine not in [found["id"] for found in api.machines()]
    assert api.machine_of(PROJECT) is None
    assert api.assign(PROJECT)["containerId"] != machine


def test_a_destroy_can_be_repeated(api: Running) -> None:
    """What is gone is gone."""
    machine = api.assign(PROJECT)["containerId"]
    api.destroy(machine)
    api.destroy(machine)


def test_an_idle_machine_can_be_destroyed(api: Running) -> None:
    """The pool replaces it."""
    machine = eventually(api.idle, "an idle machine")[0]
    api.destroy(machine)
    assert machine not in api.idle()
    eventually(lambda: len(api.idle()) >= 2, "the pool is full again")


@pytest.mark.parametrize(
    "body",
    [
        *({}, {"containerId": ""}, {"containerId": None}, {"containerId": 7}, {"containerId": ["a"]}, {"id": "a"}),
        *([], "text", 7, None, b"", b"no json", b"{", b"\xff", b"null", b'{"containerId"'),
    ],
)
def test_a_destroy_that_names_nothing_is_refused(api: Running, body: object) -> None:
    """400, whatever else the body holds."""
    answer = call(api.ports.api, "POST", "/destroy", body)
    assert answer.status == 400
    assert answer.json == {"error": "containerId is required"}


def test_a_destroy_needs_no_content_type(api: Running) -> None:
    """JSON is what it is."""
    answer = call(api.ports.api, "POST", "/destroy", b"{}", {"Content-Type": None})
    assert_error(answer, 400, "containerId is required")


def test_a_body_that_is_too_large_is_refused(api: Running) -> None:
    """413 in JSON; nothing is read without end."""
    answer = call(api.ports.api, "POST", "/destroy", b" " * (1024 * 1024 + 1))
    assert_error(answer, 413)


def test_a_destroy_of_what_is_unknown_fails(api: Running) -> None:
    """500 with the reason; a project id is no container id."""
    api.assign(PROJECT)
    for name in ("worker-1000000000000-aaaaaaaaa", "0" * 12, "no such name", PROJECT):
        answer = api.post_destroy(name)
        assert_error(answer, 500, "Failed to destroy container")
        assert name in answer.json["message"]
    assert api.machine_of(PROJECT) is not None


def test_containers_of_others_are_never_touched(api: Running) -> None:
    """Neither a plain one, nor one that is only named like ours, nor another owner's."""
    others = a_name("other-owner")
    machine = "worker-1700000000000-0123abcde"
    labels = ("--label", f"{LABEL}.machine={machine}", "--label", f"{LABEL}.owner={others}")
    names = [a_name("plain"), f"worker-1700000000001-{a_name('named')}", f"{machine}-{a_name('foreign')}"]
    try:
        for name in names:
            labelled = labels if name == names[-1] else ()
            native = docker("run", "-d", "--name", name, *labelled, "worker-orchestrator-example").out
            for asked in (native, native[:12], name, machine):
                assert_error(api.post_destroy(asked), 500, "Failed to destroy container")
                assert_error(api.delete(asked), 404, "Machine not found")
            assert docker_json("inspect", native)["State"]["Status"] == "running"
            assert native[:12] not in {found["containerId"] for found in api.machines()}
    finally:
        docker("rm", "-f", *names, check=False)


# 2. health and listing


def test_health_answers_as_documented(api: Running) -> None:
    """Totals that agree with the listing."""
    api.assign(PROJECT)
    answer = api.get("/health")
    assert answer.status == 200
    assert list(answer.json) == ["status", "docker", "machines"]
    assert (answer.json["status"], answer.json["docker"]) == ("ok", "connected")
    counts = answer.json["machines"]
    assert list(counts) == ["total", "idle", "used"]
    assert counts["used"] == 1
    assert counts["total"] == counts["idle"] + counts["used"]


def test_the_listing_answers_as_documented(api: Running) -> None:
    """Its container ids are Docker's own, 12 digits, and its addresses those in Docker's network."""
    mine = api.assign(PROJECT)
    answer = api.get("/machines/list")
    assert answer.status == 200
    assert list(answer.json) == ["machines"]
    machines = answer.json["machines"]
    assert len(machines) >= 2
    for machine in machines:
        keys = ["id", "containerId", "ip", "port", "isUsed", "assignedProject", "url"]
        assert list(machine) == keys
        found = docker_json("inspect", machine["id"])
        assert found["Id"].startswith(machine["containerId"])
        assert len(machine["containerId"]) == 12
        assert MACHINE_ID.fullmatch(machine["id"])
        assert machine["ip"] in [net["IPAddress"] for net in found["NetworkSettings"]["Networks"].values()]
        assert machine["url"] == f"http://localhost:{machine['port']}"
        assert machine["isUsed"] is (machine["assignedProject"] is not None)
    used = [machine for machine in machines if machine["isUsed"]]
    assert [machine["assignedProject"] for machine in used] == [PROJECT]
    assert used[0]["id"] == mine["containerId"]
    assert used[0]["url"] == mine["url"]


# what a worker container is


def test_a_worker_gets_the_documented_environment(api: Running) -> None:
    """DATABASE_URL names the host, and the host's name resolves inside the worker."""
    name = api.assign(PROJECT)["containerId"]
    database = "postgresql://postgres:postgres@host.docker.internal:5432/postgres"
    assert f"DATABASE_URL={database}" in docker("exec", name, "env").lines
    hosts = docker("exec", name, "cat", "/etc/hosts").out
    assert re.search(r"^[0-9.]+\s+host\.docker\.internal$", hosts, re.MULTILINE)


def test_a_worker_reaches_a_service_of_the_host(api: Running) -> None:
    """That is what host.docker.internal is for."""
    name = api.assign(PROJECT)["containerId"]
    with socket.create_server(("0.0.0.0", 0)) as server:
        server.settimeout(20)
        port = server.getsockname()[1]
        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(docker, "exec", name, "nc", "host.docker.internal", str(port))
            peer, _ = server.accept()
            with peer:
                peer.sendall(b"hello worker\n")
            assert asking.result().out == "hello worker"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_worker_is_published_on_both_loopback_addresses(api: Running, address: str) -> None:
    """`localhost` is ::1 first for some clients. Nothing is published beyond the host."""
    published = {"127.0.0.1"} if is_podman() else {"127.0.0.1", "::1"}  # it publishes nothing on IPv6
    machine = api.assign(PROJECT)
    if address in published:
        assert call(machine["port"], "GET", "/health", host=address).status == 200
    bindings = docker_json("inspect", machine["containerId"])["HostConfig"]["PortBindings"]["9092/tcp"]
    assert {binding["HostIp"] for binding in bindings} == published


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_service_listens_on_both_loopback_addresses(api: Running, address: str) -> None:
    """And nowhere else."""
    assert call(api.ports.api, "GET", "/health", host=address).status == 200


# who may call

LOCAL_HOSTS = """
    localhost localhost:{port} LOCALHOST localhost. 127.0.0.1 127.0.0.1:{port} [::1] [::1]:{port}
    host.docker.internal host.docker.internal:{port}
"""
FOREIGN_HOSTS = """
    evil.example evil.example:{port} localhost.evil.example evil.localhost.example user@localhost localhost:99999
    10.0.0.1 169.254.169.254
"""


@pytest.mark.parametrize("host", LOCAL_HOSTS.split())
def test_a_name_of_this_machine_may_be_called(api: Running, host: str) -> None:
    """With and without the port, in any case."""
    assert api.get("/health", {"Host": host.format(port=api.ports.api)}).status == 200


@pytest.mark.parametrize("host", ["", *FOREIGN_HOSTS.split()])
def test_another_host_name_is_refused(api: Running, host: str) -> None:
    """A foreign name that resolves to 127.0.0.1 would make a foreign page same-origin with this service."""
    for method, path in (("GET", "/rebound"), ("DELETE", "/rebound"), ("POST", "/destroy"), ("GET", "/machines/list")):
        answer = call(api.ports.api, method, path, None, {"Host": host.format(port=api.ports.api)})
        assert_error(answer, 403, "Host not allowed")
    assert api.machine_of("rebound") is None


def test_a_request_without_a_host_is_refused(api: Running) -> None:
    """No browser sends one, and nobody else must."""
    answer = api.get("/without-host", {"Host": None})
    assert answer.status in {400, 403}
    assert api.machine_of("without-host") is None


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "file://"},
    ],
)
def test_a_foreign_page_is_refused(api: Running, headers: dict[str, str]) -> None:
    """Its GET would take a machine. It can read nothing either."""
    for method, path in (("GET", "/cross-site"), ("DELETE", "/cross-site"), ("POST", "/destroy"), ("OPTIONS", "/a")):
        answer = call(api.ports.api, method, path, None, headers)
        assert_error(answer, 403, "Cross-site request refused")
        assert "access-control-allow-origin" not in answer.headers
    assert api.machine_of("cross-site") is None


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "same-site", "Referer": "http://localhost:3000/projects"},
    ],
)
def test_what_a_browser_sends_by_itself_is_allowed(api: Running, headers: dict[str, str]) -> None:
    """A person who types the URL, a link on the service's own page, a link on a front end on another port."""
    assert api.get("/health", headers).status == 200


@pytest.mark.parametrize("port", ["", ":{first}", ":{last}"])
def test_a_link_on_the_page_of_a_worker_is_refused(api: Running, port: str) -> None:
    """A worker's page is same-site too; one that hides where it comes from may be one."""
    named = f"http://localhost{port.format(first=api.ports.first, last=api.ports.last)}/" if port else None
    answer = api.get("/cross-site", {"Sec-Fetch-Site": "same-site", "Referer": named})
    assert_error(answer, 403, "Cross-site request refused")
    assert api.machine_of("cross-site") is None


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1:5173", "http://[::1]:8080"])
def test_a_local_page_may_call_and_read(api: Running, origin: str) -> None:
    """A developer's own front end, on errors too."""
    answer = api.get(f"/{PROJECT}", {"Origin": origin, "Sec-Fetch-Site": "same-site"})
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == origin
    assert "Origin" in answer.headers["vary"]
    failed = call(api.ports.api, "DELETE", "/nobody", None, {"Origin": origin})
    assert failed.status == 404
    assert failed.headers["access-control-allow-origin"] == origin


def test_a_preflight_of_a_local_page_is_answered(api: Running) -> None:
    """For every method and header of this API, from a public address space too."""
    asked = {
        "Origin": "http://localhost:3000",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
        "Access-Control-Request-Private-Network": "true",
    }
    answer = call(api.ports.api, "OPTIONS", "/destroy", None, asked)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert {"GET", "POST", "DELETE"} <= set(answer.headers["access-control-allow-methods"].split(", "))
    assert answer.headers["access-control-allow-headers"] == "content-type"
    assert answer.headers["access-control-allow-private-network"] == "true"


def test_names_and_origins_can_be_allowed(start: Start) -> None:
    """By setting, and only those."""
    flags = ("--allow-host", "dev.example", "--allow-origin", "https://app.example", "--min-idle", "0")
    service = start(*flags, "--engine", "memory")
    assert service.get("/health", {"Host": "dev.example"}).status == 200
    assert service.get("/health", {"Host": "other.example"}).status == 403
    allowed = service.get("/health", {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"})
    assert allowed.headers["access-control-allow-origin"] == "https://app.example"
    assert service.get("/health", {"Origin": "http://app.example"}).status == 403


# the server itself


def test_many_requests_share_one_connection(api: Running) -> None:
    """Errors too leave it open."""
    connection = http.client.HTTPConnection("127.0.0.1", api.ports.api, timeout=10)
    try:
        for path, status in (("/health", 200), ("/a/b", 404), ("/bad%20id", 400), ("/machines/list", 200)):
            connection.request("GET", path, headers={"Host": "localhost"})
            response = connection.getresponse()
            response.read()
            assert response.status == status
    finally:
        connection.close()


def test_no_request_waits_for_another(api: Running) -> None:
    """A client that sends half a request, or none, holds nobody up."""
    with socket.create_connection(("127.0.0.1", api.ports.api), timeout=5) as slow:
        slow.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n")
        assert api.get("/health").took_s < 2
    assert api.machine_of("slow") is None


def test_the_document_holds_without_docker(start: Start) -> None:
    """The demo engine answers in the same way."""
    service = start("--engine", "memory")
    service.await_idle(2)
    machine = service.assign(PROJECT)
    with urllib.request.urlopen(machine["url"].replace("localhost", "127.0.0.1"), timeout=5) as page:
        assert machine["containerId"] in page.read().decode()
    service.release(PROJECT)
    service.destroy(machine["containerId"])
    assert service.get("/health").json["docker"] == "connected"


def test_blocks_of_ports_do_not_overlap() -> None:
    """What keeps these tests apart."""
    first, second = PortBlock.claim(), PortBlock.claim()
    assert first.last < second.api or second.last < first.api
    first.close()
    second.close()
