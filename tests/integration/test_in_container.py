"""The service in a container of the engine whose containers are its workers, called from the host and from a neighbour."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.calling import call
from tests.integration.docker_command import a_name, clean_up, docker, docker_json, engine_socket, is_podman, owned
from tests.integration.waiting import PortBlock, eventually

ROOT = Path(__file__).parents[2]
TOKEN = "0123456789abcdef" * 4
SENDS = {"Authorization": f"Bearer {TOKEN}"}
ASKS = (
    "import sys, urllib.request as r; "
    f"print(r.urlopen(r.Request(sys.argv[1], headers={SENDS!r}), timeout=20).read(2000).decode())"
)


@pytest.fixture(autouse=True)
def docker_here() -> None:
    if is_podman():
        pytest.skip("Podman was not tried in this way")


@pytest.fixture
def network() -> Iterator[str]:
    name = a_name("network")
    docker("network", "create", name)
    yield name
    docker("network", "rm", name)


@pytest.fixture
def ports() -> Iterator[PortBlock]:
    block = PortBlock.claim()
    yield block
    block.close()


def python(image: str, *options: str) -> list[str]:
    """Arguments of `docker run` for this Python with the files of this computer, in a container that has none of its own."""
    folders = dict.fromkeys(("/usr", "/lib", "/lib64", sys.base_prefix, sys.prefix, str(ROOT)))
    mounts = [word for one in folders if Path(one).exists() for word in ("--volume", f"{one}:{one}:ro")]
    return [*options, *mounts, "--entrypoint", sys.executable, image]


def serve(name: str, image: str, ports: PortBlock, *options: str, flags: tuple[str, ...] = ()) -> None:
    socket = engine_socket()
    may = (
        "--user",
        "10001:10001",
        "--group-add",
        str(Path(socket).stat().st_gid),
        "--volume",
        f"{socket}:/var/run/docker.sock",
    )
    kept = ("--tmpfs", "/state:uid=10001,mode=0700", "--env", f"ORCHESTRATOR_TOKEN={TOKEN}")
    words = ("--port", ports.api, "--first-port", ports.first, "--last-port", ports.last, "--image", image)
    service = (
        "-m",
        "worker_orchestrator",
        "serve",
        "--state-dir",
        "/state",
        "--min-idle",
        "1",
        *map(str, words),
        *flags,
    )
    docker("run", "--detach", "--name", name, *python(image, *may, *kept, *options), *service)


@pytest.fixture
def name(network: str) -> Iterator[str]:
    """Of a container; in the end it is removed with its workers, and then its network."""
    name = a_name("service")
    yield name
    asked = "SELECT value FROM meta WHERE key = 'owner'"
    owner = f"import sqlite3; print(*next(sqlite3.connect('/state/orchestrator.db').execute({asked!r})))"
    told = docker("exec", name, sys.executable, "-c", owner, check=False)
    docker("rm", "-f", "-v", name, check=False)
    if not told.failed:
        clean_up(told.out)
        assert owned(told.out) == []


def test_on_a_network_of_its_own_workers_are_reached_and_told_at_its_gateway(
    name: str, network: str, ports: PortBlock, example_image: str
) -> None:
    """The same URL leads there from the host, from a neighbour and from the service."""
    gateway = docker_json("network", "inspect", network)["IPAM"]["Config"][0]["Gateway"]
    at = f"127.0.0.1:{ports.api}:{ports.api}"
    flags = ("--host", "0.0.0.0", "--publish-address", "gateway")
    serve(name, example_image, ports, "--network", network, "--publish", at, flags=flags)

    def answered() -> bool:
        try:
            return call(ports.api, "GET", "/health", None, SENDS).status == 200
        except OSError:
            return False

    eventually(answered, "the service answers", within_s=40)
    given = call(ports.api, "GET", "/p1", None, SENDS).json
    assert given["url"] == f"http://{gateway}:{given['port']}"
    assert subprocess.run(["curl", "-sf", "-m", "10", given["url"]], check=False, capture_output=True).returncode == 0
    for url in (f"http://{name}:{ports.api}/p1", given["url"]):
        neighbour = python(example_image, "--rm", "--network", network)
        told = docker("run", *neighbour, "-c", ASKS, url)
        assert url == given["url"] or given["containerId"] in told.out
    assert call(ports.api, "GET", "/p2", None).status == 401


def test_what_is_missing_is_said(name: str, network: str, ports: PortBlock, example_image: str) -> None:
    serve(name, example_image, ports, "--network", network)

    def log() -> str:
        done = docker("logs", name)
        return done.out + done.err

    eventually(lambda: "no worker can be reached" in log(), "it is told", within_s=40)
    assert f"this process runs in the container {name} that has a network of its own ({network})" in log()
    assert "serve with --publish-address gateway" in log()


@pytest.mark.parametrize(
    ("mounted", "says"), [("no", "sees no socket of its engine"), ("yes", "Start that container with `--group-add ")]
)
def test_a_socket_that_is_missing_or_closed_to_us_is_said(example_image: str, mounted: str, says: str) -> None:
    given = ("--volume", f"{engine_socket()}:/var/run/docker.sock") if mounted == "yes" else ()
    words = ("-m", "worker_orchestrator", "serve", "--state-dir", "/state", "--image", example_image)
    options = ("--rm", "--user", "10001:10001", "--tmpfs", "/state:uid=10001", *given)
    done = docker("run", *python(example_image, *options), *words, check=False)
    assert done.failed
    assert says in done.err
