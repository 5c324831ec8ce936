"""A pool whose workers reach names, looked at from inside of them. Takes about 30 seconds.

Squid has to be there: `apt-get install squid`.
"""

from __future__ import annotations

import hashlib
import http.server
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.integration.calling import call
from tests.integration.docker_command import LABEL, docker, docker_json, is_podman, owned
from tests.integration.inside import a_fetch, a_host_outside, a_probe_image, inside
from tests.integration.package_index import NAME, a_package_index
from tests.integration.running import Running, orchestrator
from tests.integration.waiting import PortBlock, eventually
from tests.promises import refused

from worker_orchestrator.engines.fenced import PROXY_PORT, Fence
from worker_orchestrator.service.egress.configuration import configuration
from worker_orchestrator.service.egress.launch import MODULE
from worker_orchestrator.service.egress.proxy import squid_file

Start = Callable[..., Running]
pytestmark = pytest.mark.skipif(
    squid_file() is None and os.environ.get("CI") != "true", reason="Squid is not installed"
)
not_on_podman = pytest.mark.skipif(is_podman(), reason="Podman refuses it at the start")


@pytest.fixture(scope="module")
def probe(example_image: str) -> Iterator[str]:
    with a_probe_image() as tag:
        yield tag


class _Index(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"index of {self.headers['Host']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def an_index(address: str = "127.0.0.1") -> Iterator[int]:
    """The port of a web server of this computer."""
    with http.server.ThreadingHTTPServer((address, 0), _Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def asked(worker: Any, url: str) -> str:
    """What the worker hears by its proxy, or what went wrong."""
    return inside(worker, f"{a_fetch(url)} 2>&1").out


def settings(service: Running, probe: str, port: int, *names: str) -> None:
    """Two pools that reach the same server, each by a name of its own."""
    own = ", ".join(f'"{name}"' for name in (f"a.example.com:{port}=127.0.0.1", "*.below.example", *names))
    (service.folder / "orchestrator.toml").write_text(
        f"min_idle = 0\n[pools.default]\noutbound = [{own}]\n"
        f'[pools.other]\nimage = "{probe}"\nmin_idle = 0\noutbound = ["b.example.com:{port}=127.0.0.1"]\n'
    )


def of_other_pool(service: Running) -> Any:
    made = call(service.ports.api, "PUT", "/v1/projects/two/machine", {"pool": "other", "wait_seconds": 20})
    assert made.status in {200, 201}, made.text
    return made.json


def reaches(worker: Any, url: str) -> bool:
    return "index of" in asked(worker, url)


def address_of(machine: str) -> str:
    (network,) = docker_json("inspect", machine)["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


def squids(service: Running) -> list[psutil.Process]:
    return [one for one in psutil.Process(service.pid).children() if one.name() == "squid"]


def memory_of(service: Running) -> list[Path]:
    """What Squid shares with itself."""
    return [*Path("/dev/shm").glob(f"wo{hashlib.sha256(service.owner.encode()).hexdigest()[:8]}*")]


def ends_and_leaves_nothing(service: Running) -> None:
    running = squids(service)
    assert memory_of(service), "else the rest proves nothing"
    service.end()
    assert not any(it.is_running() for it in running)
    assert not memory_of(service)


UNSET = "unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY;"


@not_on_podman
@pytest.mark.promise("egress")
def test_workers_reach_the_names_of_their_pool_and_nothing_else(start: Start, probe: str) -> None:
    with an_index() as port, an_index("0.0.0.0") as public, a_host_outside() as outside:
        service = start("--image", probe, start=False)
        settings(service, probe, port)
        service.start()
        one, other = service.assign("one"), of_other_pool(service)
        eventually(lambda: reaches(one, f"http://a.example.com:{port}/"), "it is led")
        eventually(lambda: reaches(other, f"http://b.example.com:{port}/"), "and the other one")
        # what is not in the list, what is in that of another pool, addresses, other ports, the name above
        refused = (
            f"http://b.example.com:{port}/",
            f"http://a.example.com:{public}/",
            f"http://127.0.0.1:{port}/",
            "http://169.254.169.254/latest/meta-data/",
            "http://below.example/",
            outside,
        )
        for url in refused:
            assert " 403 " in inside(one, f"export no_proxy= NO_PROXY=; {a_fetch(url)} 2>&1").out, url
        assert " 403 " in asked(other, f"http://a.example.com:{port}/")
        _has_no_way_past_it(one, (other["id"], service.assign("three")["containerId"]), outside, port)
        told = service.get("/v1/projects/one/why").json["why"]
        assert "The proxy refused its worker's requests to" in told, told
        assert "169.254.169.254" in told, told
        assert "169.254.169.254" not in service.get("/v1/projects/two/why").json["why"]
        assert f'orchestrator_egress_refused_total{{pool="default"}} {len(refused)}.0' in service.get("/metrics").text
        ends_and_leaves_nothing(service)


@not_on_podman
def test_pip_and_npm_install_by_the_proxy_from_an_index_that_is_named(start: Start, probe: str, tmp_path: Path) -> None:
    """Their own programs, in the network of a worker and with its environment; its image has neither."""
    with a_package_index() as port:
        service = start("--image", probe, start=False)
        settings(service, probe, port)
        service.start()
        machine = service.assign("one")["containerId"]
        url = f"http://a.example.com:{port}"
        eventually(lambda: _in_network_of(machine, tmp_path, *_pip(f"{url}/simple/")) == 0, "pip has it", within_s=30)
        assert [file.name for file in tmp_path.glob("*.whl")] == ["from_the_index-1.0-py3-none-any.whl"]
        assert _in_network_of(machine, tmp_path, *_npm(f"{url}/")) == 0
        assert (tmp_path / "node_modules" / NAME / "package.json").exists()
        for other in (f"http://b.example.com:{port}", f"http://127.0.0.1:{port}"):
            assert _in_network_of(machine, tmp_path, *_pip(f"{other}/simple/")) != 0
            assert _in_network_of(machine, tmp_path, *_npm(f"{other}/")) != 0


def _pip(index: str) -> list[str]:
    host = index.split("/")[2].partition(":")[0]
    where = ["--index-url", index, "--trusted-host", host, "--retries", "0", "--timeout", "5"]
    return [sys.executable, "-m", "pip", "--isolated", "download", "--no-cache-dir", "--no-deps", *where, NAME]


def _npm(registry: str) -> list[str]:
    return ["npm", "install", "--registry", registry, "--fetch-retries=0", "--no-audit", "--cache", "cache", NAME]


def _in_network_of(machine: str, folder: Path, *command: str) -> int:
    """The exit code of this command, run where the worker's own would run, as far as it can reach anything."""
    found = docker_json("inspect", machine)
    given = [pair for pair in found["Config"]["Env"] if "proxy" in pair.lower()]
    where = [
        "nsenter",
        f"--net=/proc/{found['State']['Pid']}/ns/net",
        "env",
        "-i",
        f"PATH={os.environ['PATH']}",
        f"HOME={folder}",
    ]
    done = subprocess.run([*where, *given, *command], cwd=folder, capture_output=True, timeout=60, check=False)
    return done.returncode


def _has_no_way_past_it(worker: Any, others: tuple[str, str], outside: str, port: int) -> None:
    """Addresses, metadata, DNS, other workers of either pool, the other pool's proxy."""
    beside, same = map(address_of, others)
    theirs = f"{beside.rpartition('.')[0]}.1"
    places = (
        outside,
        "http://169.254.169.254/",
        "http://1.1.1.1/",
        "http://172.17.0.1/",
        f"http://{beside}:9092/",
        f"http://{same}:9092/",
    )
    for url in (*places, f"http://a.example.com:{port}/", f"http://{theirs}:3129/"):
        done = inside(worker, f"{UNSET} {a_fetch(url)} 2>&1")
        assert done.code != 0, url
        assert " 403 " not in done.out, "a proxy answered"
    for server in ("", "1.1.1.1", theirs):
        assert inside(worker, f"busybox timeout 3 nslookup name.example {server} 2>&1").code != 0
    assert inside(worker, "grep CapEff /proc/self/status; busybox timeout 2 ping -c 1 -W 1 1.1.1.1 2>&1").code != 0
    assert not int(inside(worker, "grep ^CapBnd: /proc/self/status").out.partition(":")[2], 16) & 1 << 13, "NET_RAW"


@not_on_podman
@pytest.mark.promise("egress")
def test_a_reload_takes_names_away_and_adds_some_without_another_worker(start: Start, probe: str) -> None:
    with an_index() as port:
        service = start("--image", probe, start=False)
        settings(service, probe, port, f"c.example.com:{port}=127.0.0.1")
        service.start()
        one = service.assign("one")
        eventually(lambda: reaches(one, f"http://c.example.com:{port}/"), "it is led")
        settings(service, probe, port, f"d.example.com:{port}=127.0.0.1")
        assert call(service.ports.api, "POST", "/v1/reload").status == 200
        eventually(lambda: reaches(one, f"http://d.example.com:{port}/"), "the worker that runs has the new name")
        assert " 403 " in asked(one, f"http://c.example.com:{port}/")
        settings(service, probe, port, f"d.example.com:{port}=127.0.0.1", f"e.example.com:{port}=127.0.0.1")
        kept = squids(service)
        assert call(service.ports.api, "POST", "/v1/reload").status == 200
        eventually(lambda: reaches(one, f"http://e.example.com:{port}/"), "and one more")
        assert squids(service) == kept, "connections go on when names are added"
        assert service.assign("one")["containerId"] == one["containerId"]
        ends_and_leaves_nothing(service)


@not_on_podman
@pytest.mark.promise("egress")
def test_proxies_end_with_a_service_that_is_killed_and_are_there_again_with_the_next(start: Start, probe: str) -> None:
    with an_index() as port:
        service = start("--image", probe, start=False)
        settings(service, probe, port)
        service.start()
        one = service.assign("one")
        url = f"http://a.example.com:{port}/"
        eventually(lambda: reaches(one, url), "it is led")
        running = squids(service)
        running[0].kill()
        eventually(lambda: reaches(one, url), "it is there again", within_s=10)
        running = squids(service)
        service.end(signal.SIGKILL)
        eventually(lambda: not any(it.is_running() and it.status() != "zombie" for it in running), "they end with it")
        assert not reaches(one, url)
        service.start()
        eventually(lambda: reaches(one, url), "it is led again")
        service.end(signal.SIGKILL)
        down = orchestrator("down", "--all", "--yes", *service.command_flags, cwd=service.folder)
        assert down.returncode == 0, down.stderr
        assert not docker("network", "ls", "--filter", f"label={LABEL}.owner={service.owner}", "-q").lines
        assert not memory_of(service)


@pytest.mark.promise("egress")
def test_names_are_kept_or_refused_at_the_start(start: Start, request: pytest.FixtureRequest) -> None:
    """Podman makes no worker then: the operator reads why in the log, and callers hear it."""
    service = start("--outbound", "a.example.com", "--min-idle", "1", "--assign-timeout", "5")
    if not is_podman():
        service.await_idle(1)
        return
    said = "Podman keeps its networks where no proxy of this service can listen, so --outbound cannot be names"
    eventually(lambda: said in service.get("/somebody").text, f"callers hear: {said}", within_s=20)
    assert service.get("/somebody").status == 503
    eventually(lambda: said in service.log, "the log has it")
    assert not owned(service.owner)
    refused(request)


@pytest.mark.parametrize(("own", "status"), [("", "403"), ("=127.0.0.1", "200")])
def test_a_name_that_leads_to_this_computer_opens_nothing_of_it(own: str, status: str) -> None:
    """Whatever says where it leads: here, a file. With its address in the list it is the operator's own word."""
    with an_index() as port:
        ports = PortBlock.claim()
        listens = ports.api
        hosts = a_file("127.0.0.1 inner.example\n10.1.2.3 a.wild.example\n169.254.169.254 b.wild.example\n")
        names = [f"inner.example:{port}{own}", f"*.wild.example:{port}"]
        text = configuration(Fence("127.0.0.1", "127.0.0.0/8"), names, f"/proc/self/fd/{hosts}")
        told = a_file(
            text.replace(f":{PROXY_PORT}", f":{listens}").replace("stdio:/dev/stdout logformat=egress", "none")
        )
        command = [sys.executable, "-m", MODULE, str(os.getpid()), str(squid_file()), "-N", "-n", f"wotest{listens}"]
        with subprocess.Popen([*command, "-f", f"/proc/self/fd/{told}"], pass_fds=(hosts, told)) as squid:
            try:
                eventually(lambda: heard(listens, "http://nobody.example/") == "403", "it answers")
                assert heard(listens, f"http://inner.example:{port}/") == status
                for place in ("a.wild.example", "b.wild.example", "wild.example", "127.0.0.1", "[::1]", "0x7f.1"):
                    assert heard(listens, f"http://{place}:{port}/") in {"403", "400"}, place
            finally:
                squid.kill()
                ports.close()
                for file in (hosts, told):
                    os.close(file)
                for left in Path("/dev/shm").glob(f"wotest{listens}-*"):
                    left.unlink()


def a_file(text: str) -> int:
    """Open, in memory, for whoever is handed it."""
    file = os.memfd_create("test")
    os.write(file, text.encode())
    return file


def heard(proxy: int, url: str) -> str:
    """The status that the proxy answers."""
    words = ["curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", "-x", f"http://127.0.0.1:{proxy}", url]
    return subprocess.run(words, check=False, capture_output=True, text=True).stdout
