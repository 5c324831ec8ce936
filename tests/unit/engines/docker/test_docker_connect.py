"""The engine is found as Docker's own tools find it, and whoever named one never gets another."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import os
import select
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiodocker
import pytest
import uvloop

import worker_orchestrator.engines.docker.connect as connecting
from worker_orchestrator.engines.docker.connect import Endpoint, Tls, candidates, connect, open_client
from worker_orchestrator.errors import EngineUnavailable, InvalidSetting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the fake engines listen on unix sockets")

PONG = b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK"
NOT_DOCKER = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
WANTS_TLS = b"HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
FALLBACK = Endpoint("tcp://localhost:2375", "the standard port")


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="home-", dir="/tmp") as folder:  # short: a socket's path has 104 bytes
        yield Path(folder)


@pytest.fixture
def only_in_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own engine must not take part."""
    places = tuple(place for place in connecting.USUAL_SOCKETS if not place[0].startswith("/"))
    monkeypatch.setattr(connecting, "USUAL_SOCKETS", places)


def write_context(config: Path, name: str, meta: object, tls_files: tuple[str, ...] = ()) -> Path:
    folder = hashlib.sha256(name.encode()).hexdigest()
    tls = config / "contexts" / "tls" / folder / "docker"
    path = config / "contexts" / "meta" / folder / "meta.json"
    path.parent.mkdir(parents=True)
    path.write_text(meta if isinstance(meta, str) else json.dumps(meta))
    tls.mkdir(parents=True)
    for file in tls_files:
        (tls / file).touch()
    return tls


def engine_at(host: str, **more: Any) -> dict[str, Any]:
    return {"Name": "any", "Metadata": {}, "Endpoints": {"docker": {"Host": host, **more}}}


def write_config(config: Path, text: str) -> None:
    config.mkdir(parents=True, exist_ok=True)
    (config / "config.json").write_text(text)


def dead_socket(path: Path) -> Path:
    """A socket file nobody listens on, as a killed daemon leaves it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
    return path


@contextlib.asynccontextmanager
async def engine(where: Path | ssl.SSLContext | None, answer: bytes | None = PONG) -> AsyncIterator[int]:
    """An engine on a unix socket or, given TLS or None, on a TCP port, which it yields. `answer` None: it stays silent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            await reader.readuntil(b"\r\n\r\n")
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    if isinstance(where, Path):
        where.parent.mkdir(parents=True, exist_ok=True)
        server = await asyncio.start_unix_server(serve, where)
        port = 0
    else:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=where)
        port = server.sockets[0].getsockname()[1]
    async with server:
        yield port


async def found(docker_host: str | None, environ: dict[str, str], home: Path) -> Endpoint:
    """The endpoint `connect` chose; its client is closed again."""
    endpoint, client = await connect(docker_host, environ=environ, home=home)
    await client.close()
    return endpoint


# Who is asked


def test_an_explicit_host_is_the_only_candidate(home: Path) -> None:
    environ = {"DOCKER_HOST": "tcp://other:1", "DOCKER_CONTEXT": "another"}
    assert candidates(" unix:///a.sock ", environ, home, "linux") == [Endpoint("unix:///a.sock", "--docker-host")]


def test_docker_host_is_the_only_candidate_and_goes_before_a_context(home: Path) -> None:
    environ = {"DOCKER_HOST": "http://other:1", "DOCKER_CONTEXT": "another"}
    assert candidates("", environ, home, "linux") == [Endpoint("http://other:1", "DOCKER_HOST")]


def test_the_current_context_of_config_json_is_the_only_candidate(home: Path) -> None:
    write_config(home / ".docker", '{"currentContext": "colima"}')
    write_context(home / ".docker", "colima", engine_at("unix:///c.sock"))
    assert candidates(None, {"DOCKER_HOST": ""}, home, "darwin") == [
        Endpoint("unix:///c.sock", "docker context 'colima'"),
    ]


