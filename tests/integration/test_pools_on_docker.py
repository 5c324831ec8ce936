"""Three pools that share one Docker: each project gets a machine of its pool, in order, within all limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import pytest
from tests.integration.calling import Answer, call
from tests.integration.docker_command import LABEL, docker
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually

POOLS: Final = ("default", "node20", "python")
LIMITS: Final = {"": 14, "node20": 5, "python": 6}
"""Of the fleet, and of the pools that have one of their own."""
SETTINGS: Final = f"""
max_machines = {LIMITS[""]}
min_idle = 2

[pools.node20]
min_idle = 1
max_machines = {LIMITS["node20"]}
on_release = "recycle"
env = {{ POOL = "node20" }}

[pools.python]
min_idle = 0
max_machines = {LIMITS["python"]}
"""
IDLE: Final = {"default": 2, "node20": 1, "python": 0}


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[Running]:
    """Two idle machines of default, one of node20, none of python."""
    folder = tmp_path_factory.mktemp("pools")
    file = folder / "orchestrator.toml"
    file.write_text(SETTINGS)
    with a_service(folder, "--config", str(file), "--refresh-interval", "1") as service:
        service.await_idle(3)
        yield service
        assert "Traceback" not in service.log


@pytest.fixture
def service(pools: Running) -> Iterator[Running]:
    """As the settings say, without projects and without more idle machines than that when the test ends."""
    yield pools
    for machine in pools.machines():
        if machine["isUsed"]:
            pools.release(machine["assignedProject"])
    for name, count in IDLE.items():
        change(pools, name, min_idle=None, max_idle=count, limit=None)
    eventually(lambda: {name: idle_of(pools, name) for name in POOLS} == IDLE, "the pools are as they were")
    for name in POOLS:
        change(pools, name, max_idle=None)


def assign(service: Running, project: str, pool: str, wait_s: float) -> Answer:
    asked = {"pool": pool, "wait_seconds": wait_s}
    return call(service.ports.api, "PUT", f"/v1/projects/{project}/machine", asked)


def change(service: Running, pool: str, **sizes: int | None) -> None:
    assert call(service.ports.api, "PATCH", f"/v1/pools/{pool}", sizes).status == 200


def pool_of(service: Running, name: str) -> Any:
    return call(service.ports.api, "GET", f"/v1/pools/{name}").json


def idle_of(service: Running, name: str) -> int:
    return int(pool_of(service, name)["machines"]["idle"])


def machines_of(service: Running) -> int:
    """How many machines there are in all pools, whatever their state."""
    return sum(sum(pool["machines"].values()) for pool in call(service.ports.api, "GET", "/v1/pools").json["pools"])


def pools_in_docker(service: Running) -> dict[str, str]:
    """The pool of each container of this service, in any state."""
    shown = "{{.Names}} {{.Label " + f'"{LABEL}.pool"' + "}}"
    lines = docker("ps", "-a", "--filter", f"label={LABEL}.owner={service.owner}", "--format", shown).out.splitlines()
    return {name: pool for name, _, pool in (line.partition(" ") for line in lines)}


def pool_in_docker(machine: str) -> str:
    """The pool of this container, which is there."""
    return docker("inspect", "--format", "{{index .Config.Labels " + f'"{LABEL}.pool"' + "}}", machine).out


@contextmanager
def watched(service: Running) -> Iterator[list[dict[str, str]]]:
    """What `pools_in_docker` shows, again and again while the block runs: never more than is allowed.

    One listing takes Podman seconds while many containers start, so one that came and went meanwhile is in none.
    """
    seen, over = list[dict[str, str]](), threading.Event()

    def watch() -> None:
        while not over.is_set():
            seen.append(pools_in_docker(service))

    with ThreadPoolExecutor(1) as watcher:
        watching = watcher.submit(watch)
        try:
            yield seen
        finally:
            over.set()
    watching.result()
    for containers in seen:
        names = list(containers.values())
        assert all(count_of(names, pool) <= most for pool, most in LIMITS.items()), names


def count_of(names: list[str], pool: str) -> int:
    return names.count(pool) if pool else len(names)


def test_of_sixty_at_once_each_gets_a_machine_of_its_pool_in_the_end_and_no_limit_is_passed(service: Running) -> None:
    """Twenty of each pool, and room for fourteen: whoever is served gives back at once, whoever hears no asks again."""

    def ask(number: int) -> tuple[str, str, int]:
        """The pool of the machine that it got, the pool that it asked for, and how many machines there are."""
        project, name = f"p{number}", POOLS[number % 3]
        deadline = time.monotonic() + 60
        while (answer := assign(service, project, name, 3)).status == 503 and time.monotonic() < deadline:
            pass
        assert answer.status == 201, answer.text
        found, count = pool_in_docker(answer.json["id"]), machines_of(service)
        service.release(project)
        return found, name, count

    with watched(service), ThreadPoolExecutor(60) as clients:
        given = list(clients.map(ask, range(60)))
    assert [found for found, _, _ in given] == [asked for _, asked, _ in given]
    assert max(count for _, _, count in given) == LIMITS[""], "as many as are allowed are used"


def test_whoever_waits_longest_is_served_first_whichever_pool_it_waits_for(service: Running) -> None:
    change(service, "default", limit=3, min_idle=0)
    for project in "abc":
        assert assign(service, project, "node20", 10).status == 201
    served, arrivals = list[str](), ("python", "default", "node20", "default")

    def wait(project: str, name: str) -> None:
        assert assign(service, project, name, 40).status == 201
        served.append(project)

    with ThreadPoolExecutor(4) as clients:
        waiting = list[Future[None]]()
        for number, name in enumerate(arrivals):
            waiting.append(clients.submit(wait, f"w{number}", name))
            eventually(lambda: call(service.ports.api, "GET", "/v1/health").json["waiting"] == len(waiting), "it waits")
        for number, project in enumerate(["a", "b", "w0", "w1"]):
            service.release(project)
            eventually(waiting[number].done, "the next one is served", within_s=20)
    assert served == ["w0", "w1", "w2", "w3"]
    assert all(one.result() is None for one in waiting)


def test_an_idle_machine_of_another_pool_makes_room_but_none_that_its_pool_wants_to_keep(service: Running) -> None:
    change(service, "default", min_idle=4)
    eventually(lambda: idle_of(service, "default") == 4, "four are idle")
    change(service, "default", min_idle=None, limit=5)
    with watched(service) as seen, ThreadPoolExecutor(3) as clients:
        answers = list(clients.map(lambda number: assign(service, f"q{number}", "python", 5), range(3)))
    assert sorted(answer.status for answer in answers) == [201, 201, 503]
    assert "All 5 machines (max_machines) are in use." in next(one for one in answers if one.status == 503).text
    assert (idle_of(service, "default"), idle_of(service, "node20")) == (2, 1)
    kept = [list(containers.values()) for containers in seen]
    assert all(names.count("default") >= 2 and names.count("node20") == 1 and len(names) <= 5 for names in kept), kept
    retired = [line for line in service.log.splitlines() if "Another pool's project waits for its place." in line]
    assert len([line for line in retired[-2:] if "pool=default" in line]) == 2
