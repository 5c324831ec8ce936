"""openapi.yaml and the running service say the same: Schemathesis sends what fits the description, and what does not."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypothesis import assume, settings
from openapi_spec_validator import validate
from schemathesis import Case, CheckContext, Response
from tests.integration.described import DESCRIBED, EXCLUDED, SCHEMA, bounded, is_positive
from tests.integration.running import Running, a_service

from worker_orchestrator.core.project import RESERVED_PROJECTS, project_id
from worker_orchestrator.errors import InvalidProject

SERVER_ERRORS: Final = {"Failed to destroy container", "Failed to create worker or no machines available"}
DOCUMENT: Final = SCHEMA.exclude(path_regex="^/v1/")
NAMES_A_MACHINE: Final = {"DELETE /{projectId}", "HEAD /{projectId}", "POST /destroy"}
TAKE_A_NAME: Final = NAMES_A_MACHINE | {"GET /{projectId}"}
OTHER_ROUTES: Final = {"health", "destroy", "login", "logout", "livez", "readyz", "metrics", "docs", "openapi.json"}
"""What answers there is described there, or is no part of the API."""
WELL_TRIED: Final = 5
_numbers = itertools.count()


def only_described_server_errors(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """What is not there cannot be destroyed (500), and where all machines are in use none can be had (503)."""
    if response.status_code >= 500 and case.method != "HEAD":
        assert response.json()["error"] in SERVER_ERRORS, response.text


class Caller:
    """Sends cases to one service, every other one with the id of a machine that is there, and counts what succeeds."""

    def __init__(self, service: Running, every: int) -> None:
        self.service, self.every = service, every
        self.offered, self.successes = Counter[str](), Counter[str]()

    def try_out(self, case: Case[Any]) -> None:
        label = f"{case.method} {case.path}"
        self.offered[label] += 1
        if label in TAKE_A_NAME and self.offered[label] % self.every:
            return
        assume((case.path_parameters or {}).get("projectId") not in OTHER_ROUTES)
        if label in NAMES_A_MACHINE and is_positive(case) and next(_numbers) % 2:
            project = f"project-{next(_numbers)}"
            machine = self.service.get(f"/{project}").json
            if label == "POST /destroy":
                case.body = {"containerId": machine["containerId"]}
            else:
                assert case.path_parameters is not None
                case.path_parameters["projectId"] = project
        response = case.call_and_validate(
            base_url=f"http://localhost:{self.service.ports.api}",
            additional_checks=[only_described_server_errors],
            excluded_checks=EXCLUDED,
            timeout=45,
        )
        self.successes[label] += response.status_code == 200
        for machine in self.service.machines():
            if machine["isUsed"]:
                self.service.release(machine["id"])


@pytest.fixture(scope="module", params=["memory", "docker"])
def caller(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """One service on each engine: the memory engine for volume, Docker for the truth."""
    if request.param == "docker":
        request.getfixturevalue("example_image")
    flags = ("--engine", request.param, "--max-machines", "4", "--assign-timeout", "1")
    with a_service(tmp_path_factory.mktemp("openapi"), *flags) as service:
        service.await_idle(2)
        caller = Caller(service, 1 if request.param == "memory" else 4)
        yield caller
        rarely = {label: caller.successes[label] for label in TAKE_A_NAME & caller.offered.keys()}
        rarely = {label: count for label, count in rarely.items() if count < WELL_TRIED}
        assert not rarely, f"answered with 200 too rarely to prove much: {rarely}"
        assert "Traceback" not in service.log
        assert "defect" not in service.log


def test_the_description_is_valid_openapi() -> None:
    validate(DESCRIBED)


def test_the_description_knows_the_reserved_names_and_what_a_project_id_is() -> None:
    """As project.py does."""
    schema = DESCRIBED["components"]["schemas"]["ProjectId"]
    assert set(schema["not"]["anyOf"][0]["enum"]) == RESERVED_PROJECTS
    for text in ("a", "A.b_c~d:e@f+g=h,i-j", "x" * 128, "x" * 129, "", ".a", "a b", "a/b", "-", "\u00e4"):
        assert (re.search(schema["pattern"], text) is not None) == is_project(text)


def is_project(text: str) -> bool:
    try:
        return project_id(text) == text
    except InvalidProject:
        return False


@DOCUMENT.parametrize()
@settings(bounded, max_examples=50)
def test_the_service_does_what_is_described_whatever_it_is_sent(case: Case[Any], caller: Caller) -> None:
    caller.try_out(case)
