"""By every route, a key sees and touches its own projects only. What is another's is as if it were not there."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from tests.integration.calling import Answer, call
from tests.integration.described import Operation, operations
from tests.integration.running import Running, a_service, environment
from tests.integration.waiting import eventually
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from worker_orchestrator.client import Client
from worker_orchestrator.errors import Forbidden, MachineNotFound, PoolNotFound, ProjectHasNoMachine, Unauthorized
from worker_orchestrator.key_errors import KeyExists, KeyLimitReached, KeyNotFound

TOKEN: Final = "the-token-of-the-operator"
UNKNOWN: Final = "worker-1700000000000-abcdefghi"
OPERATORS: Final = {
    *("v1Pools", "v1Pool", "v1PatchPool", "v1PlanPool", "v1History", "v1Health", "v1Reload", "metrics", "v1Route"),
    *("v1TraefikRoutes", "v1Keys", "v1CreateKey", "v1RevokeKey"),
}
"""By their operationId. Those of which a path, and not a caller, is the key are in `PUBLIC`."""
PUBLIC: Final = {"livez", "readyz", "loginState", "login", "logout"}
BODIES: Final[dict[str, Any]] = {"v1Exec": {"command": ["true"]}, "destroy": {"containerId": "{id}"}}
QUERIES: Final = {
    "v1ReadFile": "?path=/tmp",
    "v1WriteFile": "?path=/tmp",
    "v1Events": "?follow=false",
    "v1Route": "?host=x",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("keys")
    (folder / "token").write_text(TOKEN)
    flags = ("--engine", "memory", "--token-file", str(folder / "token"), "--max-machines", "9")
    with a_service(folder, *flags, start=False) as running:
        yield started(running)


def started(service: Running) -> Running:
    """A service that wants a token, as soon as it answers."""
    service.start(await_answer=False)

    def answers() -> bool:
        try:
            return service.get("/livez", timeout_s=5).status == 200
        except OSError:
            return False

    eventually(answers, "the service answers", within_s=30)
    return service


def client(service: Running, token: str) -> Client:
    return Client(f"http://127.0.0.1:{service.ports.api}", token=token, retries=0)


@pytest.fixture(scope="module")
def values(service: Running) -> dict[str, str]:
    with client(service, TOKEN) as operator:
        return {name: operator.create_key(name, max_machines=2).value for name in ("ann", "bob", "cat")}


def ask(service: Running, value: str, method: str, path: str, body: Any = None) -> Answer:
    return call(service.ports.api, method, path, body, {"Authorization": f"Bearer {value}"})


def filled(text: str, project: str, machine: str) -> str:
    named = {"project": project, "projectId": project, "id": machine, "name": "default"}
    return re.sub(r"\{(\w+)\}", lambda match: named[match[1]], text)


def said(answer: Answer, *names: str) -> tuple[int, str]:
    """Status and words without what differs by request and by the names in it."""
    text = re.sub(r'"request_id":"[^"]*"', "", answer.text)
    for name in names:
        text = text.replace(name, "NAME")
    return answer.status, text


def state(service: Running) -> Any:
    """All that the operator sees of machines and their assignments."""
    with client(service, TOKEN) as operator:
        held = [one for one in operator.machines() if one.project is not None]
        return sorted((one.id, one.project, one.generation, one.state, str(one.lease)) for one in held)


@pytest.mark.parametrize("operation", [*operations("/")], ids=lambda operation: operation.id)
def test_no_route_tells_or_changes_anything_of_another(
    service: Running, values: dict[str, str], operation: Operation
) -> None:
    """The reply is the same as for what is not there at all, with the same words."""
    with client(service, values["ann"]) as ann:
        machine = ann.assign("secret-project", metadata={"secret": "words"})
    before = state(service)

    takes_one = operation.id in {"assign", "v1Assign"}

    def reply(project: str, name: str) -> Answer:
        path = filled(operation.path, project, name) + QUERIES.get(operation.id, "")
        body = BODIES.get(operation.id)
        sent = None if body is None else json.loads(filled(json.dumps(body), project, name).replace("{id}", name))
        return ask(service, values["cat" if takes_one else "bob"], operation.method, path, sent)

    if takes_one:  # two keys may call a project the same
        answer = reply("secret-project", machine.id)
        assert answer.status in {200, 201}
        assert machine.id not in answer.text
        assert ask(service, values["cat"], "DELETE", "/secret-project").status == 200
        assert [one for one in state(service) if one[0] == machine.id] == [
            one for one in before if one[0] == machine.id
        ]
        return
    theirs, unknown = reply("secret-project", machine.id), reply("nobodys", UNKNOWN)
    names = ("secret-project", machine.id, "nobodys", UNKNOWN)
    if operation.id not in PUBLIC:
        assert said(theirs, *names) == said(unknown, *names)
        assert theirs.status == 403 if operation.id in OPERATORS else theirs.status != 403
    by_name = theirs.text.replace("NAME", "")
    for secret in ("words", "ann", *(() if "{" in operation.path or operation.id == "destroy" else names[:2])):
        assert secret not in by_name
    assert state(service) == before


def test_what_is_not_described_is_not_for_keys(service: Running, values: dict[str, str]) -> None:
    for path in ("/v1/nothing", "/v1/machines/x/y", "/metrics", "/e2b/nothing", "/v1/keys/ann"):
        assert ask(service, values["bob"], "GET", path).status == 403, path


def test_lists_and_events_are_of_its_own_projects_under_its_own_names(service: Running, values: dict[str, str]) -> None:
    with (
        client(service, values["ann"]) as ann,
        client(service, values["bob"]) as bob,
        client(service, TOKEN) as operator,
    ):
        mine, other = ann.assign("secret-project"), bob.assign("own")
        assert [(one.id, one.project) for one in bob.machines()] == [(other.id, "own")]
        assert [one.id for one in bob.machines(project="own")] == [other.id]
        listed = ask(service, values["bob"], "GET", "/machines/list").json["machines"]
        assert [(one["id"], one["assignedProject"]) for one in listed] == [(other.id, "own")]
        assert ask(service, values["bob"], "GET", "/health").json["machines"] == {"total": 1, "idle": 0, "used": 1}
        events = list(bob.events(follow=False))
        assert events
        assert {one.project for one in events} == {"own"}
        assert mine.id not in {one.machine for one in events}
        assert {one.project for one in operator.machines()} >= {"ann:secret-project", "bob:own"}
        assert operator.machine_of("bob:own").id == other.id
        assert bob.why("own").project == "own"
        assert "bob:" not in str(bob.why("own"))
        with pytest.raises(ProjectHasNoMachine, match=r"^The project x has no machine\."):
            bob.machine_of("x")
        bob.release("own")


def test_a_limit_is_told_of_in_words_and_without_a_time_to_wait(service: Running, values: dict[str, str]) -> None:
    with client(service, values["bob"]) as bob:
        for project in ("one", "two"):
            bob.assign(project)
        with pytest.raises(KeyLimitReached, match="The key bob may have 2 machines at once"):
            bob.assign("three")
        answer = ask(service, values["bob"], "GET", "/three")
        assert (answer.status, "retry-after" in {name.lower() for name in answer.headers}) == (429, False)
        assert "The key bob may have 2 machines at once" in answer.text
        for project in ("one", "two"):
            bob.release(project)


def test_rights_and_pools_are_those_of_the_key(service: Running) -> None:
    with client(service, TOKEN) as operator:
        value = operator.create_key("reader", may=["read"], pools=["default"]).value
        with client(service, value) as reader:
            assert reader.machines() == []
            with pytest.raises(Forbidden, match="The key reader may read, and this call needs assign"):
                reader.assign("p")
        other = operator.create_key("other", pools=["default"]).value
        with client(service, other) as bound, pytest.raises(PoolNotFound, match="for the key other"):
            bound.assign("p", pool="node")
        with pytest.raises(PoolNotFound):
            operator.create_key("wrong", pools=["nothing"])
        with pytest.raises(KeyExists):
            operator.create_key("other")
        operator.revoke_key("other")
        operator.revoke_key("reader")
        with pytest.raises(KeyNotFound):
            operator.revoke_key("reader")
        with client(service, other) as bound, pytest.raises(Unauthorized):
            bound.machines()


def test_keys_guess_no_faster_than_tokens(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    with a_service(tmp_path, "--engine", "memory", "--token-file", str(tmp_path / "token"), start=False) as running:
        started(running)
        answers = [ask(running, f"orc_ann_{number}", "GET", "/machines/list").status for number in range(12)]
        assert answers[0] == 401
        assert answers[-1] == 429


def test_without_a_token_a_key_still_restricts_who_sends_it(tmp_path: Path) -> None:
    with a_service(tmp_path, "--engine", "memory") as running:
        command = [sys.executable, "-m", "worker_orchestrator", "--url", f"http://127.0.0.1:{running.ports.api}", "key"]

        def run(*words: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [*command, *words], capture_output=True, text=True, env=environment(), check=False, timeout=30
            )

        made = run("create", "ann", "--may", "assign,read", "--max-machines", "1")
        assert made.returncode == 0, made.stderr
        assert "has no token" in made.stderr
        value = made.stdout.strip()
        running.assign("mine")
        assert ask(running, value, "GET", "/hers").status == 200
        assert [one["assignedProject"] for one in ask(running, value, "GET", "/machines/list").json["machines"]] == [
            "hers"
        ]
        assert ask(running, f"{value[:-1]}x", "GET", "/machines/list").status == 401, "and nobody is let in by mistake"
        listed = run("list")
        assert "ann" in listed.stdout
        assert value not in listed.stdout
        assert value not in running.log
        assert run("revoke", "ann").returncode == 0
        assert ask(running, value, "GET", "/machines/list").status == 401
        assert run("revoke", "ann").returncode == 3


def test_on_docker_nobody_gets_into_a_machine_of_another(tmp_path: Path, example_image: str) -> None:
    """And keys survive the death of the process."""
    (tmp_path / "token").write_text(TOKEN)
    flags = ("--token-file", str(tmp_path / "token"), "--min-idle", "1", "--max-machines", "3")
    with a_service(tmp_path, *flags, start=False) as running:
        started(running)
        with client(running, TOKEN) as operator:
            values = {name: operator.create_key(name).value for name in ("ann", "bob")}
        running.end(signal.SIGKILL)
        started(running)
        with client(running, values["ann"]) as ann, client(running, values["bob"]) as bob:
            mine = ann.assign("p")
            assert ann.exec(mine.id, ["echo", "hello"]).stdout.strip() in {"hello", b"hello"}
            for attempt in (
                lambda: bob.exec(mine.id, ["touch", "/tmp/was-here"]),
                lambda: list(bob.logs(mine.id)),
                lambda: bob.stats(mine.id),
                lambda: bob.get(mine.id),
                lambda: bob.restart(mine.id),
                lambda: bob.destroy(mine.id),
            ):
                with pytest.raises(MachineNotFound, match=f"There is no machine {mine.id}"):
                    attempt()
            for method, path in (("GET", "/etc/passwd"), ("PUT", "/tmp")):
                assert ask(running, values["bob"], method, f"/v1/machines/{mine.id}/files?path={path}").status == 404
            address = f"ws://127.0.0.1:{running.ports.api}/v1/machines/{mine.id}/terminal"
            with (
                pytest.raises(InvalidStatus) as refusal,
                connect(address, additional_headers={"Authorization": f"Bearer {values['bob']}"}),
            ):
                pass
            assert refusal.value.response.status_code == 404
            with connect(address, additional_headers={"Authorization": f"Bearer {values['ann']}"}) as terminal:
                ann.release("p")
                eventually(lambda: _is_closed(terminal), "the terminal ends with the assignment")
            theirs = bob.assign("p")
            assert theirs.id != mine.id, "a machine is not given to a second project"


def _is_closed(terminal: Any) -> bool:
    from websockets.exceptions import ConnectionClosed  # noqa: PLC0415 # only here

    try:
        terminal.recv(timeout=0.2)
    except ConnectionClosed:
        return True
    except TimeoutError:
        return False
    return False
