"""A pool with a reserve, on Docker: what a burst gets, what people do to parked machines, and what a crash leaves."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.calling import Answer, call
from tests.integration.docker_command import LABEL, docker, docker_json, is_podman
from tests.integration.running import Running, a_service, orchestrator
from tests.integration.waiting import eventually, holds_for

pytestmark = pytest.mark.promise("parked")

PARKED = 3


@pytest.fixture
def service(tmp_path: Path, example_image: str) -> Iterator[Running]:
    sizes = ("--min-idle", "0", "--max-idle", "0", "--parked", str(PARKED))
    with a_service(tmp_path, *sizes, "--parked-check", "1", "--refresh-interval", "1") as running:
        await_reserve(running)
        yield running
        assert "Traceback" not in running.log


def parked(service: Running) -> list[str]:
    """Ids of the machines that are on record as parked."""
    return [row for (row,) in service.rows("SELECT id FROM machine WHERE state = 'parked' ORDER BY id")]


def is_paused(machine_id: str) -> bool:
    return bool(docker_json("inspect", machine_id)["State"]["Paused"])


def await_reserve(service: Running, count: int = PARKED) -> list[str]:
    """Ids of the reserve, as soon as it has so many, all of them paused. One may be showing just now that it answers."""

    def look() -> list[str]:
        there = parked(service)
        return there if len(there) == count and all(map(is_paused, there)) else []

    return eventually(look, f"{count} machines are parked", within_s=30)


def exec_in(service: Running, machine_id: str, script: str, timeout_s: float) -> Answer:
    body = {"command": ["sh", "-c", script], "timeout_seconds": timeout_s}
    return call(service.ports.api, "POST", f"/v1/machines/{machine_id}/exec", body)


def test_projects_that_come_at_once_get_parked_machines_and_are_told_so(service: Running) -> None:
    before = set(await_reserve(service))
    told = [threading.Thread(target=service.assign, args=(f"p{n}",)) for n in range(PARKED)]
    for thread in told:
        thread.start()
    for thread in told:
        thread.join()
    given = {machine["id"] for machine in service.machines() if machine["isUsed"]}
    assert given <= before, "none was started for them"
    assert not any(map(is_paused, given))
    url = ("--url", f"http://127.0.0.1:{service.ports.api}")
    assert "so a parked one went on for it" in orchestrator("why", "p0", *url, cwd=service.folder).stdout
    assert not given & set(await_reserve(service)), "the reserve was filled by others"
    listed = json.loads(orchestrator("list", "--state", "parked", "-o", "json", *url, cwd=service.folder).stdout)
    assert {machine["state"] for machine in listed} <= {"parked"}


def test_the_reserve_outlives_a_crash_of_the_service(service: Running) -> None:
    before = await_reserve(service)
    service.end(signal.SIGKILL)
    service.start()
    assert service.assign("p")["containerId"] in before
    assert set(await_reserve(service)) & set(before), "what was paused was kept"


def test_that_parked_machines_still_answer_fills_no_table_of_events(service: Running) -> None:
    newest = "SELECT max(seq) FROM event"
    eventually(lambda: not service.idle(), "all are parked")
    (before,) = service.rows(newest)
    holds_for(lambda: service.rows(newest) == [before], "no check is an event", for_s=6)


def test_what_people_do_to_parked_machines_is_put_right(service: Running) -> None:
    first, second, third = await_reserve(service)
    network = second if is_podman() else f"{LABEL}-{service.owner}"  # there each worker has a network
    docker("unpause", first, check=False)  # it may be showing that it answers
    docker("network", "disconnect", "-f", network, second)
    docker("rm", "-f", third)
    eventually(lambda: not {second, third} & set(parked(service)), "those two are replaced", within_s=20)
    assert first in await_reserve(service), "it was paused again"


def test_a_parked_machine_runs_no_command_and_says_why(service: Running) -> None:
    answers = (exec_in(service, await_reserve(service)[0], "true", 5) for _ in range(50))
    refused = next(answer for answer in answers if answer.status != 200)
    problem = json.loads(refused.body)
    assert (refused.status, problem["code"]) == (409, "not_running")
    assert "is parked, which means paused until a project needs a machine" in problem["detail"]
    assert "unpause" not in problem["detail"], "it would be paused again"


def test_a_machine_in_which_a_command_runs_is_parked_only_when_that_has_ended(service: Running) -> None:
    """Else nobody could end it, and it would go on beside the next project."""
    sizes = {"min_idle": 1, "max_idle": 1, "parked": 0}
    assert call(service.ports.api, "PATCH", "/v1/pools/default", sizes).status == 200
    (machine_id,) = service.await_idle(1)
    answers: list[Answer] = []
    command = threading.Thread(target=lambda: answers.append(exec_in(service, machine_id, "echo on; sleep 600", 8)))
    command.start()
    eventually(lambda: "sleep 600" in docker("top", machine_id).out, "the command runs")
    smaller = {"min_idle": 0, "parked": 1}
    assert call(service.ports.api, "PATCH", "/v1/pools/default", smaller).status == 200
    holds_for(lambda: not is_paused(machine_id), "it is not paused while the command runs", for_s=5)
    command.join()
    assert answers[0].json["exit_code"] is None, "its time was up"
    assert await_reserve(service, 1) == [machine_id]
    assert service.assign("p")["containerId"] == machine_id
    assert "sleep 600" not in docker("top", machine_id).out


def test_less_of_a_reserve_is_wanted_at_run_time_and_then_none(service: Running) -> None:
    url = ("--url", f"http://127.0.0.1:{service.ports.api}")
    said = orchestrator("scale", "--parked", "1", *url, cwd=service.folder)
    assert f"parked    1  (the settings say {PARKED})" in said.stdout
    await_reserve(service, 1)
    orchestrator("scale", "--parked", "0", *url, cwd=service.folder)
    eventually(lambda: not service.containers(), "nothing is left")
    assert call(service.ports.api, "PATCH", "/v1/pools/default", {"parked": None}).json["parked"] == PARKED
    await_reserve(service)
