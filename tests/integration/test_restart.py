"""A bad edit costs no files: what failed is mended in place and started again, on real Docker."""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.calling import call
from tests.integration.conftest import Start
from tests.integration.docker_command import a_name, docker, docker_json, make_image
from tests.integration.running import Running, a_service, orchestrator
from tests.integration.waiting import eventually

from worker_orchestrator.client import Client
from worker_orchestrator.errors import GenerationMismatch, MachineFailed, NotAssigned

HASTY = (sys.executable, str(Path(__file__).with_name("hasty_service.py")))
EDITED = 'ENTRYPOINT ["sh", "-c", "grep -qs ^bad /srv/files/conf && { echo bad config; exit 3; }; exec /bin/worker"]'


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[Running]:
    """A service of workers that end where a file is bad, and that fail for good after three quick deaths."""
    image = f"{a_name('image')}:latest"
    make_image(image, EDITED)
    folder = tmp_path_factory.mktemp("hasty")
    flags = ("--image", image, "--min-idle", "1", "--max-machines", "4", "--assign-timeout", "10")
    with a_service(folder, *flags, start=False) as service:
        service.start(command=HASTY)
        service.await_idle(1)
        yield service
    docker("rmi", "-f", image, check=False)


def command(service: Running, *words: str) -> tuple[int, str, str]:
    done = orchestrator("--url", f"http://localhost:{service.ports.api}", *words, cwd=service.folder)
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def break_it(service: Running, machine: str) -> None:
    """Somebody edits a file badly and ends the server, as one does to have it read its file again."""
    docker("exec", machine, "sh", "-c", "echo kept >/srv/files/work; echo bad >/srv/files/conf")
    docker("kill", "--signal", "TERM", machine)
    row = f"SELECT count(*) FROM machine WHERE state = 'failed' AND id = '{machine}'"
    eventually(lambda: service.rows(row)[0][0], "it failed for good", within_s=20)


def test_what_failed_after_a_bad_edit_is_mended_and_started_again_with_its_files(
    hasty: Running, tmp_path: Path
) -> None:
    """The message says how, and that is how it goes."""
    project = a_name("edited")
    before = hasty.assign(project)
    machine = before["containerId"]
    break_it(hasty, machine)
    code, _, said = command(hasty, "assign", project)
    assert (code, "orchestrator cp" in said, f"orchestrator restart {project}" in said) == (1, True, True)
    code, _, said = command(hasty, "exec", project, "--", "true")
    assert (code, "orchestrator cp" in said, "`orchestrator restart`" in said) == (1, True, True)
    (tmp_path / "conf").write_text("good\n")
    assert command(hasty, "cp", str(tmp_path / "conf"), f"{project}:/srv/files/conf")[0] == 0
    assert command(hasty, "restart", project) == (0, f"restarted {machine} of {project}", "")
    assert hasty.assign(project) == before
    with urllib.request.urlopen(f"{before['url']}/files/work", timeout=5) as page:
        assert page.read() == b"kept\n"
    hasty.destroy(machine)


def test_a_machine_that_failed_for_good_is_told_in_words_that_nobody_takes_for_a_full_pool(hasty: Running) -> None:
    """Its files are kept, so another try is no use: nothing says that one might be, and the health names the project."""
    project = a_name("unlucky")
    machine = hasty.assign(project)["containerId"]
    break_it(hasty, machine)
    kept = "or release or destroy the machine to get a new one."
    refused = hasty.get(f"/{project}")
    assert (refused.status, refused.json["error"]) == (503, "The machine of this project failed")
    assert refused.json["message"].endswith(kept)
    assert set(refused.json) == {"error", "message"}
    assert "retry-after" not in refused.headers
    refused = call(hasty.ports.api, "PUT", f"/v1/projects/{project}/machine")
    assert (refused.status, json.loads(refused.body)["code"]) == (409, "machine_failed")
    assert "retry-after" not in refused.headers
    with Client(f"http://localhost:{hasty.ports.api}") as client, pytest.raises(MachineFailed, match=kept):
        client.assign(project)
    code, _, said = command(hasty, "assign", project)
    assert (code, said.endswith(kept)) == (1, True)
    health = call(hasty.ports.api, "GET", "/v1/health").json
    told = [problem for problem in health["problems"] if project in problem]
    assert "orchestrator restart" in told[0]
    advised = told[0].rpartition("`orchestrator ")[2].partition("` to see why")[0]
    assert "The container exited with code" in command(hasty, *advised.split())[1]
    assert call(hasty.ports.api, "GET", "/readyz").status == 200
    hasty.destroy(machine)
    fresh = hasty.assign(project)["containerId"]
    assert fresh != machine
    hasty.destroy(fresh)


