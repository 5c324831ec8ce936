"""An assign that brings values, through the routes of /v1: what is replied, and how a set-up that failed is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.clock import Clock
from worker_orchestrator.control.assignment import Assignment, SetupReport
from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.control.reading.views import configured
from worker_orchestrator.core.configuration import Configuration, Stage
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import Holding, Machine, State
from worker_orchestrator.core.reasons import setup_failed
from worker_orchestrator.core.spec import Late, PoolSpec
from worker_orchestrator.engines.extras import LateValues
from worker_orchestrator.engines.memory.engine import MemoryEngine
from worker_orchestrator.errors import ConfiguredOtherwise, OrchestratorError, SetupFailed
from worker_orchestrator.http import problems
from worker_orchestrator.http.server import limits
from worker_orchestrator.http.v1.configured_words import configured_in_words
from worker_orchestrator.http.v1.projects import Projects
from worker_orchestrator.http.v1.responses import MachineShape
from worker_orchestrator.service.reload import limits_of
from worker_orchestrator.service.specification import spec_of
from worker_orchestrator.settings.loading import load
from worker_orchestrator.store.store import Store

SECRET = "hunter2-hunter2"
VALUES = {"env": {"A": "1"}, "secrets": {"KEY": SECRET}}


@dataclass
class Service:
    """A service without HTTP, on the engine that keeps everything in memory."""

    orchestrator: Orchestrator
    projects: Projects

    async def call(self, call: Callable[[Request], Awaitable[Response]], body: object = None) -> tuple[int, Any]:
        sent = b"" if body is None else json.dumps(body).encode()

        parts = iter([{"type": "http.request", "body": sent, "more_body": False}])

        async def receive() -> dict[str, Any]:
            part = next(parts, None)
            if part is None:
                await asyncio.Event().wait()  # it does not hang up
            assert part is not None
            return part

        scope = {"type": "http", "headers": [], "query_string": b"", "path_params": {"project": "p"}}
        try:
            response = await call(Request(scope, receive))
        except OrchestratorError as error:
            response = problems.of_error(error)
        assert SECRET.encode() not in response.body
        return response.status_code, json.loads(bytes(response.body))

    async def assign(self, **body: object) -> tuple[int, Any]:
        return await self.call(self.projects.assign, body)

    async def why(self) -> Any:
        status, told = await self.call(self.projects.why)
        assert status == 200
        return told


def lived(story: Callable[[Service], Awaitable[None]], **flags: Any) -> None:
    async def whole() -> None:
        settings = load({"engine": "memory", "min_idle": 1, **flags}, {})
        engine = MemoryEngine("owner")
        orchestrator = Orchestrator(
            Fleet("owner"), spec_of(settings), engine, Store(None), Clock(), limits_of(settings), "memory"
        )
        service = Service(orchestrator, Projects(orchestrator, MachineShape("localhost"), lambda _: ()))
        task = asyncio.create_task(orchestrator.run())
        try:
            async with asyncio.timeout(20):
                await story(service)
        finally:
            task.cancel()
            await asyncio.wait({task})
            await engine.aclose()

    asyncio.run(whole())


def test_a_machine_that_takes_values_is_configured_by_an_assign_that_brings_them() -> None:
    async def story(service: Service) -> None:
        status, machine = await service.assign()
        assert (status, machine["configured"], machine["setup"]) == (201, False, None)
        assert (await service.why())["configured"] is False
        assert "It is not configured: no assign brought values so far." in (await service.why())["why"]

        status, machine = await service.assign(**VALUES)
        assert (status, machine["configured"], machine["generation"]) == (200, True, 1)
        assert machine["setup"]["exit_code"] is None
        assert machine["setup"]["ms"] >= 0
        told = await service.why()
        assert (told["configured"], told["trouble"]) == (True, None)
        assert "It is configured" in told["why"]
        assert [event["cause"] for event in told["events"]][-2:] == ["configuring", "configured"]
        assert (await service.call(service.projects.show))[1]["configured"] is True

    lived(story, late_dir="/run/project")


def test_the_same_values_again_are_no_change_and_others_need_replace() -> None:
    async def story(service: Service) -> None:
        assert (await service.assign(**VALUES))[0] == 201
        events = len((await service.why())["events"])
        assert (await service.assign(**VALUES))[0] == 200
        assert (await service.assign())[1]["configured"] is True
        status, problem = await service.assign(env={"A": "2"})
        assert (status, problem["code"]) == (409, "configured_otherwise")
        assert len((await service.why())["events"]) == events
        status, machine = await service.assign(env={"A": "2"}, replace=True)
        assert (status, machine["configured"]) == (200, True)

    lived(story, late_dir="/run/project")


def test_a_pool_that_takes_no_values_says_so_before_it_gives_a_machine() -> None:
    async def story(service: Service) -> None:
        status, problem = await service.assign(**VALUES)
        assert (status, problem["code"]) == (400, "invalid_request")
        assert "late" in problem["detail"]
        assert (await service.assign(**VALUES, pool="nope"))[1]["code"] == "pool_not_found"
        assert (await service.call(service.projects.show))[0] == 404
        status, machine = await service.assign()
        assert (status, machine["configured"], machine["setup"]) == (201, None, None)
        told = await service.why()
        assert told["configured"] is None
        assert "configured" not in told["why"]

    lived(story)


def test_files_that_are_too_large_are_413_and_give_no_machine() -> None:
    async def story(service: Service) -> None:
        status, problem = await service.assign(files="A" * 1_400_000)
        assert (status, problem["code"]) == (413, "payload_too_large")
        assert problem["detail"].endswith("write it afterwards with PUT /v1/machines/{id}/files.")
        assert (await service.call(service.projects.show))[0] == 404

    lived(story, late_dir="/run/project")


def told_of(outcome: Assignment | OrchestratorError, asked: dict[str, Any]) -> tuple[int, Any]:
    """What is replied to an assign with this outcome. `asked` gets what the orchestrator was asked for."""
    found: list[tuple[int, Any]] = []

    async def story(service: Service) -> None:
        async def assign_machine(_project: str, _pool: str | None, _hung_up: Any, **more: Any) -> Assignment:
            asked.update(more)
            if isinstance(outcome, OrchestratorError):
                raise outcome
            return outcome

        service.orchestrator.assign_machine = assign_machine  # type: ignore[method-assign, assignment]
        found.append(await service.assign(**VALUES, replace=True))

    lived(story, late_dir="/run/project")
    return found[0]


MACHINE = Machine("worker-1-a", "default", "t", State.READY, 9093, Holding("p"), generation=3)
DONE = Configuration(Stage.DONE, "digest", is_certain=True, exit_code=0, took_ms=120)


def with_configuration(configuration: Configuration | None, **more: Any) -> Machine:
    fields = {name: getattr(MACHINE, name) for name in MACHINE.__struct_fields__}
    return Machine(**{**fields, "configuration": configuration, **more})


def test_what_became_of_a_machine_whose_set_up_failed_is_told_until_its_project_loses_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(service: Service) -> None:
        async def refuse(machine: Machine, *_: object, **__: object) -> None:
            raise SetupFailed("It answered with 500.", machine=machine.id)

        with monkeypatch.context() as broken:
            broken.setattr(service.orchestrator.engine, "configure", refuse)
            status, problem = await service.assign(**VALUES)
        assert (status, problem["code"]) == (424, "setup_failed")
        status, told = await service.call(service.projects.why)
        assert (status, told["code"]) == (404, "project_has_no_machine")
        its = f" It had {problem['machine']}, whose set-up failed at "
        its_end = (
            ", so that was removed. It is not configured. It answered with 500. "
            f"`orchestrator events --machine {problem['machine']}` tells its story."
        )
        assert its in told["detail"]
        assert f"{its_end} Run `orchestrator assign p` to get one." in told["detail"]

        status, machine = await service.assign(**VALUES)
        assert (status, machine["id"] != problem["machine"]) == (201, True)
        why = (await service.why())["why"]
        assert its in why
        assert f"{its_end} It is configured" in why

        await service.call(service.projects.release)
        assert problem["machine"] not in (await service.call(service.projects.why))[1]["detail"]

    lived(story, late_dir="/run/project", on_setup_failure="replace", min_idle=2)


def test_the_reply_has_the_set_up_with_the_last_lines_of_the_hook() -> None:
    asked: dict[str, Any] = {}
    done = Assignment(with_configuration(DONE), is_new=True, setup=SetupReport(0, 120, "made it\n"))
    status, machine = told_of(done, asked)
    assert (status, machine["configured"]) == (201, True)
    assert machine["setup"] == {"exit_code": 0, "ms": 120, "output": "made it\n"}
    values = asked["values"]
    assert isinstance(values, LateValues)
    assert (values.env, values.secrets, values.files, asked["replace"]) == ({"A": "1"}, {"KEY": SECRET}, b"", True)


def test_a_set_up_that_failed_is_424_with_the_machine_and_how_the_hook_ended() -> None:
    failure = SetupFailed("The hook ended with 3.", machine="worker-1-a", exit_code=3, took_ms=15, output="no ***\n")
    status, problem = told_of(failure, {})
    assert (status, problem["code"], problem["status"], problem["machine"]) == (424, "setup_failed", 424, "worker-1-a")
    assert (problem["detail"], problem["title"]) == ("The hook ended with 3.", "Setting up the machine failed")
    assert problem["setup"] == {"exit_code": 3, "ms": 15, "output": "no ***\n"}


def test_no_other_problem_has_a_set_up() -> None:
    status, problem = told_of(ConfiguredOtherwise(), {})
    assert status == 409
    assert {"machine", "setup"}.isdisjoint(problem)


# whether it is configured, in a word and in words

TAKES, TAKES_NONE = PoolSpec("t", late=Late("/run/project")), PoolSpec("t")


@pytest.mark.parametrize(
    ("machine", "pool", "is_configured"),
    [
        (with_configuration(DONE), TAKES, True),
        (with_configuration(DONE), TAKES_NONE, True),
        (with_configuration(None), TAKES, False),
        (with_configuration(None), TAKES_NONE, None),
        (with_configuration(Configuration(Stage.WRITING, "d")), TAKES, False),
        (with_configuration(Configuration(Stage.FAILED, "d")), TAKES, False),
        (with_configuration(Configuration(Stage.LOST, "d")), TAKES_NONE, False),
        (with_configuration(DONE, holding=None, state=State.STOPPING), TAKES, None),
    ],
)
def test_whether_a_machine_is_configured(machine: Machine, pool: PoolSpec, *, is_configured: bool | None) -> None:
    """None where there is nothing to say: nobody has it, or its pool takes no values. A reload may change that."""
    assert configured(machine, pool) is is_configured


AGAIN = "`orchestrator assign p` with --env, --secret or --files configures it."


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        (with_configuration(None), f"It is not configured: no assign brought values so far. {AGAIN}"),
        (with_configuration(DONE), "It is configured (that took 120 ms)."),
        (with_configuration(Configuration(Stage.DONE, "d")), "It is configured."),
        (
            with_configuration(Configuration(Stage.WRITING, "d")),
            f"It is not configured: its values are being written, its hook runs, or that was cut short. {AGAIN}",
        ),
        (
            with_configuration(Configuration(Stage.LOST, "d")),
            (
                "It is not configured any more: its values were in memory, and its container has stopped since. They are "
                f"stored nowhere else. {AGAIN}"
            ),
        ),
        (
            with_configuration(Configuration(Stage.FAILED, "d"), reason=setup_failed("The hook ended with 3.")),
            f"It is not configured. The hook ended with 3. {AGAIN}",
        ),
        (
            with_configuration(Configuration(Stage.FAILED, "d"), reason="It is assigned."),
            f"It is not configured. Setting it up failed. {AGAIN}",
        ),
    ],
)
def test_why_a_machine_is_not_configured(machine: Machine, said: str) -> None:
    assert configured_in_words(machine) == said


# how large a body may be


@pytest.mark.parametrize(
    ("method", "url", "most"),
    [
        (b"PUT", b"/v1/projects/p/machine", limits.ASSIGN_LIMIT_BYTES),
        (b"PUT", b"/v1/projects/p/machine/?a=b", limits.ASSIGN_LIMIT_BYTES),
        (b"POST", b"/v1/projects/p/machine", limits.BODY_LIMIT_BYTES),
        (b"PUT", b"/v1/projects/p/machine/sleep", limits.BODY_LIMIT_BYTES),
        (b"PUT", b"/v1/projects/p/q/machine", limits.BODY_LIMIT_BYTES),
        (b"PUT", b"/v1/machines/m/files?path=/", limits.FILE_LIMIT_BYTES),
        (b"GET", b"/p", limits.BODY_LIMIT_BYTES),
    ],
)
def test_only_an_assign_may_have_a_larger_body(method: bytes, url: bytes, most: int) -> None:
    assert limits.body_limit(method, url) == most


def test_a_body_of_an_assign_that_is_too_large_names_the_call_for_files() -> None:
    def said(most: int) -> str:
        refusal: Mapping[str, Any] = json.loads(limits.body_too_large(most).encoded())
        return str(refusal["message"])

    assert said(limits.ASSIGN_LIMIT_BYTES) == (
        "The body may have at most 4194304 bytes. Assign with fewer files, and write the others afterwards with "
        "PUT /v1/machines/{id}/files."
    )
    assert "files" not in said(limits.BODY_LIMIT_BYTES)