def test_docker_context_goes_before_the_current_context_and_docker_config_says_where_they_are(home: Path) -> None:
    write_config(home / "elsewhere", '{"currentContext": "colima"}')
    write_context(home / "elsewhere", "remote", engine_at("ssh://me@build"))
    environ = {"DOCKER_CONFIG": str(home / "elsewhere"), "DOCKER_CONTEXT": "remote"}
    assert candidates(None, environ, home, "linux") == [Endpoint("ssh://me@build", "docker context 'remote'")]


@pytest.mark.usefixtures("only_in_home")
@pytest.mark.parametrize("current", ["default", "", None])
def test_the_default_context_means_the_usual_places(home: Path, current: str | None) -> None:
    write_config(home / ".docker", json.dumps({"currentContext": current}))
    assert candidates(None, {}, home, "linux") == [FALLBACK]


@pytest.mark.usefixtures("only_in_home")
def test_docker_context_default_overrides_the_current_context(home: Path) -> None:
    write_config(home / ".docker", '{"currentContext": "colima"}')
    assert candidates(None, {"DOCKER_CONTEXT": "default"}, home, "linux") == [FALLBACK]


@pytest.mark.parametrize("environ", [{"DOCKER_CONTEXT": "gone"}, {}])
def test_a_context_that_does_not_exist_is_refused_with_its_name_and_who_named_it(
    home: Path, environ: dict[str, str]
) -> None:
    write_config(home / ".docker", '{"currentContext": "gone"}')
    with pytest.raises(InvalidSetting, match=r"'gone' \((DOCKER_CONTEXT|currentContext in .*)\).*no such context"):
        candidates(None, environ, home, "linux")


@pytest.mark.parametrize(
    "meta",
    ["{", "[]", {}, {"Endpoints": {}}, {"Endpoints": []}, {"Endpoints": {"docker": {}}}, {"Endpoints": {"docker": 1}}],
)
def test_a_broken_context_is_refused_with_the_file_that_is_broken(home: Path, meta: object) -> None:
    write_context(home / ".docker", "odd", meta)
    with pytest.raises(InvalidSetting, match=r"'odd'.*meta\.json names no engine"):
        candidates(None, {"DOCKER_CONTEXT": "odd"}, home, "linux")


def test_a_context_with_an_unusable_address_is_refused_with_both(home: Path) -> None:
    write_context(home / ".docker", "odd", engine_at("gopher://x"))
    with pytest.raises(InvalidSetting, match=r"'odd' is 'gopher://x'"):
        candidates(None, {"DOCKER_CONTEXT": "odd"}, home, "linux")


@pytest.mark.parametrize("text", ['{"auths": "hunter2"', '["hunter2"]', "\xff"])
def test_a_broken_config_json_is_refused_and_no_message_or_traceback_repeats_its_text(home: Path, text: str) -> None:
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidSetting, match=r"config\.json cannot be read") as caught:
        candidates(None, {}, home, "linux")
    below_this_test = caught.tb.tb_next
    shown = traceback.TracebackException(caught.type, caught.value, below_this_test, capture_locals=True).format()
    assert "hunter2" not in "".join(shown)


# TLS


@pytest.mark.parametrize("value", ["1", "0", "yes"])
def test_any_docker_tls_verify_turns_tls_on_with_the_files_of_docker_cert_path(home: Path, value: str) -> None:
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (home / name).touch()
    environ = {"DOCKER_HOST": "tcp://h", "DOCKER_TLS_VERIFY": value, "DOCKER_CERT_PATH": str(home)}
    tls = Tls(home / "ca.pem", home / "cert.pem", home / "key.pem", verify=True)
    assert candidates(None, environ, home, "linux") == [Endpoint("tcp://h:2376", "DOCKER_HOST", tls)]


def test_without_docker_cert_path_the_files_are_those_of_the_config_folder(home: Path) -> None:
    environ = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CONFIG": str(home / "d")}
    (endpoint,) = candidates("tcp://h:1", environ, home, "linux")
    assert endpoint.tls == Tls(home / "d" / "ca.pem", None, None, verify=True)


def test_docker_tls_alone_is_tls_that_believes_anybody(home: Path) -> None:
    (endpoint,) = candidates("tcp://h", {"DOCKER_TLS": "1"}, home, "linux")
    assert endpoint == Endpoint("tcp://h:2376", "--docker-host", Tls(None, None, None, verify=False))


