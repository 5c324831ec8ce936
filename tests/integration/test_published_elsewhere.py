"""Machines that were made when the settings said something else keep a URL that leads to them."""

from __future__ import annotations

from collections.abc import Callable

from tests.integration.docker_command import docker, docker_json
from tests.integration.running import Running
from tests.integration.waiting import eventually

Start = Callable[..., Running]


def test_a_projects_machine_keeps_its_url_and_idle_ones_are_made_anew(start: Start) -> None:
    service = start("--min-idle", "1", "--refresh-interval", "1")
    service.await_idle(1)
    before = service.assign("p1")
    (idle,) = service.await_idle(1)
    assert before["url"] == f"http://localhost:{before['port']}"
    service.end()

    service.flags = (*service.flags, "--publish-address", "127.0.0.2", "--advertise-host", "127.0.0.2")
    service.start()
    assert service.assign("p1") == before
    (listed,) = [machine for machine in service.machines() if machine["isUsed"]]
    assert listed["url"] == before["url"]
    told = service.get(f"/v1/machines/{before['containerId']}").json
    assert (told["url"], told["host"]) == (before["url"], "localhost")
    health = service.get("/v1/health").json
    assert health["status"] == "degraded"
    assert any("machine of p1 was made, so its URL is still on localhost" in said for said in health["problems"])

    eventually(lambda: idle not in service.containers(), "the idle one is replaced")
    after = service.assign("p2")
    assert after["url"] == f"http://127.0.0.2:{after['port']}"
    bound = docker_json("inspect", after["containerId"])["HostConfig"]["PortBindings"].values()
    assert [port["HostIp"] for ports in bound for port in ports] == ["127.0.0.2"]

    service.release("p1")  # under reuse it is asked where it is, and then made anew
    eventually(lambda: before["containerId"] not in service.containers(), "it is replaced")
    eventually(lambda: service.get("/v1/health").json["status"] == "ok", "all is well again")


def test_a_machine_that_died_meanwhile_is_restarted_and_asked_where_it_is(start: Start) -> None:
    service = start("--min-idle", "0", "--refresh-interval", "1")
    before = service.assign("p1")
    service.end()

    service.flags = (*service.flags, "--publish-address", "127.0.0.2", "--advertise-host", "127.0.0.2")
    docker("kill", before["containerId"])
    service.start()
    assert service.assign("p1") == before
