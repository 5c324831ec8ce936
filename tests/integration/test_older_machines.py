"""A broken new image: projects get machines of the image before it, and it is said that they are older."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import pytest
from tests.integration.docker_command import a_name, docker, make_image
from tests.integration.running import Running, a_service, environment, orchestrator
from tests.integration.terminals import on_a_terminal
from tests.integration.waiting import eventually

OLDER = "It was made from an older image or older settings."
WORDS = "[ ! -e /srv/files/bad ] || exit 3; exec /bin/worker"
WORKS = f'ENTRYPOINT ["sh", "-c", "{WORDS}"]'
BREAKS = 'ENTRYPOINT ["sh", "-c", "exit 1"]'


@pytest.fixture
def tag(example_image: str) -> Iterator[str]:
    tag = f"{a_name('older')}:latest"
    make_image(tag, WORKS)
    yield tag
    docker("rmi", "-f", tag, check=False)


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory, tag: str) -> Iterator[Running]:
    with a_service(tmp_path_factory.mktemp("older"), "--image", tag, "--min-idle", "1") as service:
        service.await_idle(1)
        yield service


def said(service: Running, *words: str, code: int = 0) -> tuple[str, str]:
    done = orchestrator("--url", f"http://localhost:{service.ports.api}", *words, cwd=service.folder)
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done.stdout, done.stderr


def test_an_older_machine_is_said_to_be_one_wherever_one_looks(service: Running, tag: str) -> None:
    said(service, "assign", "before")
    service.await_idle(1)
    shown, _ = said(service, "show", "before")
    assert re.search(rf"^Image: +{tag}$", shown, re.MULTILINE)
    assert "Outdated:" not in shown
    assert OLDER not in said(service, "why", "before")[0]
    assert said(service, "assign", "before")[1] == ""

    make_image(tag, BREAKS)
    eventually(lambda: service.get("/v1/pools").json["pools"][0]["back_off"], "it failed", within_s=30)
    url, note = said(service, "assign", "after")
    assert re.fullmatch(r"http://localhost:\d+\n", url)
    assert f"{OLDER} `orchestrator why after` says why." in note
    assert service.get("/v1/projects/after/machine").json["outdated"] is True
    shown, _ = said(service, "show", "after")
    assert re.search(rf"^Outdated: +{OLDER}$", shown, re.MULTILINE)
    assert "Image:" not in shown, "which one that was is not on record"
    why, _ = said(service, "why", "after")
    assert re.search(rf"{OLDER} Newer machines do not come up\. Machine worker-\S+ failed\. The co", why)
    assert f"Once newer machines come up, {what_to_do('after')}" in why
    assert "While newer machines come up, `orchestrator release after` gets it one; its files are lost." in note

    _, none = said(service, "why", "nobody", code=3)
    assert (
        "The project nobody has no machine. It cannot get one now. The image does not come up. Machine worker-" in none
    )

    make_image(tag, WORKS)
    service.await_idle(1)
    for project in ("before", "after"):
        why, _ = said(service, "why", project)
        assert f"{OLDER} Both were current when it was made. {what_to_do(project)}" in why


def what_to_do(project: str) -> str:
    return f"`orchestrator release {project}` gets the project a new one; the files in this one are lost."


def test_what_is_left_of_failures_is_counted_apart_from_machines_that_are_failed_now(
    service: Running, tag: str
) -> None:
    service.assign("before")
    make_image(tag, BREAKS)
    eventually(lambda: service.get("/v1/health").json["machines"]["past_failures"], "its container is removed")
    url = f"http://localhost:{service.ports.api}"
    for words in (("health",), ("scale",)):
        told = orchestrator("--url", url, *words, cwd=service.folder).stdout
        assert re.search(r"^ *[Mm]achines:? .*1 assigned, (1 failed, )?[1-9] past failures?$", told, re.MULTILINE), told


def test_whoever_looks_reads_why_an_image_does_not_come_up_and_what_to_do(service: Running, tag: str) -> None:
    """In the log once, though it is tried again and again; what is left of failures stands below the machines."""
    service.assign("before")
    make_image(tag, 'ENTRYPOINT ["sh", "-c", "echo no such module; exit 1"]')
    eventually(lambda: len(past(service)) >= 2, "two attempts failed", within_s=30)
    service.assign("after")
    told, _ = said(service, "health", code=1)
    assert re.search(
        r"^! The image does not come up\. .* Rebuild it under the same tag: the pool notices", told, re.MULTILINE
    )
    assert f"Last log lines of {tag}:\n  no such module\n" in told
    (line,) = [line for line in service.log.splitlines() if "new machines do not come up" in line]
    shown = re.search(r"orchestrator (show worker-\S+-\w{9})", line)
    assert shown is not None, line
    assert "rebuild it under the same tag" in line
    assert "no such module" in said(service, *shown[1].split())[0]

    make_image(tag, WORKS)
    service.await_idle(1)
    eventually(lambda: not service.get("/v1/machines?state=starting").json["machines"], "no more are tried")
    failed = "/v1/machines?state=failed"
    eventually(
        lambda: all(one["url"] is None for one in service.get(failed).json["machines"]), "what failed is removed"
    )
    listed = [line.split()[0] for line in said(service, "list")[0].splitlines()[1:]]
    left = past(service)
    assert set(listed[-len(left) :]) == left
    by_age = [one["id"] for one in service.get("/v1/machines").json["machines"]]
    assert said(service, "list", "-o", "name")[0].split() == by_age != listed, "scripts get what they always got"


def past(service: Running) -> set[str]:
    failed = service.get("/v1/machines?state=failed").json["machines"]
    return {one["id"] for one in failed if one["url"] is None}


def test_who_waits_for_a_worker_that_is_restarting_hears_why(service: Running) -> None:
    machine = service.assign("mine")["containerId"]
    docker("exec", machine, "sh", "-c", "touch /srv/files/bad; kill 1", check=False)
    eventually(lambda: service.get(f"/v1/machines/{machine}").json["next_try_at"], "it waits for its second restart")
    command = [sys.executable, "-m", "worker_orchestrator", "assign", "mine"]
    env = environment({"ORCHESTRATOR_URL": f"http://localhost:{service.ports.api}"})
    with on_a_terminal(command, cwd=service.folder, env=env) as screen:
        screen.await_text(
            "Waiting: the worker of mine is restarting. The container exited with code 3. The next try is in "
        )