def test_what_failed_for_good_shows_its_last_lines_and_each_of_its_restarts(hasty: Running) -> None:
    """In the API, by `show` and by `why`, which also says what helps."""
    project = a_name("shown")
    machine = hasty.assign(project)["containerId"]
    break_it(hasty, machine)
    told = hasty.get(f"/v1/machines/{machine}").json
    assert told["evidence"].splitlines()[-1] == "bad config"
    assert told["next_try_at"] is None
    _, shown, _ = command(hasty, "show", project)
    assert "Last lines of its output:" in shown
    assert "  bad config" in shown.splitlines()
    _, why, _ = command(hasty, "why", project)
    assert f"`orchestrator restart {project}`" in why
    row = f"SELECT count(*) FROM event WHERE cause = 'restarted' AND machine = '{machine}'"
    count = hasty.rows(row)[0][0]
    assert count == 3
    for said in (shown, why):
        assert len(re.findall(r" restarted .*exited", said)) == count
    hasty.destroy(machine)


def test_a_restart_insists_on_what_was_seen(hasty: Running) -> None:
    """It hits no later tenant, and no machine of nobody."""
    idle = hasty.await_idle(1)[0]
    project = a_name("guarded")
    with Client(f"http://localhost:{hasty.ports.api}") as client:
        with pytest.raises(NotAssigned):
            client.restart(idle)
        machine = client.assign(project)
        begun = docker_json("inspect", machine.id)["State"]["StartedAt"]
        with pytest.raises(GenerationMismatch):
            client.restart(machine.id, generation=machine.generation - 1)
        assert docker_json("inspect", machine.id)["State"]["StartedAt"] == begun
        told = client.restart(machine.id, generation=machine.generation)
        assert (told.id, told.project, told.generation) == (machine.id, project, machine.generation)
        assert docker_json("inspect", machine.id)["State"]["StartedAt"] > begun
        assert client.assign(project).id == machine.id
        client.destroy(machine.id)
        reply = call(hasty.ports.api, "POST", f"/v1/machines/{machine.id}/restart")
        assert (reply.status, json.loads(reply.body)["code"]) == (404, "machine_not_found")


def test_a_network_without_addresses_blames_nobody_and_is_told_once(start: Start) -> None:
    """No failed machine, no storm; what is there is served, and the health says what to do."""
    network = a_name("small")
    docker("network", "create", "--subnet", "198.18.78.0/29", network)
    try:
        flags = ("--network", network, "--min-idle", "8", "--max-machines", "9", "--assign-timeout", "5")
        service = start(*flags)
        service.await_idle(5)
        pool = eventually(lambda: service.get("/v1/pools/default").json["back_off"], "the brake says why")
        assert "network has no address left" in pool["reason"]
        problems = call(service.ports.api, "GET", "/v1/health").json["problems"]
        assert any(
            problem.startswith("No machine can be created now. The workers' network has no address")
            for problem in problems
        )
        assert not any("image does not come up" in problem for problem in problems)
        told = eventually(lambda: service.get("/v1/pools/default").json["problem"], "the pool says so too")
        assert told in problems
        _, shown, _ = command(service, "scale")
        assert shown.count("network has no address left") == 1
        assert service.get(f"/{a_name('served')}").status == 200
        made = service.rows("SELECT count(*) FROM event WHERE cause = 'created'")[0][0]
        assert made < 20, "a storm"
        assert service.rows("SELECT count(*) FROM event WHERE cause = 'failed'") == [(0,)]
        service.close()
    finally:
        docker("network", "rm", network, check=False)


def test_a_worker_that_hangs_stays_with_its_project_until_somebody_asks_for_a_restart(start: Start) -> None:
    """Nobody asks a project's worker whether it answers, as docs/workers.md says."""
    service = start("--min-idle", "1", "--stop-timeout", "1")
    machine = service.assign("mine")["containerId"]
    docker("exec", machine, "sh", "-c", "echo kept >/srv/files/work")
    docker("exec", machine, "sh", "-c", "kill -STOP -1")
    url = service.get("/v1/projects/mine/machine").json["url"]
    with pytest.raises(TimeoutError):
        urllib.request.urlopen(f"{url}/health", timeout=4)
    assert service.get("/v1/projects/mine/machine").json["state"] == "assigned"
    assert service.get("/v1/health").json["problems"] == []
    code, said, _ = command(service, "restart", "mine")
    assert (code, said) == (0, f"restarted {machine} of mine")
    eventually(lambda: service.get("/v1/projects/mine/machine").json["state"] == "assigned", "it answers again")
    with urllib.request.urlopen(f"{url}/files/work", timeout=4) as reply:
        assert reply.read() == b"kept\n"
