"""/v1 does what openapi.yaml says: for whatever Schemathesis sends, and for each example that stands there.

The memory engine is there for volume, Docker for what happens inside a worker.
"""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import pytest
import schemathesis
from hypothesis import settings
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from schemathesis import Case, CheckContext, Response, checks
from tests.integration.calling import Answer, call
from tests.integration.described import (
    DESCRIBED,
    EXCLUDED,
    SCHEMA,
    Operation,
    bounded,
    is_positive,
    operations,
    resolved,
)
from tests.integration.running import Running, a_service
from websockets.sync.client import connect

from worker_orchestrator.http.v1.responses import STATES

OPERATIONS: Final = {operation.id: operation for operation in operations("/v1/")}
INSIDE: Final = {"v1Logs", "v1Stats", "v1Environment", "v1Exec", "v1ReadFile", "v1WriteFile"}
BY_WEBSOCKET: Final = {"v1Terminal"}
ENDLESS: Final = {"v1Logs", "v1Events"}
DEPENDS: Final = {
    *("v1KeepAlive", "v1Link", "v1Route", "v1Release", "v1Sleep", "v1Wake", "v1Destroy", "v1Restart"),
    *("v1PatchPool", "v1Exec", "v1WriteFile", "v1Terminal", "v1CreateKey", "v1RevokeKey"),
}
"""What fits the description may be refused all the same: an old generation, sizes that contradict those that there are."""
LEAVES_TRACES: Final = {
    *(
        "v1Assign",
        "v1KeepAlive",
        "v1Link",
        "v1MachineOfProject",
        "v1Release",
        "v1Route",
        "v1Sleep",
        "v1Wake",
        "v1Why",
        "v1Destroy",
        "v1PatchPool",
    )
}
SLOW: Final = {"v1Stats"}
"""It looks twice, a second apart."""
FEW_CASES: Final = {"v1Reload", "v1RevokeKey"}
"""All that it is asked is a yes or a no, or a name."""
OF_KEYS: Final = {"v1CreateKey", "v1RevokeKey"}
"""Most of what fits their description names a pool or a key that is not there. `test_keys.py` tries them well."""
WELL_TRIED: Final = 20
EXAMPLES: Final = 70
SIZES: Final = ("min_idle", "max_idle", "parked", "limit", "max_machines")
AS_THE_SETTINGS_SAY: Final = {"paused": False, **dict.fromkeys(SIZES)}
UNAVAILABLE: Final = {"no_machine_available", "engine_rejected"}
"""Codes from 500 on that a request may get from a service that is well."""


schemathesis.serializer.alias("application/x-tar", "application/octet-stream")