@pytest.mark.parametrize("url", ["unix:///a.sock", "ssh://h"])
def test_tls_of_the_environment_does_not_concern_sockets_and_ssh(home: Path, url: str) -> None:
    assert candidates(url, {"DOCKER_TLS_VERIFY": "1"}, home, "linux")[0].tls is None


def test_a_context_brings_its_own_tls_files(home: Path) -> None:
    tls = write_context(home / ".docker", "far", engine_at("tcp://h:1"), ("ca.pem", "cert.pem", "key.pem"))
    (endpoint,) = candidates(None, {"DOCKER_CONTEXT": "far"}, home, "linux")
    assert endpoint.tls == Tls(tls / "ca.pem", tls / "cert.pem", tls / "key.pem", verify=True)


def test_a_context_may_skip_the_verification(home: Path) -> None:
    write_context(home / ".docker", "far", engine_at("tcp://h:1", SkipTLSVerify=True))
    (endpoint,) = candidates(None, {"DOCKER_CONTEXT": "far"}, home, "linux")
    assert endpoint.tls == Tls(None, None, None, verify=False)


def test_a_context_without_tls_files_is_plain_whatever_the_environment_says(home: Path) -> None:
    write_context(home / ".docker", "far", engine_at("tcp://h:1"))
    (endpoint,) = candidates(None, {"DOCKER_CONTEXT": "far", "DOCKER_TLS_VERIFY": "1"}, home, "linux")
    assert endpoint.tls is None


# Addresses


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("tcp://c", "tcp://c:2375"),
        ("tcp://[::1]", "tcp://[::1]:2375"),
        ("tcp://tcp/base/", "tcp://tcp:2375/base"),
        ("build:2375", "tcp://build:2375"),
        ("https://h", "https://h"),
    ],
)
def test_an_address_is_completed_as_the_docker_cli_completes_it(home: Path, given: str, url: str) -> None:
    assert candidates(given, {}, home, "linux")[0].url == url


