"""The service against slow, broken, greedy and unknown callers: others are answered meanwhile, and memory is bounded."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import psutil
import pytest
from tests.integration.calling import Answer, call
from tests.integration.docker_command import a_name, docker, is_podman, make_image
from tests.integration.running import Running, a_service, orchestrator
from tests.integration.waiting import PortBlock, eventually

MEMORY: Final = ("--engine", "memory", "--min-idle", "1")
HEAD: Final = b"Host: localhost\r\n\r\n"
TOKEN: Final = "tok-5ad0c1e7f2b94a6f"
SECRET: Final = "pa55-9d1c4e77b0"
QUICK_S: Final = 3.0
"""Generous, since the computer may be busy; a caller that is kept out waits much longer."""
LINE: Final = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:.]+ \[\w+ +\] .+|  The pool is at .+|      (orchestrator|curl) .+|  --on-release .+|"
    r"  Careful: .+|"
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One for all tests that leave it as they found it. At the end its log has one line for each thing that happened."""
    with a_service(tmp_path_factory.mktemp("edge"), *MEMORY, "--max-connections", "3000") as running:
        running.await_idle(1)
        yield running
        assert_tidy(running)


def assert_tidy(service: Running) -> None:
    assert service.process is not None
    assert service.process.poll() is None, "it ended"
    odd = [line for line in service.log.splitlines() if not LINE.fullmatch(line)]
    assert not odd, "lines that are no log lines"


def connect(service: Running, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.ports.api), timeout=30, source_address=(source, 0))


def heard(client: socket.socket) -> bytes:
    """All that the service says until it hangs up."""
    said = b""
    try:
        while more := client.recv(1 << 16):
            said += more
    except ConnectionError:
        pass
    return said