def an_archive() -> bytes:
    """With one file, `notes.txt`."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("notes.txt")
        entry.size = 7
        archive.addfile(entry, io.BytesIO(b"a note\n"))
    return packed.getvalue()


@dataclass(slots=True)
class Place:
    """One service, where the project `held` has a machine, and what it answered."""

    service: Running
    successes: Counter[str] = field(default_factory=Counter)
    offered: Counter[str] = field(default_factory=Counter)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        return call(self.service.ports.api, method, path, body, headers)

    def assign(self, project: str = "") -> Any:
        """The machine of this project, or of one that had none."""
        answer = self.ask(
            "PUT", f"/v1/projects/{project or f'project-{next(self._numbers)}'}/machine", {"wait_seconds": 20}
        )
        assert answer.status in {200, 201}, answer.text
        return answer.json

    def tidy(self) -> None:
        """Only `held` has a machine, and the pool is as the settings say."""
        answer = self.ask("PATCH", "/v1/pools/default", AS_THE_SETTINGS_SAY)
        assert answer.status == 200, answer.text
        for machine in self.ask("GET", "/v1/machines?limit=1000").json["machines"]:
            if machine["project"] not in {None, "held"}:
                released = self.ask("DELETE", f"/v1/projects/{machine['project']}/machine")
                assert released.status == 200, released.text


def place(folder: pytest.TempPathFactory, *flags: str) -> Iterator[Place]:
    limits = ("--max-machines", "6", "--assign-timeout", "5", "--late-dir", "/run/project")
    with a_service(folder.mktemp("v1"), *limits, *flags) as service:
        service.await_idle(2)
        there = Place(service)
        there.assign("held")
        yield there
        assert "Traceback" not in service.log
        assert "defect" not in service.log


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    for there in place(tmp_path_factory, "--engine", "memory"):
        yield there
        assert_well_tried(there, OPERATIONS.keys() - INSIDE - BY_WEBSOCKET - OF_KEYS)


@pytest.fixture(scope="module")
def on_docker(tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[Place]:
    for there in place(tmp_path_factory):
        yield there
        assert_well_tried(there, INSIDE)


def assert_well_tried(there: Place, names: set[str]) -> None:
    rarely = {
        name: there.successes[name] for name in names & there.offered.keys() if there.successes[name] < WELL_TRIED
    }
    assert not rarely, f"answered with 2xx too rarely to prove much: {rarely}"


# Whatever Schemathesis sends


def give_machine(case: Case[Any], there: Place) -> None:
    machine = there.assign("held")
    case.path_parameters["id"] = machine["id"]
    fence(case, machine["generation"])


def give_machine_to_lose(case: Case[Any], there: Place) -> None:
    machine = there.assign()
    case.path_parameters["id"] = machine["id"]
    fence(case, machine["generation"])


def give_project(case: Case[Any], there: Place) -> None:
    machine = there.assign()
    case.path_parameters["project"] = machine["project"]
    fence(case, machine["generation"])


def give_project_without_ports(case: Case[Any], there: Place) -> None:
    give_project(case, there)
    if isinstance(case.body, dict):
        case.body.pop("port", None)  # its pool gives names to none


def fence(case: Case[Any], generation: int) -> None:
    """What the case says of a generation becomes true."""
    if "generation" in (case.query or {}):
        case.query["generation"] = generation
    if "If-Match" in (case.headers or {}):
        case.headers["If-Match"] = f'"{generation}"'


def give_pool(case: Case[Any], there: Place) -> None:
    case.path_parameters["name"] = "default"


def give_known_pool(case: Case[Any], there: Place) -> None:
    """What it says of a pool becomes true."""
    if isinstance(case.body, dict) and case.body.get("pool") is not None:
        case.body["pool"] = "default"


def give_archive(case: Case[Any]) -> None:
    """The files that an assign brings become an archive: any base64 fits the description. `replace` needs some values."""
    if isinstance(case.body, dict):
        if case.body.get("files") is not None:
            case.body["files"] = b64encode(an_archive()).decode("ascii")
        if all(case.body.get(name) is None for name in ("env", "secrets", "files")):
            case.body.pop("replace", None)


def give_host(case: Case[Any], there: Place) -> None:
    """That of a preview, with a port or without."""
    host = urlsplit(there.assign()["preview_url"]).netloc
    case.query["host"] = host if there.offered["v1Route"] % 2 else host.partition(":")[0]


def give_command(case: Case[Any], there: Place) -> None:
    give_machine(case, there)
    assert isinstance(case.body, dict)
    sent: dict[str, Any] = case.body
    kept = {name: value for name, value in sent.items() if name not in {"user", "workdir"}}
    case.body = {**kept, "command": ["echo", *sent["command"][1:]]}


def give_file(case: Case[Any], there: Place) -> None:
    give_machine(case, there)
    case.query["path"] = "/etc/hostname"


def give_place_for_file(case: Case[Any], there: Place) -> None:
    give_machine(case, there)
    case.query["path"] = "/tmp" if case.media_type == "application/x-tar" else "/tmp/notes.txt"


GIVE: Final[Mapping[str, Callable[[Case[Any], Place], None]]] = {
    "v1Assign": give_known_pool,
    "v1MachineOfProject": give_project,
    "v1KeepAlive": give_project,
    "v1Link": give_project_without_ports,
    "v1Route": give_host,
    "v1Release": give_project,
    "v1Sleep": give_project,
    "v1Wake": give_project,
    "v1Why": give_project,
    "v1Machine": give_machine,
    "v1Destroy": give_machine_to_lose,
    "v1Restart": give_machine,
    "v1Logs": give_machine,
    "v1Stats": give_machine,
    "v1Environment": give_machine,
    "v1Exec": give_command,
    "v1ReadFile": give_file,
    "v1WriteFile": give_place_for_file,
    "v1Pool": give_pool,
    "v1PatchPool": give_pool,
}
"""What has to be true in a case that succeeds, and that no description can know."""


def only_described_server_errors(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    if response.status_code >= 500:
        assert response.json()["code"] in UNAVAILABLE, response.text


def excluded_for(name: str, response: Response) -> list[Any]:
    too_long = [checks.positive_data_acceptance, checks.negative_data_rejection]  # whatever it said, nobody has read it
    return [
        *EXCLUDED,
        *([checks.positive_data_acceptance] if name in DEPENDS else ()),
        *(too_long if response.status_code == 431 else ()),
    ]


def try_out(case: Case[Any], there: Place) -> None:
    name = case.operation.definition.raw["operationId"]
    there.offered[name] += 1
    if name in ENDLESS and str(case.query.get("follow", True)).lower() == "true":
        case.query["follow"] = "false"
    if is_positive(case):
        if name == "v1WriteFile" and case.media_type == "application/x-tar":
            case.body = an_archive().decode("ascii")  # any text fits the description, and few are an archive
        if name == "v1Assign":
            give_archive(case)
        if name in GIVE and there.offered[name] % 3 and not (name in SLOW and there.successes[name] >= WELL_TRIED):
            GIVE[name](case, there)
    varies = OPERATIONS[name].parameters and not (name in FEW_CASES and is_positive(case))
    for _ in range(1 if varies else WELL_TRIED):
        response = case.call(base_url=f"http://localhost:{there.service.ports.api}", timeout=45)
        case.validate_response(
            response,
            additional_checks=[only_described_server_errors],
            excluded_checks=excluded_for(name, response),
        )
        there.successes[name] += 200 <= response.status_code < 300
    if name in LEAVES_TRACES:
        there.tidy()


@SCHEMA.include(path_regex="^/v1/").exclude(operation_id=sorted(INSIDE)).parametrize()
@settings(bounded, max_examples=EXAMPLES)
def test_v1_does_what_is_described_whatever_it_is_sent(case: Case[Any], in_memory: Place) -> None:
    try_out(case, in_memory)


@SCHEMA.include(operation_id=sorted(INSIDE)).parametrize()
@settings(bounded, max_examples=EXAMPLES)
def test_what_happens_inside_a_worker_is_as_described(case: Case[Any], on_docker: Place) -> None:
    try_out(case, on_docker)


# Each example


@dataclass(frozen=True, slots=True)
class Example:
    """One request as it stands there: its body if it has one, and the examples of its parameters."""

    operation: Operation
    name: str = ""
    media: str = ""
    body: Any = None

    def __str__(self) -> str:
        return " ".join(filter(None, (self.operation.id, self.name, self.media.partition("/")[2])))

    def path(self, machine: Mapping[str, Any]) -> str:
        """With the ids of a machine that is there; beside the names, the examples are sent as they are."""
        there = {"project": machine["project"], "id": machine["id"]}
        query = []
        path = self.operation.path
        for one in self.operation.parameters:
            if one["in"] == "path":
                path = path.replace(f"{{{one['name']}}}", quote(str(there.get(one["name"], one.get("example")))))
            elif one["in"] == "query" and "example" in one:
                is_host = one["name"] == "host"  # that of the machine's project
                query.append((one["name"], urlsplit(machine["preview_url"]).hostname if is_host else one["example"]))
        return f"{path}?{urlencode(query, doseq=True)}".removesuffix("?")


def request_examples() -> Iterator[Example]:
    for operation in OPERATIONS.values():
        bodies = resolved(operation.said.get("requestBody", {})).get("content", {})
        found = [
            Example(operation, name, media, said["value"])
            for media, content in bodies.items()
            for name, said in {**content.get("examples", {}), **example_of(content)}.items()
        ]
        yield from found or [Example(operation)]


def example_of(content: Mapping[str, Any]) -> dict[str, Any]:
    return {"example": {"value": content["example"]}} if "example" in content else {}


@pytest.mark.parametrize("example", list(request_examples()), ids=str)
def test_each_example_of_a_request_succeeds(example: Example, on_docker: Place) -> None:
    """Sent as it stands, to a project and a machine that are there."""
    machine = on_docker.assign()
    path = example.path(machine)
    if example.operation.id in ENDLESS:
        path += f"{'&' if '?' in path else '?'}follow=false"
    if example.operation.id == "v1ReadFile":
        assert on_docker.ask("PUT", path, b"a note\n", {"content-type": "application/octet-stream"}).status == 204
    if example.operation.id in BY_WEBSOCKET:
        with connect(f"ws://localhost:{on_docker.service.ports.api}{path}") as terminal:
            terminal.send(b"exit 3\n")
            assert json.loads([frame for frame in terminal if isinstance(frame, str)][-1]) == {"exit_code": 3}
        return
    body = example.body.encode() if isinstance(example.body, str) else example.body
    headers = {"content-type": example.media} if example.media else {}
    answer = on_docker.ask(example.operation.method, path, body, headers)
    described = example.operation.responses
    assert 200 <= answer.status < 300, answer.text
    assert str(answer.status) in described
    if answer.headers.get("content-type") == "application/json":
        validate(described[str(answer.status)]["content"]["application/json"]["schema"], answer.json)
    on_docker.tidy()


def response_examples() -> Iterator[Any]:
    for operation in OPERATIONS.values():
        for status, response in operation.responses.items():
            for media, content in response.get("content", {}).items():
                for name, said in {**content.get("examples", {}), **example_of(content)}.items():
                    yield pytest.param(
                        content["schema"], said["value"], status, id=f"{operation.id} {status} {media} {name}"
                    )


@pytest.mark.parametrize(("schema", "example", "status"), list(response_examples()))
def test_each_example_of_a_response_is_as_its_schema_says(schema: Any, example: Any, status: str) -> None:
    """And an error's says the status that it stands at."""
    validate(schema, example)
    assert str(example.get("status")) == status or int(status) < 400


@pytest.mark.parametrize("example", [one for one in request_examples() if one.media == "application/json"], ids=str)
def test_each_example_of_a_request_is_as_its_schema_says(example: Example) -> None:
    validate(resolved(example.operation.said["requestBody"])["content"][example.media]["schema"], example.body)


def test_as_many_states_may_be_named_as_there_are() -> None:
    (states,) = (one for one in DESCRIBED["paths"]["/v1/machines"]["get"]["parameters"] if one["name"] == "state")
    assert (
        states["schema"]["maxItems"] == len(DESCRIBED["components"]["schemas"]["MachineState"]["enum"]) == len(STATES)
    )


def validate(schema: Any, value: object) -> None:
    whole = {"components": DESCRIBED["components"], **schema}
    OAS31Validator(whole, format_checker=oas31_format_checker).validate(value)