@pytest.mark.parametrize(
    "url",
    [
        "build",
        "/var/run/docker.sock",
        "unix://",
        "unix://var/run/docker.sock",
        "tcp://",
        "tcp://h:port",
        "tcp://h:0",
        "tcp://h:65536",
        "tcp://h?x=1",
        "ssh://h/path",
        "fd://3",
        "npipe:////./pipe/docker_engine",
    ],
)
def test_an_unusable_address_is_refused_with_its_value_and_what_is_allowed(home: Path, url: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        candidates(None, {"DOCKER_HOST": url}, home, "linux")
    assert f"DOCKER_HOST is {url!r}" in caught.value.message
    assert "Allowed: unix:///path/to/docker.sock, tcp://host:2375" in caught.value.message


@pytest.mark.parametrize(
    "url", ["tcp://me:hunter2@h:1", "ssh://me:hunter2@h", "https://me:hunter2@h:x", "x://hunter2@h"]
)
def test_an_address_with_a_password_is_refused_and_the_password_not_repeated(home: Path, url: str) -> None:
    with pytest.raises(InvalidSetting, match="without a password") as caught:
        candidates(url, {}, home, "linux")
    assert "hunter2" not in str(caught.value)


def test_on_windows_the_usual_places_are_pipes_and_unix_sockets_are_refused(home: Path) -> None:
    assert [endpoint.url for endpoint in candidates(None, {}, home, "win32")] == [
        "npipe:////./pipe/docker_engine",
        "npipe:////./pipe/dockerDesktopLinuxEngine",
        "tcp://localhost:2375",
    ]
    assert candidates("npipe:////./pipe/mine", {}, home, "win32")[0].url == "npipe:////./pipe/mine"
    with pytest.raises(InvalidSetting, match=r"Allowed: npipe:////\./pipe/docker_engine, tcp"):
        candidates("unix:///a.sock", {}, home, "win32")


@pytest.mark.parametrize(
    ("url", "host", "is_local"),
    [
        ("unix:///a.sock", "localhost", True),
        ("npipe:////./pipe/docker_engine", "localhost", True),
        ("tcp://localhost:2375", "localhost", True),
        ("http://127.0.1.1:2375", "127.0.1.1", True),
        ("https://[::1]:2376", "::1", True),
        ("tcp://10.0.0.7:2375", "10.0.0.7", False),
        ("tcp://build.example:2375", "build.example", False),
        ("ssh://me@build:22", "build", False),
        ("ssh://localhost", "localhost", False),
    ],
)
def test_an_endpoint_knows_its_host_and_whether_it_is_on_this_machine(url: str, host: str, *, is_local: bool) -> None:
    endpoint = Endpoint(url, "test")
    assert (endpoint.host, endpoint.is_local) == (host, is_local)


# The usual places


@pytest.mark.usefixtures("only_in_home")
def test_only_sockets_that_exist_are_usual_places_and_docker_goes_before_podman(home: Path) -> None:
    podman = dead_socket(home / "run" / "podman" / "podman.sock")
    rancher = dead_socket(home / ".rd" / "docker.sock")
    rootless = dead_socket(home / "run" / "docker.sock")
    colima = dead_socket(home / "lima" / "default" / "docker.sock")
    (home / ".orbstack" / "run").mkdir(parents=True)
    (home / ".orbstack" / "run" / "docker.sock").write_text("a file is no socket")
    environ = {"XDG_RUNTIME_DIR": str(home / "run"), "COLIMA_HOME": str(home / "lima")}
    assert candidates(None, environ, home, "linux") == [
        Endpoint(f"unix://{rootless}", "rootless Docker"),
        Endpoint(f"unix://{colima}", "Colima"),
        Endpoint(f"unix://{rancher}", "Rancher Desktop"),
        Endpoint(f"unix://{podman}", "rootless Podman"),
        FALLBACK,
    ]


@pytest.mark.usefixtures("only_in_home")
def test_two_paths_to_one_socket_are_one_place(home: Path) -> None:
    real = dead_socket(home / ".docker" / "run" / "docker.sock")
    link = home / ".docker" / "desktop" / "docker.sock"
    link.parent.mkdir()
    link.symlink_to(real)
    assert [endpoint.url for endpoint in candidates(None, {}, home, "darwin")] == [f"unix://{real}", FALLBACK.url]


def test_a_place_that_may_not_be_looked_at_counts_as_present(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError

    monkeypatch.setattr(connecting, "USUAL_SOCKETS", (("~/locked/docker.sock", "locked"),))
    monkeypatch.setattr(Path, "is_socket", refuse)
    assert candidates(None, {}, home, "linux")[0] == Endpoint(f"unix://{home}/locked/docker.sock", "locked")


# Connecting


@pytest.mark.usefixtures("only_in_home")
def test_the_first_usual_place_that_answers_is_taken(home: Path) -> None:
    async def scenario() -> Endpoint:
        dead_socket(home / ".docker" / "run" / "docker.sock")
        async with engine(home / ".rd" / "docker.sock"), engine(home / ".orbstack" / "run" / "docker.sock"):
            return await found(None, {}, home)

    assert asyncio.run(scenario()).source == "Rancher Desktop"


@pytest.mark.usefixtures("only_in_home")
def test_a_named_engine_that_does_not_answer_is_never_replaced_by_another(home: Path) -> None:
    async def scenario() -> None:
        async with engine(home / ".rd" / "docker.sock"):
            await found(None, {"DOCKER_HOST": f"unix://{home}/gone.sock"}, home)

    with pytest.raises(EngineUnavailable, match=r"gone\.sock \(DOCKER_HOST\): no such socket") as caught:
        asyncio.run(scenario())
    assert ".rd" not in caught.value.message


@pytest.mark.usefixtures("only_in_home")
def test_the_message_lists_every_place_with_its_cause_and_what_to_do_next(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "PING_LIMIT_S", 1.0)
    monkeypatch.setattr(connecting, "_endpoint", lambda *_: Endpoint("tcp://127.0.0.1:1", "the standard port"))

    async def scenario() -> None:
        dead_socket(home / ".docker" / "run" / "docker.sock")
        async with engine(home / ".rd" / "docker.sock", None), engine(home / ".orbstack/run/docker.sock", NOT_DOCKER):
            await found(None, {}, home)

    with pytest.raises(EngineUnavailable) as caught:
        asyncio.run(scenario())
    assert caught.value.message.splitlines() == [
        "No Docker engine answers. Tried:",
        f"  - unix://{home}/.docker/run/docker.sock (Docker Desktop): connection refused, nothing listens there",
        f"  - unix://{home}/.rd/docker.sock (Rancher Desktop): timed out",
        f"  - unix://{home}/.orbstack/run/docker.sock (OrbStack): what answers there is not a Docker engine (HTTP 404)",
        "  - tcp://127.0.0.1:1 (the standard port): connection refused, nothing listens there",
        "Start Docker, or name another engine with --docker-host, DOCKER_HOST or `docker context use`.",
    ]


def test_who_may_not_use_the_socket_is_told_of_the_docker_group(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(asyncio.SelectorEventLoop, "create_unix_connection", refuse)
    with pytest.raises(EngineUnavailable, match="permission denied; add yourself to the docker group"):
        asyncio.run(found(f"unix://{dead_socket(home / 'a.sock')}", {}, home))


def test_an_engine_that_wants_tls_is_said_to_want_it(home: Path) -> None:
    async def scenario() -> None:
        async with engine(None, WANTS_TLS) as port:
            await found(f"tcp://127.0.0.1:{port}", {}, home)

    with pytest.raises(EngineUnavailable, match="wants TLS; set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH"):
        asyncio.run(scenario())


def test_more_than_a_hundred_requests_are_under_way_at_once_and_closing_leaves_none_open(home: Path) -> None:
    together = 150

    async def scenario() -> bool:
        everybody = asyncio.Barrier(together)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            await everybody.wait()
            writer.write(PONG)
            writer.close()

        async def ask(client: aiodocker.Docker) -> None:
            async with client.session.get(f"{client.docker_host}/_ping") as response:
                await response.read()

        async with await asyncio.start_unix_server(serve, home / "a.sock", backlog=together):
            client = open_client(Endpoint(f"unix://{home}/a.sock", "test"))
            async with asyncio.timeout(10):
                await asyncio.gather(*(ask(client) for _ in range(together)))
            await client.close()
        return client.connector.closed

    assert asyncio.run(scenario())


@pytest.mark.parametrize("takes_the_rest", [False, True])
def test_closing_hangs_up_on_an_engine_that_has_refused_what_is_still_sent(home: Path, *, takes_the_rest: bool) -> None:
    """Else the connection would stay open for as long as the engine pleases. It may have been closed a moment before."""

    async def scenario(engine: socket.socket) -> bool:
        loop = asyncio.get_running_loop()
        client = open_client(Endpoint(f"unix://{home}/a.sock", "test"))
        asking = asyncio.create_task(_refused(client))
        with (await loop.sock_accept(engine))[0] as connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            assert await asking == 400
            assert not _has_hung_up(connection)
            while takes_the_rest and await loop.sock_recv(connection, 1 << 20):
                pass
            await client.close()
            await asyncio.sleep(0)
            return _has_hung_up(connection)

    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(f"{home}/a.sock")
        engine.listen()
        engine.settimeout(0)
        assert asyncio.run(scenario(engine))


async def _refused(client: aiodocker.Docker) -> int:
    async with client.session.put(f"{client.docker_host}/any", data=io.BytesIO(bytes(3_000_000))) as response:
        return response.status


def _has_hung_up(connection: socket.socket) -> bool:
    """Whether the other side is closed, whatever of it is still to be read."""
    poll = select.poll()
    poll.register(connection, select.POLLHUP)
    return bool(poll.poll(0))


def test_a_second_client_at_the_same_endpoint_outlives_the_first(home: Path) -> None:
    async def scenario() -> int:
        async with engine(home / "a.sock"):
            endpoint, first = await connect(f"unix://{home}/a.sock", environ={}, home=home)
            second = open_client(endpoint)
            await first.close()
            async with second.session.get(f"{second.docker_host}/_ping") as response:
                status = response.status
            await second.close()
            return status

    assert asyncio.run(scenario()) == 200


def test_ssh_without_asyncssh_says_exactly_that(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(EngineUnavailable, match=r"asyncssh is missing: `pip install 'aiodocker\[ssh\]'`"):
        asyncio.run(found("ssh://me@build", {}, home))


def test_ssh_that_cannot_be_set_up_gives_its_reason(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> None:
        raise aiodocker.DockerError(400, "Host key verification is required")

    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    monkeypatch.setattr(connecting, "SSHConnector", refuse)
    with pytest.raises(EngineUnavailable, match="Host key verification is required"):
        asyncio.run(found("ssh://me@build", {}, home))


# TLS connections


@pytest.fixture(scope="module")
def certificates() -> Iterator[Path]:
    """A folder as Docker's manual makes it: ca.pem, and cert.pem with key.pem for 127.0.0.1, signed by it."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    with tempfile.TemporaryDirectory() as folder:
        new_key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
        Path(folder, "names").write_text("subjectAltName=IP:127.0.0.1")
        for command in (
            f"req -x509 {new_key} -keyout ca-key.pem -out ca.pem -subj /CN=ca -days 2",
            f"req {new_key} -keyout key.pem -out request.pem -subj /CN=engine",
            "x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -extfile names -out cert.pem -days 2",
            "pkcs8 -topk8 -in key.pem -out locked-key.pem -passout pass:secret",
        ):
            subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
        yield Path(folder)


def tls_server(certificates: Path) -> ssl.SSLContext:
    """One that asks for a client certificate, as dockerd with --tlsverify does."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "ca.pem"))
    context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as Go, which dockerd is written in
    return context


async def over_tls(server: Path, environ: dict[str, str], home: Path) -> Endpoint:
    async with engine(tls_server(server)) as port:
        return await found(f"tcp://127.0.0.1:{port}", environ, home)


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_tls_works_in_both_directions_with_the_files_of_docker_cert_path(
    home: Path, certificates: Path, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """On the loop of the service too, whose transports for TLS are of another kind."""
    environ = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(certificates)}
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(over_tls(certificates, environ, home)).is_local


def test_an_untrusted_certificate_is_refused_unless_verification_is_skipped(home: Path, certificates: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        shutil.copy(certificates / name, home)
    strict = Tls(None, home / "cert.pem", home / "key.pem", verify=True)
    lenient = Tls(None, home / "cert.pem", home / "key.pem", verify=False)

    async def scenario(tls: Tls) -> None:
        async with engine(tls_server(certificates)) as port:
            client = await connecting._open_if_answering(Endpoint(f"tcp://127.0.0.1:{port}", "test", tls))
            await client.close()

    with pytest.raises(EngineUnavailable, match="its TLS certificate is not trusted"):
        asyncio.run(scenario(strict))
    asyncio.run(scenario(lenient))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("rm ca.pem", r"bad TLS file \S+/ca\.pem: No such file"),
        ("echo junk > ca.pem", r"bad TLS file \S+/ca\.pem: not valid PEM"),
        ("rm key.pem", r"bad TLS file \S+/cert\.pem or \S+/key\.pem: No such file"),
        ("rm cert.pem", r"bad TLS file \S+/cert\.pem or \S+/key\.pem: No such file"),
        ("mv locked-key.pem key.pem", r"bad TLS file \S+/cert\.pem or \S+/key\.pem: .* locked with a password"),
    ],
)
def test_a_bad_tls_file_is_named_and_nobody_is_asked_for_a_password(
    home: Path, certificates: Path, change: str, message: str
) -> None:
    folder = shutil.copytree(certificates, home / "certificates")
    subprocess.run(change, shell=True, cwd=folder, check=True)
    environ = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": os.fspath(folder)}
    with pytest.raises(EngineUnavailable, match=message):
        asyncio.run(found("tcp://127.0.0.1:1", environ, home))