def statuses(said: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", said)]


def pour(client: socket.socket, part: bytes, most: int) -> int:
    """Send a part again and again, at most so many bytes. Returns how many went before the service hung up."""
    sent = 0
    try:
        while sent < most:
            client.sendall(part)
            sent += len(part)
    except OSError:
        pass
    return sent


@contextmanager
def bounded(service: Running, mib: float = 30) -> Iterator[None]:
    """Meanwhile the service answers others at once, and at no time has grown by more than this."""
    process, over, slowest, peak = psutil.Process(service.pid), threading.Event(), 0.0, 0
    service.get("/health")
    before = process.memory_info().rss

    def watch() -> None:
        nonlocal slowest, peak
        while not over.is_set():
            answer = service.get("/health", timeout_s=30)
            assert answer.status == 200
            slowest, peak = max(slowest, answer.took_s), max(peak, process.memory_info().rss)
            over.wait(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    assert slowest < QUICK_S, "another caller had to wait"
    assert peak - before < mib * 2**20, f"it grew by {(peak - before) / 2**20:.0f} MiB"


# slow and broken ones


def send_slowly(client: socket.socket, data: bytes) -> None:
    """A byte a second."""
    for byte in data:
        client.sendall(b"%c" % byte)
        time.sleep(1)


def test_what_does_not_come_in_time_is_hung_up_on(service: Running) -> None:
    """Nothing, half a head, a byte a second, half a head after a request: within some 10 s, and 408 where anything came."""
    starts = [b"", b"GET /health HT", b"GET /", b"GET /health HTTP/1.1\r\n" + HEAD + b"GET /he"]
    with bounded(service), ExitStack() as stack:
        begun = time.monotonic()
        clients = [stack.enter_context(connect(service)) for _ in starts]
        for client, start in zip(clients, starts, strict=True):
            client.sendall(start)
        trickle = threading.Thread(target=send_slowly, args=(clients[2], b"eeeeeeee"))
        trickle.start()
        said = [heard(client) for client in clients]
        took_s = time.monotonic() - begun
        trickle.join()
    assert [statuses(part) for part in said] == [[], [408], [408], [200, 408]]
    assert json.loads(said[1].partition(b"\r\n\r\n")[2])["error"] == "Request timeout"
    assert 8 < took_s < 20


@pytest.mark.parametrize(
    "part", [b"a: " + b"x" * 8000 + b"\r\n", b"x" * 8000, b"a:\r\n" * 2000], ids=["fields", "one", "short"]
)
def test_180_mb_of_head_are_not_read(service: Running, part: bytes) -> None:
    def send() -> None:
        with connect(service) as client:
            client.sendall(b"GET / HTTP/1.1\r\na: ")
            assert pour(client, part, 180_000_000) < 60_000_000
            assert statuses(heard(client)) in ([431], [])  # a client that never reads may lose it

    with bounded(service):
        clients = [threading.Thread(target=send) for _ in range(8)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()


def test_a_head_that_is_too_large_is_told_so(service: Running) -> None:
    for client_sends in (b"GET / HTTP/1.1\r\na: " + b"x" * 100_000, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + HEAD):
        with connect(service) as client:
            client.sendall(client_sends)
            said = heard(client)
        assert statuses(said) == [431]
        assert b"content-type: application/json" in said
        assert json.loads(said.partition(b"\r\n\r\n")[2])["error"] == "Request head too large"


def test_a_body_that_is_too_large_is_told_so_before_it_is_sent(service: Running) -> None:
    with connect(service) as client, bounded(service):
        client.sendall(b"POST /destroy HTTP/1.1\r\nContent-Length: 10000000000\r\n" + HEAD)
        assert statuses(heard(client)) == [413]
    largest = call(service.ports.api, "POST", "/destroy", b" " * 1024 * 1024)
    assert (largest.status, largest.json["error"]) == (400, "containerId is required")
    assert call(service.ports.api, "POST", "/destroy", b" " * (1024 * 1024 + 1)).status == 413


def test_a_body_in_chunks_that_grows_too_large_is_not_read_on(service: Running) -> None:
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    for route in (b"POST /destroy", b"GET /health", b"DELETE /nobody"):
        with connect(service) as client, bounded(service):
            client.sendall(route + b" HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HEAD)
            assert pour(client, chunk, 500_000_000) < 60_000_000


@pytest.mark.parametrize(
    "data",
    [b"garbage\r\n\r\n", bytes(range(256)) * 40, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
     b"GET / HTTP/9.9\r\n\r\n"],
    ids=["words", "bytes", "TLS", "HTTP/9.9"],
)  # fmt: skip
def test_what_is_no_http_is_answered_in_json_and_not_logged(service: Running, data: bytes) -> None:
    before = service.log
    for _ in range(50):
        with connect(service) as client:
            client.sendall(data)
            said = heard(client)
            assert statuses(said) == [400]
            assert json.loads(said.partition(b"\r\n\r\n")[2])["error"] == "Bad request"
    assert service.log == before


def test_ten_thousand_requests_ahead_of_their_replies_are_bounded(service: Running) -> None:
    """They are answered in order, until the service ends the connection."""
    packet = (b"GET /machines/list HTTP/1.1\r\n" + HEAD) * 10_000
    with bounded(service), connect(service) as client:
        sender = threading.Thread(target=pour, args=(client, packet, 1))
        sender.start()
        said = heard(client)
        sender.join()
    assert set(statuses(said)) == {200}
    assert len(statuses(said)) > 100
    assert said.count(b"connection: close") == 1


def test_a_client_that_never_reads_costs_nobody_anything(service: Running) -> None:
    packet = (b"GET /machines/list HTTP/1.1\r\n" + HEAD) * 90
    with bounded(service), ExitStack() as stack:
        clients = [stack.enter_context(connect(service)) for _ in range(100)]
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(0.01)
            pour(client, packet, 1_000_000)
        time.sleep(1)


def test_clients_that_go_in_the_middle_leave_nothing_behind(service: Running) -> None:
    """Also those that wait for a machine: they get none."""
    starts = [
        b"GET /gone",
        b"POST /destroy HTTP/1.1\r\nContent-Length: 99\r\n" + HEAD + b"{",
        b"GET /gone%d HTTP/1.1\r\n" + HEAD,
    ]
    with bounded(service):
        for number in range(60):
            start = starts[number % 3]
            with connect(service) as client:
                client.sendall(start % number if b"%d" in start else start)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    for machine in service.machines():
        if machine["isUsed"]:
            service.release(machine["id"])
    assert service.get("/health").status == 200


# many


def test_two_thousand_idle_connections_keep_nobody_out(service: Running) -> None:
    with bounded(service, mib=60), ExitStack() as stack:
        for number in range(2000):
            stack.enter_context(connect(service, f"127.0.0.{2 + number % 5}"))
        assert all(service.get("/mine").took_s < QUICK_S for _ in range(20))
        service.release("mine")


def test_too_many_connections_of_one_client_close_its_longest_idle_one(tmp_path: Path) -> None:
    with a_service(tmp_path / "few", *MEMORY, "--max-connections", "5") as running, ExitStack() as stack:
        idle = [stack.enter_context(connect(running)) for _ in range(5)]
        assert running.get("/health").status == 200
        assert heard(idle[0]) == b""
        busy = [stack.enter_context(connect(running)) for _ in range(5)]
        assert [heard(client) for client in idle] == [b""] * 5
        for client in busy:
            client.sendall(b"POST /destroy HTTP/1.1\r\nContent-Length: 9\r\n" + HEAD)
        eventually(lambda: running.get("/health").status == 503, "there is no room")
        refused = running.get("/health")
        assert (refused.json["error"], refused.headers["retry-after"]) == ("Too many connections", "1")
        assert call(running.ports.api, "GET", "/health", host="127.0.0.1").status == 503
        with connect(running, "127.0.0.9") as other:
            other.sendall(b"GET /health HTTP/1.0\r\n" + HEAD)
            assert statuses(heard(other)) == [200]
        busy[0].close()
        eventually(lambda: running.get("/health").status == 200, "there is room again")
        assert_tidy(running)


def test_file_descriptors_never_run_out(tmp_path: Path) -> None:
    """A hard limit of 400 for the process, and 600 idle connections from several addresses."""
    limited = ("prlimit", "--nofile=100:400", sys.executable, "-m", "worker_orchestrator")
    with a_service(tmp_path / "low", *MEMORY, start=False) as running, ExitStack() as stack:
        running.start(command=limited)
        for number in range(600):
            stack.enter_context(connect(running, f"127.0.0.{2 + number % 3}"))
            if number % 50 == 0:
                assert running.get("/health").took_s < QUICK_S
        assert psutil.Process(running.pid).num_fds() < 200
        assert running.get("/mine").status == 200
        assert_tidy(running)


# how often


def test_a_rate_limit_counts_for_each_client_and_says_when_to_come_back(tmp_path: Path) -> None:
    with a_service(tmp_path / "rate", *MEMORY, "--rate-limit", "1", start=False) as running:
        running.start(await_answer=False)
        eventually(lambda: "The pool is at" in running.log, "it runs")
        with connect(running) as client:  # in one packet, so that no time passes between them
            client.sendall((b"GET /health HTTP/1.1\r\n" + HEAD) * 2 + b"GET /health HTTP/1.0\r\n" + HEAD)
            said = heard(client)
        assert statuses(said) == [200, 200, 429]
        assert said.count(b"retry-after: 1\r\n") == 1
        assert json.loads(said.rpartition(b"\r\n\r\n")[2])["error"] == "Too many requests"
        with connect(running, "127.0.0.9") as other:
            other.sendall(b"GET /health HTTP/1.0\r\n" + HEAD)
            assert statuses(heard(other)) == [200]
        eventually(lambda: running.get("/health").status == 200, "the bucket fills again")


def test_what_needs_no_token_has_a_rate_of_its_own(tmp_path: Path) -> None:
    """Else who has none could ask for it without end, or use up what is for those who have one."""
    with a_service(tmp_path / "rate", *MEMORY, "--rate-limit", "1", start=False) as running:
        running.start(await_answer=False)
        eventually(lambda: "The pool is at" in running.log, "it runs")
        probes = [running.get(path) for path in ("/livez", "/readyz", "/livez", "/readyz")]
        assert [answer.status for answer in probes[:3]] == [200, 200, 429]
        assert probes[2].headers["retry-after"] == "1"
        files = [running.get(path).status for path in ("/docs", "/openapi.json", "/assets/start.js", "/login") * 80]
        assert files[:200] == [200] * 200
        assert 429 in files[200:]
        assert [running.get("/health").status for _ in range(3)] == [200, 200, 429]


def test_on_loopback_there_is_no_limit_by_default(service: Running) -> None:
    with connect(service) as client:
        for _ in range(3):
            client.sendall((b"GET / HTTP/1.1\r\n" + HEAD) * 100)
            said = b""
            while len(statuses(said)) < 100:
                said += client.recv(1 << 16)
            assert set(statuses(said)) == {200}


# the token


@contextmanager
def guarded(folder: Path, *flags: str, token: str = TOKEN) -> Iterator[Running]:
    """A service with a token in its orchestrator.toml."""
    folder.mkdir()
    (folder / "orchestrator.toml").write_text(f'token = "{token}"\nenv = {{ SECRET = "{SECRET}" }}\n')
    with a_service(folder, *flags, start=False) as running:
        running.start(await_answer=False)
        eventually(lambda: "The pool is at" in running.log, "it runs", within_s=30)
        yield running


def with_token(token: str = TOKEN) -> dict[str, str | None]:
    return {"authorization": f"Bearer {token}"}


def test_with_a_token_every_route_needs_it(tmp_path: Path) -> None:
    with guarded(tmp_path / "a", *MEMORY) as running:
        for path in ("/", "/health", "/machines/list", "/mine", "/destroy", "/no/such"):
            refused = running.get(path)
            assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert refused.json["error"] == "Token required"
        assert [running.get(path, with_token()).status for path in ("/", "/health", "/mine", "/no/such")] == [
            200,
            200,
            200,
            404,
        ]
        assert call(running.ports.api, "DELETE", "/mine").status == 401
        assert call(running.ports.api, "DELETE", "/mine", headers=with_token()).status == 200
        assert running.get("/", {**with_token(), "host": "10.1.2.3"}).status == 200
        assert running.get("/", {**with_token(), "origin": "https://evil.example"}).status == 403
        origin = {"origin": "http://localhost:3000", "access-control-request-method": "GET"}
        preflight = call(
            running.ports.api, "OPTIONS", "/mine", headers={**origin, "access-control-request-headers": "authorization"}
        )
        assert (preflight.status, preflight.headers["access-control-allow-headers"]) == (204, "authorization")
        assert running.get("/", {"origin": "http://localhost:3000"}).headers["access-control-allow-origin"]
        assert 'curl -H "Authorization: Bearer $ORCHESTRATOR_TOKEN" http' in running.log


def test_after_many_wrong_tokens_no_answer_tells_a_guess_from_the_right_one(tmp_path: Path) -> None:
    """Neither on one connection nor at the other doors. Who was right before, by another way, goes on."""
    behind_a_proxy = {**with_token(), "x-forwarded-for": "192.0.2.7"}
    with guarded(tmp_path / "a", *MEMORY) as running:
        assert "other users can read the configuration file, which holds a secret" in running.log
        assert running.get("/health", behind_a_proxy).status == 200
        assert {running.get("/health").status for _ in range(12)} == {401}
        answers = [running.get("/health", with_token(f"wrong-{number}")) for number in range(12)]
        assert [answer.status for answer in answers] == [401] * 10 + [429] * 2
        right = [running.get(path, with_token()) for path in ("/health", "/mine", "/v1/health", "/metrics")]
        right.append(call(running.ports.api, "POST", "/login", {"token": TOKEN}))
        assert [answer.status for answer in right] == [429] * 5
        assert all(1 <= int(answer.headers["retry-after"]) <= 60 for answer in (*answers[-2:], *right))
        assert running.get("/health").status == 401
        assert [running.get(path, behind_a_proxy).status for path in ("/health", "/mine")] == [200, 200]
        with connect(running, "127.0.0.9") as other:
            other.sendall(f"GET /health HTTP/1.0\r\nAuthorization: Bearer {TOKEN}\r\n".encode() + HEAD)
            assert statuses(heard(other)) == [200]


def test_a_token_file_is_read_and_the_commands_need_neither_it_nor_the_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    with a_service(tmp_path / "s", *MEMORY, "--token-file", str(file), start=False) as running:
        running.start(await_answer=False)
        eventually(lambda: "The pool is at" in running.log, "it runs")
        assert [running.get("/", headers).status for headers in (None, with_token())] == [401, 200]
        assert f'curl -H "Authorization: Bearer $(cat {file})" http' in running.log
        assert running.end() == 0
    with a_service(tmp_path / "s2", *MEMORY, "--token-file", "../token", start=False) as running:
        running.start(await_answer=False)
        eventually(lambda: "The pool is at" in running.log, "it runs")
        (curl,) = [line.strip() for line in running.log.splitlines() if line.strip().startswith("curl ")]
        from_any_folder = subprocess.check_output(["sh", "-c", curl], cwd="/", timeout=30)
        assert json.loads(from_any_folder)["containerId"]
    nowhere = ("--engine", "memory", "--state-dir", str(tmp_path / "state"), "--token-file", str(tmp_path / "none"))
    for command in (("down",), ("recover",)):
        done = orchestrator(*command, *nowhere, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


# beyond this machine


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_beyond_this_machine_it_does_not_start_without_a_token(tmp_path: Path, host: str) -> None:
    ports = PortBlock.claim()
    words = ("serve", *MEMORY, "--port", str(ports.api), "--state-dir", str(tmp_path), "--host", host)
    done = orchestrator(*words, cwd=tmp_path)
    ports.close()
    assert done.returncode == 2
    assert done.stderr == (
        f"orchestrator: --host {host} can be reached from other computers, and anyone who reaches it can create containers "
        "here. Set a token (--token-file FILE), allow calls without one (--insecure-no-auth), or listen on localhost.\n"
    )


def own_address() -> str:
    """An address of this computer that is not on loopback."""
    found = [each.address for card in psutil.net_if_addrs().values() for each in card if each.family == socket.AF_INET]
    return next(address for address in found if not address.startswith("127."))


def test_beyond_this_machine_it_warns_where_it_was_told_not_to_ask(tmp_path: Path) -> None:
    with a_service(tmp_path / "s", *MEMORY, "--host", "0.0.0.0", "--insecure-no-auth") as running:
        assert (
            f"Careful: every computer that reaches 0.0.0.0:{running.ports.api} can create containers here."
            in running.log
        )
        address = own_address()
        assert call(running.ports.api, "GET", "/", headers={"host": address}, host=address).status == 403


def test_beyond_this_machine_the_token_is_enough_and_requests_are_limited(tmp_path: Path) -> None:
    address = own_address()
    with guarded(tmp_path / "s", *MEMORY, "--host", "0.0.0.0") as running:
        assert "Careful" not in running.log
        ask: Callable[..., Answer] = lambda **headers: call(running.ports.api, "GET", "/", None, headers, host=address)  # noqa: E731
        assert ask(host=address).status == 401
        assert ask(host=address, **with_token()).status == 200
        with socket.create_connection((address, running.ports.api)) as client:
            request = b"GET / HTTP/1.1\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n" + HEAD
            said = b""
            for _ in range(8):
                client.sendall(request * 50)
                until = len(statuses(said)) + 50
                while len(statuses(said)) < until:
                    said += client.recv(1 << 16)
        assert 429 in statuses(said)
        assert 200 <= statuses(said).count(200) < 400
        assert running.get("/", with_token()).status == 200


# what nobody may see


def test_neither_the_token_nor_what_workers_are_given_is_ever_shown(tmp_path: Path, example_image: str) -> None:
    """In no reply, no log line and no command line, whatever goes wrong."""
    with guarded(tmp_path / "s", "--image", example_image, "--min-idle", "1", "--assign-timeout", "10") as running:
        seen: list[str] = []

        def ask(method: str, path: str, body: object = None, headers: dict[str, str | None] | None = None) -> int:
            answer = call(running.ports.api, method, path, body, {**with_token(), **(headers or {})})
            seen.append(f"{answer.headers} {answer.text}")
            return answer.status

        machine = call(running.ports.api, "GET", "/mine", headers=with_token()).json["containerId"]
        environment = docker("inspect", "--format", "{{.Config.Env}}", machine).out
        assert SECRET in environment, "the secret is at work"
        assert TOKEN not in environment
        assert [ask("GET", path) for path in ("/no/such", "/.git", "/mine/x", "/%00")] == [404, 400, 404, 400]
        assert [ask("POST", "/destroy", body) for body in (b"{", {"containerId": 1}, {"containerId": "x"})] == [
            400,
            400,
            500,
        ]
        assert ask("PUT", "/mine") == 405
        assert ask("GET", "/", headers={"host": "evil.example"}) == 200
        assert ask("GET", "/", headers={"origin": "https://evil.example"}) == 403
        wrong = TOKEN[:-1]
        assert [ask("GET", "/", headers={"authorization": f"Bearer {wrong}"}) for _ in range(12)][-1] == 429
        for broken in (b"GET / HTTP/1.1\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\nbroken\r\n\r\n",):
            with connect(running) as client:
                client.sendall(broken)
                seen.append(heard(client).decode())
        docker("rm", "--force", machine)
        assert ask("POST", "/destroy", {"containerId": machine}) in {200, 500}
        listed = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
        for text in (*seen, running.log, listed):
            assert TOKEN not in text
            assert SECRET not in text
            assert "Traceback" not in text
        assert_tidy(running)


@pytest.mark.parametrize(
    "entry", [["/no/such/program"], ["sh", "-c", "echo I was given $SECRET, >&2; exit 1"]], ids=["refused", "talkative"]
)
def test_a_worker_that_fails_shows_nothing_either(tmp_path: Path, example_image: str, entry: list[str]) -> None:
    """Neither where Docker refuses to start it, nor where its last words are what it must not say."""
    image = make_image(a_name("broken"), f"ENTRYPOINT {json.dumps(entry)}")
    try:
        with guarded(tmp_path / "s", "--image", image, "--min-idle", "1", "--assign-timeout", "10") as running:
            answer = running.get("/mine", with_token())
            assert answer.status == 503
            said = ("failed to exec pid1" if is_podman() else entry[0], "I was given")
            assert any(text in answer.text for text in said)
            for text in (answer.text, running.log):
                assert SECRET not in text
                assert TOKEN not in text
                assert "Traceback" not in text
    finally:
        docker("image", "rm", "--force", image)


# without httptools


def test_without_httptools_the_head_and_the_body_are_bounded_all_the_same(tmp_path: Path) -> None:
    without = "import sys; sys.modules['httptools'] = None; from worker_orchestrator.cli import main; main()"
    with a_service(tmp_path / "s", *MEMORY, start=False) as running, ExitStack() as stack:
        running.start(command=(sys.executable, "-c", without))
        assert running.get("/mine").status == 200
        with bounded(running):
            client = stack.enter_context(connect(running))
            client.sendall(b"GET / HTTP/1.1\r\na: ")
            assert pour(client, b"x" * 8000, 100_000_000) < 60_000_000
        assert call(running.ports.api, "POST", "/destroy", b" " * (1024 * 1024 + 1)).status == 413
