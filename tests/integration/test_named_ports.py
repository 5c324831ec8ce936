"""Workers with several ports by name, as those meet them who ask for a machine and those who run the service."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from urllib.request import urlopen

import pytest
from tests.contract.test_docker_ports import TWO_SERVERS
from tests.contract.worlds import listening_on
from tests.integration.docker_command import a_name, docker, make_image, remove_image
from tests.integration.running import Running
from tests.integration.test_command_line import document, out, run
from tests.integration.test_commands import command
from tests.integration.waiting import eventually

from worker_orchestrator.client import Client

Start = Callable[..., Running]

SETTINGS = """
min_idle = 0
refresh_interval = 1

[pools.web]
image = "{image}"
min_idle = 1
ports = {{ http = 9092, hmr = 24678 }}
ready_port = "hmr"
"""


@pytest.fixture(scope="module")
def two_ports(example_image: str) -> Iterator[str]:
    tag = f"{a_name('image')}:latest"
    make_image(tag, TWO_SERVERS, "EXPOSE 24678")
    yield tag
    remove_image(tag)


@pytest.fixture
def service(start: Start, two_ports: str) -> Running:
    """One idle machine of the pool web, whose workers have two ports."""
    service = start(start=False)
    file = service.folder / "orchestrator.toml"
    file.write_text(SETTINGS.format(image=two_ports))
    service.start()
    service.await_idle(1)
    return service


def page(url: str) -> str:
    with urlopen(f"{url}/", timeout=5) as reply:
        return str(reply.read().decode())


def test_each_port_of_a_machine_has_a_url(service: Running) -> None:
    first = out(service, "assign", "p1", "--pool", "web").strip()
    second = out(service, "assign", "p1", "--port", "hmr").strip()
    assert "Hello from" in page(first)
    assert page(second) == "hmr\n"
    told = document(service, "assign", "p1")
    assert told["ports"] == {
        name: {
            "port": int(url.rpartition(":")[2]),
            "url": url,
            "preview_url": f"http://{name}--p1.localhost:{service.ports.api}/",
        }
        for name, url in (("http", first), ("hmr", second))
    }
    assert told["url"] == out(service, "assign", "p1", "--port", "http").strip() == first
    unknown = run(service, "assign", "p1", "--port", "ws", code=2)
    assert b"has no port named 'ws'. It has http, hmr." in unknown.stderr
    assert f"Ports:      http {first}, hmr {second}" in out(service, "show", "p1")
    names = ",".join(f"{name}:{port['port']}" for name, port in told["ports"].items())
    assert names in out(service, "list", "-o", "wide")
    with Client(f"http://localhost:{service.ports.api}") as client:
        assert client.machine_of("p1").ports["hmr"].url == second
    assert set(service.assign("p1")) == {"ip", "port", "url", "containerId"}, "the document's reply is as it was"

    plain = service.get("/v1/projects/p2/machine")
    assert plain.status == 404
    out(service, "assign", "p2")
    assert document(service, "assign", "p2")["ports"] == {}
    none = run(service, "assign", "p2", "--port", "hmr", code=2)
    assert b"Its pool names no ports (setting `ports`)." in none.stderr


def test_what_was_given_survives_a_restart_and_other_names_are_for_new_machines(service: Running) -> None:
    before = document(service, "assign", "p1", "--pool", "web")
    service.end()
    file = service.folder / "orchestrator.toml"
    file.write_text(file.read_text().replace("hmr", "ws"))
    service.start()
    after = document(service, "assign", "p1")
    assert after["ports"] == before["ports"]
    assert page(after["ports"]["hmr"]["url"]) == "hmr\n"
    docker("kill", before["id"])
    eventually(lambda: document(service, "show", "p1")["state"] == "assigned", "it is restarted")
    assert page(after["ports"]["hmr"]["url"]) == "hmr\n"
    eventually(lambda: document(service, "list", "--pool", "web", "--state", "idle"), "a new one is there")
    other = document(service, "assign", "p2", "--pool", "web")
    assert list(other["ports"]) == ["http", "ws"]
    assert page(other["ports"]["ws"]["url"]) == "hmr\n"


def test_a_port_that_another_process_has_is_passed_over(service: Running) -> None:
    document(service, "assign", "p1", "--pool", "web")
    service.await_idle(1)
    last = max(port for (port,) in service.rows("SELECT port FROM machine_port"))
    with listening_on(last + 2):
        out(service, "assign", "p2", "--pool", "web")
        document(service, "assign", "p3", "--pool", "web")
        ports = [port for (port,) in service.rows("SELECT port FROM machine_port ORDER BY port")]
        assert last + 2 not in ports
    assert len(ports) == len(set(ports)) >= 6
    for project in ("p1", "p2", "p3"):
        assert page(document(service, "assign", project)["ports"]["hmr"]["url"]) == "hmr\n"


def test_a_container_that_the_database_forgot_is_adopted_with_all_its_ports(service: Running) -> None:
    before = document(service, "assign", "p1", "--pool", "web")
    service.end()
    with closing(sqlite3.connect(service.state_dir / "orchestrator.db")) as db:
        db.execute("DELETE FROM machine")
        db.commit()
        assert db.execute("SELECT count(*) FROM machine_port").fetchone() == (0,)
    adopted = command(service, "recover", "--adopt", f"{before['id']}=p1")
    assert adopted.returncode == 0, adopted.stderr
    service.start()
    after = document(service, "assign", "p1")
    assert after["ports"] == before["ports"]
    assert page(after["ports"]["hmr"]["url"]) == "hmr\n"


def test_a_reload_brings_ports(service: Running) -> None:
    file = service.folder / "orchestrator.toml"
    file.write_text(file.read_text() + "\n[pools.default]\nports = { app = 9092 }\n")
    shown = out(service, "reload", "--yes")
    assert "~ pool default, ports: - -> app=9092" in shown
    told = eventually(lambda: document(service, "assign", "p2"), "a machine comes")
    preview = f"http://app--p2.localhost:{service.ports.api}/"
    assert told["ports"] == {"app": {"port": told["port"], "url": told["url"], "preview_url": preview}}
    file.write_text(file.read_text() + "worker_port = 9092\n")
    refused = run(service, "reload", "--yes", code=2)
    assert b"In pool default, worker_port is 9092, and ports says which ports the worker has as well." in refused.stderr
