"""The tests of `test_daemon.py`, which runs them in namespaces of their own: they stop and start a private dockerd."""

from __future__ import annotations

import http.client
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Self

import pytest
from tests.integration.calling import Answer, call
from tests.integration.daemon import IS_PODMAN, Daemon, a_daemon
from tests.integration.docker_command import EXAMPLE, docker, docker_json
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually, holds_for

FLAGS = ("--min-idle", "2", "--max-machines", "8", "--assign-timeout", "3", "--refresh-interval", "2")
VERIFIED_FOR_S = 1.2


@pytest.fixture(scope="module")
def daemon(example_image: str) -> Iterator[Daemon]:
    """One for all tests of this file."""
    with a_daemon() as daemon:
        yield daemon


@pytest.fixture(scope="module")
def service(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with a_service(tmp_path_factory.mktemp("daemon"), *FLAGS, docker_host=daemon.host) as service:
        service.await_idle(2)
        yield service


@dataclass(slots=True)
class Callers:
    """Clients that go on asking. They note each answer with its time, and each machine that they found dead."""

    service: Running
    answers: list[Answer] = field(default_factory=list)
    dead: list[tuple[float, str]] = field(default_factory=list)
    done: Event = field(default_factory=Event)
    threads: list[Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.threads = [Thread(target=self._ask, args=(number,)) for number in range(3)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        for thread in self.threads:
            thread.join()

    def _ask(self, number: int) -> None:
        count = 0
        while not self.done.is_set():
            count += 1
            project = f"caller-{number}-{count}"
            answer = self.service.get(f"/{project}")
            self.answers.append(answer)
            if answer.status == 200:
                told_at = time.monotonic()
                if not _serves(answer.json["port"]):
                    self.dead.append((told_at, answer.text))
                self.answers.append(self.service.delete(project))
            self.answers += [self.service.get("/machines/list"), self.service.get("/health")]


def _serves(port: int) -> bool:
    try:
        return call(port, "GET", "/health", timeout_s=5).status == 200
    except (OSError, http.client.HTTPException):
        return False


def test_a_daemon_that_stops_and_starts_gives_everybody_their_machine_back(daemon: Daemon, service: Running) -> None:
    """Nobody gets a 500 or a dead machine, assigned ones come back with their files, and the pool is full again."""
    mine = service.assign("my-project")
    docker("exec", mine["containerId"], "sh", "-c", "echo my work >/srv/files/work.txt", host=daemon.host)
    service.await_idle(2)
    with Callers(service) as callers:
        eventually(lambda: len(callers.answers) >= 6, "the callers are at work")
        stops_at = time.monotonic()
        daemon.stop()
        stopped_at = time.monotonic()
        eventually(lambda: service.get("/health").status == 503, "health says so")
        down = service.get("/health")
        assert down.json == {"status": "error", "docker": "disconnected", "error": "Docker connection failed"}
        assert down.took_s < 2.5
        already = len(callers.answers)
        eventually(lambda: len(callers.answers) >= already + 12, "the callers are answered", within_s=30)
        daemon.start()
        eventually(lambda: service.get("/health").status == 200, "health says so")
        eventually(lambda: _serves(mine["port"]), "the project's machine serves again", within_s=30)
        eventually(lambda: service.machine_of("my-project"), "the project has its machine again")
    assert {answer.status for answer in callers.answers} <= {200, 404, 503}
    assert service.process is not None
    assert service.process.poll() is None
    assert service.assign("my-project") == mine
    assert call(mine["port"], "GET", "/files/work.txt").text == "my work\n"
    eventually(lambda: len(service.idle()) >= 2, "the pool is full again", within_s=30)
    for name in service.idle():
        assert docker_json("inspect", name, host=daemon.host)["State"]["Running"]
    service.destroy(mine["containerId"])
    # What answered within the last second is given away unasked: in the moment of its death that may be wrong.
    dead = [text for told_at, text in callers.dead if not stops_at < told_at < stopped_at + VERIFIED_FOR_S]
    assert not dead


@contextmanager
def without_ipv6() -> Iterator[None]:
    """In these namespaces only: the network of the machine is another one."""
    switch = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")
    switch.write_text("1")
    try:
        yield
    finally:
        switch.write_text("0")


def state_of(service: Running, machine: str) -> tuple[str, str]:
    told = call(service.ports.api, "GET", f"/v1/machines/{machine}").json
    return told["state"], told["reason"]


def is_rolled_out(service: Running) -> bool:
    """Whether all free machines are idle and as new ones would be: where they are published may have just changed."""
    free = service.rows("SELECT DISTINCT state, template FROM machine WHERE project IS NULL AND state <> 'failed'")
    return free == [("ready", call(service.ports.api, "GET", "/v1/pools/default").json["template"])]


@pytest.mark.skipif(IS_PODMAN, reason="Podman publishes on IPv4 alone")
def test_ipv6_that_is_switched_off_costs_no_new_machine_and_no_files(daemon: Daemon, service: Running) -> None:
    """New ones are published on IPv4 alone. One that dies meanwhile waits until it is back, whoever restarts the service."""
    mine = service.assign("six")
    name = mine["containerId"]
    bindings = docker_json("inspect", name, host=daemon.host)["HostConfig"]["PortBindings"].values()
    assert {each["HostIp"] for ports in bindings for each in ports} == {"127.0.0.1", "::1"}
    docker("exec", name, "sh", "-c", "echo my work >/srv/files/work.txt", host=daemon.host)
    failed = "SELECT id FROM machine WHERE state = 'failed'"
    before = set(service.rows(failed))  # what ended with the daemon, in the tests above
    with without_ipv6():
        for machine_id in service.idle():
            service.destroy(machine_id)
        eventually(lambda: len(service.idle()) == 2, "the pool is full again", within_s=30)
        docker("kill", "--signal", "TERM", name, host=daemon.host)
        eventually(lambda: "does not have the address" in state_of(service, name)[1], "it says why", within_s=20)
        refused = service.get("/six")
        assert (refused.status, "IPv6" in refused.json["message"]) == (503, True)
        service.end()
        service.start()
        eventually(lambda: "does not have the address" in state_of(service, name)[1], "it says why", within_s=20)
        tries = f"SELECT count(*) FROM event WHERE machine = '{name}' AND cause = 'failed'"
        holds_for(
            lambda: state_of(service, name)[0] == "restarting" and service.rows(tries) == [(0,)], "it waits", for_s=8
        )
        assert set(service.rows(failed)) <= before
    assert call(service.ports.api, "POST", f"/v1/machines/{name}/restart").status == 202
    eventually(lambda: _serves(mine["port"]), "it serves again", within_s=30)
    assert service.assign("six") == mine
    assert call(mine["port"], "GET", "/files/work.txt").text == "my work\n"
    service.destroy(name)
    eventually(lambda: is_rolled_out(service), "no replacement is under way", within_s=60)


def test_a_daemon_that_is_frozen_holds_up_no_warm_assign(daemon: Daemon, service: Running) -> None:
    """Its workers run and answer, so they can be given away; /health says within 2 s what is wrong."""
    eventually(lambda: len(service.idle()) >= 2, "two idle machines", within_s=30)
    daemon.send(signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(service.get, path) for path in ("/frozen-1", "/frozen-2")]
            answers = [one.result() for one in asked]
        for answer in answers:
            assert answer.status == 200, answer.text
            assert answer.took_s < 2
            assert _serves(answer.json["port"])
        health = service.get("/health")
        assert (health.status, health.json["docker"]) == (503, "disconnected")
        assert health.took_s < 3
        listing = service.get("/machines/list")
        assert listing.status == 200
        assert listing.took_s < 5
        with ThreadPoolExecutor(9) as pool:
            beyond = list(pool.map(lambda number: service.get(f"/frozen-{number}"), range(3, 12)))
        refused = [answer for answer in beyond if answer.status != 200]
        assert refused
        assert all(answer.status == 503 and answer.took_s < 5 for answer in refused)
        again = service.get("/frozen-12")
        assert (again.status, again.headers["retry-after"]) == (503, "3")
        assert again.took_s < 2, "once it is known that Docker does not answer, nobody waits for it"
        assert "It did not answer within" in again.json["message"]
        destroyed = service.post_destroy(answers[1].json["containerId"])
        assert destroyed.status == 500
        assert destroyed.took_s < 5
        assert service.delete("frozen-1").status == 200
    finally:
        daemon.send(signal.SIGCONT)
    eventually(lambda: service.get("/health").status == 200, "health says so")
    eventually(lambda: len(service.idle()) >= 2, "the pool is full again", within_s=40)
    for machine in service.machines():
        if machine["isUsed"]:
            service.release(machine["id"])
    holds_for(lambda: service.get("/health").status == 200, "it stays well", for_s=0.5)


def test_a_daemon_may_be_restarted_again_and_again(daemon: Daemon, service: Running) -> None:
    """Each time a project's machine comes back: that its container ended was not its own doing."""
    mine = service.assign("persistent")
    for count in range(4):
        daemon.stop()
        eventually(lambda: service.get("/health").status == 503, "health says so")
        daemon.start()
        eventually(lambda: _serves(mine["port"]), f"it serves after restart {count + 1}", within_s=30)
        eventually(lambda: service.machine_of("persistent"), f"it is back after restart {count + 1}")
        assert service.assign("persistent") == mine
    service.destroy(mine["containerId"])


def test_a_daemon_that_takes_its_time_to_stop_costs_nobody_a_machine(daemon: Daemon, service: Running) -> None:
    """It refuses new connections at once, and answers on old ones until its last container has ended."""
    eventually(lambda: len(service.idle()) >= 2, "two idle machines", within_s=40)
    mine = service.assign("patient")
    docker("exec", mine["containerId"], "sh", "-c", "echo my work >/srv/files/work.txt", host=daemon.host)
    stubborn = ("--entrypoint", "sh", EXAMPLE, "-c", "trap : TERM; while :; do sleep 1; done")
    docker("run", "-d", "--stop-timeout", "7", *stubborn, host=daemon.host)
    daemon.stop()
    daemon.start()
    eventually(lambda: _serves(mine["port"]), "the project's machine serves again", within_s=30)
    eventually(lambda: service.machine_of("patient"), "the project has its machine again", within_s=30)
    assert service.assign("patient") == mine
    assert call(mine["port"], "GET", "/files/work.txt").text == "my work\n"
    eventually(lambda: len(service.idle()) >= 2, "the pool is full again", within_s=40)
    service.destroy(mine["containerId"])


def test_a_destroy_while_the_daemon_is_away_is_carried_out_later(daemon: Daemon, service: Running) -> None:
    """The caller hears that it failed; the machine is nobody's from then on, and goes when Docker is back."""
    eventually(lambda: len(service.idle()) >= 2, "two idle machines", within_s=40)
    mine = service.assign("away")["containerId"]
    daemon.stop()
    answer = service.post_destroy(mine)
    assert answer.status == 500
    assert answer.json["error"] == "Failed to destroy container"
    assert re.search(r"[^.]\.$", answer.json["message"])
    daemon.start()
    eventually(lambda: mine not in service.containers(), "its container is gone", within_s=30)
    assert service.machine_of("away") is None
    eventually(lambda: len(service.idle()) >= 2, "the pool is full again", within_s=40)


def test_a_service_starts_only_where_its_engine_answers(daemon: Daemon, service: Running) -> None:
    """Stopped and started while the daemon was away, it says so; afterwards it knows its machines."""
    mine = service.assign("before")
    service.end()
    daemon.stop()
    service.start(await_answer=False)
    assert service.wait() == 1
    assert "No Docker engine answers" in service.log
    daemon.start()
    service.start()
    assert service.assign("before") == mine
    assert eventually(lambda: _serves(mine["port"]), "it serves")
