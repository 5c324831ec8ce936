"""Traces of OpenTelemetry: what a collector gets from a running service, on Docker, and what happens without one."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.integration.calling import call
from tests.integration.collecting import Collector, Seen
from tests.integration.running import Running, a_service, orchestrator
from tests.integration.waiting import eventually

SERVER, CLIENT = 2, 3
MEMORY = ("--traces", "--engine", "memory", "--min-idle", "8", "--max-machines", "40")


@contextmanager
def traced(folder: Path, port: int, *flags: str, **variables: str) -> Iterator[Running]:
    """A service whose traces go to the collector on this port, soon."""
    with a_service(folder, *flags, start=False) as service:
        service.variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            **variables,
        }
        yield service.start()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector(0).listening() as one:
        yield one


@pytest.fixture(scope="module")
def service(collector: Collector, tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[Running]:
    """On Docker, without idle machines, so that the first assign waits for its machine."""
    headers = {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20of-the-collector"}
    with traced(tmp_path_factory.mktemp("spans"), collector.port, "--traces", "--min-idle", "0", **headers) as running:
        eventually(
            lambda: "] template " in running.log, "it knows what to start, so the first request starts a machine"
        )
        yield running
        assert "of-the-collector" not in running.log


def a_parent() -> tuple[str, str]:
    """The id of a trace that a caller has begun, and of its span."""
    return secrets.token_hex(16), secrets.token_hex(8)


def header(parent: tuple[str, str]) -> dict[str, str | None]:
    return {"traceparent": f"00-{parent[0]}-{parent[1]}-01"}


def below(collector: Collector, parent: tuple[str, str]) -> Seen:
    """The span of the request that came with this parent."""
    return eventually(
        lambda: [span for span in collector.spans if (span.trace, span.parent) == parent], "the span of the request"
    )[0]


def test_a_cold_assign_is_seen_from_the_request_to_the_engine_and_back(service: Running, collector: Collector) -> None:
    parent = a_parent()
    machine = service.get("/of-spans", header(parent)).json["containerId"]
    request = below(collector, parent)
    assert (request.name, request.kind) == ("GET /{project}", SERVER)
    assert request.attributes["http.response.status_code"] == "200"
    assert request.resource["service.name"] == "worker-orchestrator"
    assign = collector.children(request)["assign"]
    assert assign.attributes["orchestrator.assign.outcome"] == "cold"
    assert assign.attributes["orchestrator.assign.why"].endswith("so one was started for it.")
    told = {name: assign.attributes[f"orchestrator.{name}"] for name in ("pool", "project", "machine.id")}
    assert told == {"pool": "default", "project": "of-spans", "machine.id": machine}
    parts = collector.children(assign)
    assert set(parts) - {"probe"} == {
        "wait",
        "commit",
        "engine create",
        "worker answers",
    }  # asked again on a busy computer
    create, answers = parts["engine create"], parts["worker answers"]
    assert (create.kind, create.attributes["orchestrator.engine"]) == (CLIENT, "docker")
    assert create.attributes["orchestrator.engine.result"] == "done"
    assert (
        request.began <= assign.began <= create.began < create.ended <= answers.ended <= assign.ended <= request.ended
    )
    assert not any(span.is_bad for span in (request, assign, *parts.values()))
    assert all(head["authorization"] == "Bearer of-the-collector" for head in collector.heads)


def test_a_warm_assign_has_its_commit_and_nothing_of_the_engine(service: Running, collector: Collector) -> None:
    service.assign("earlier")
    service.release("earlier")
    parent = a_parent()
    machine = eventually(service.idle, "an idle machine")[0]
    assert service.get("/at-once", header(parent)).json["containerId"] == machine
    request = below(collector, parent)
    assign = collector.children(request)["assign"]
    assert assign.attributes["orchestrator.assign.outcome"] == "warm"
    assert set(collector.children(assign)) == {"commit"}


def test_v1_is_traced_by_its_routes_and_without_what_is_in_the_path(service: Running, collector: Collector) -> None:
    parent = a_parent()
    answer = call(service.ports.api, "PUT", "/v1/projects/by-v1/machine?x=secret", {}, header(parent))
    assert answer.status == 400
    refused = below(collector, parent)
    assert (refused.name, refused.attributes["http.response.status_code"]) == (
        "PUT /v1/projects/{project}/machine",
        "400",
    )
    parent = a_parent()
    machine = call(service.ports.api, "PUT", "/v1/projects/by-v1/machine", {}, header(parent)).json["id"]
    assert "assign" in collector.children(below(collector, parent))
    parent = a_parent()
    assert call(service.ports.api, "DELETE", f"/v1/machines/{machine}", None, header(parent)).status == 200
    destroy = below(collector, parent)
    assert (destroy.name, set(collector.children(destroy))) == ("DELETE /v1/machines/{id}", {"engine destroy"})
    assert "secret" not in repr(collector.spans)
    assert not [span for span in collector.spans if "health" in span.name]


def test_each_of_many_assigns_is_in_the_trace_of_its_caller(tmp_path: Path) -> None:
    """They share commits, and what the pool starts in the place of their machines is linked to whoever caused it."""
    with Collector(0).listening() as collector, traced(tmp_path, collector.port, *MEMORY) as service:
        service.await_idle(8)
        parents = {f"project-{number}": a_parent() for number in range(16)}
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda name: service.get(f"/{name}", header(parents[name])), parents))
        requests = {name: below(collector, parent) for name, parent in parents.items()}
        for name, request in requests.items():
            eventually(partial(collector.children, request), "its assign")
            assign = collector.children(request)["assign"]
            assert assign.attributes["orchestrator.project"] == name == request.attributes["orchestrator.project"]
        callers = {request.id for request in requests.values()}
        eventually(
            lambda: [one for one in collector.named("engine create") if callers & set(one.links) and not one.parent],
            "a machine that was started in the place of another one",
        )


def test_nothing_is_sent_and_nothing_is_loaded_without_traces(tmp_path: Path) -> None:
    with Collector(0).listening() as collector:
        with traced(tmp_path, collector.port, *MEMORY[1:]) as service:
            service.assign("untold")
            assert "opentelemetry" not in Path(f"/proc/{service.pid}/maps").read_text()
            time.sleep(0.5)
            service.end()
        with traced(tmp_path / "off", collector.port, *MEMORY, OTEL_SDK_DISABLED="true") as service:
            service.assign("untold")
            time.sleep(0.5)
            service.end()
        assert not collector.heads


@pytest.mark.parametrize("hangs", [True, False], ids=["hangs", "is not there"])
def test_a_collector_that_is_ill_harms_nothing(tmp_path: Path, *, hangs: bool) -> None:
    with Collector(0, hangs=hangs).listening() as collector:
        port = collector.port if hangs else 1
        variables = {"OTEL_BSP_MAX_QUEUE_SIZE": "64", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "16"}
        with traced(tmp_path, port, *MEMORY, "--log-format", "json", **variables) as service:
            service.await_idle(8)
            for number in range(100):
                answer = service.get(f"/project-{number % 4}")
                assert answer.status == 200
                assert answer.took_s < 2
            if not hangs:
                eventually(lambda: "traces are not exported" in service.log, "that is said")
            begun = time.monotonic()
            assert service.end() == 0
            assert time.monotonic() - begun < 6
            assert service.log.count("traces are not exported") <= 1


def test_what_is_missing_or_not_offered_is_said(tmp_path: Path) -> None:
    def said(**variables: str) -> str:
        done = orchestrator("serve", "--engine", "memory", "--traces", "--state-dir", "s", cwd=tmp_path, env=variables)
        assert done.returncode == 2, done.stderr
        return done.stderr

    assert "must be http/protobuf" in said(OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert "must be otlp or none" in said(OTEL_TRACES_EXPORTER="zipkin")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "sitecustomize.py").write_text("import sys\nsys.modules['opentelemetry'] = None\n")
    assert "pip install 'worker-orchestrator[otel]'" in said(PYTHONPATH=str(tmp_path / "bare"))
