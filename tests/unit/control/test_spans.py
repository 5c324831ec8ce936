"""Spans: from what each hangs. What a collector gets of a real service is in tests/integration/test_opentelemetry.py."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextvars import copy_context

import pytest
from msgspec.structs import replace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import StatusCode

from worker_orchestrator.control.telling import spans as module
from worker_orchestrator.control.telling.observer import AssignOutcome
from worker_orchestrator.control.telling.spans import CURRENT, RequestSpan, Spans
from worker_orchestrator.control.telling.traces import Trace
from worker_orchestrator.core.action import Result
from worker_orchestrator.core.machine import Cause, Change, Holding, Machine, State

TRACE = Trace(
    project="p",
    machine_id="worker-1-aaaaaaaaa",
    generation=1,
    at_ms=1,
    how="cold",
    why="No machine was idle.",
    total_ms=3.0,
    commit_ms=1.0,
)
MACHINE = Machine("worker-1-aaaaaaaaa", "default", "t", State.STARTING, 10_000)
CREATED = Change(None, MACHINE, Cause.CREATED)


class Story:
    def __init__(self) -> None:
        self.seen = InMemorySpanExporter()
        provider = TracerProvider(ParentBased(ALWAYS_ON), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.seen))
        self.spans = Spans(provider.get_tracer("test"), "memory")

    def begin(self, request_id: str, traceparent: bytes = b"") -> RequestSpan:
        headers = {b"traceparent": traceparent} if traceparent else {}
        request = self.spans.begin("GET /{project}", headers, time.time_ns(), {})
        self.spans.opened(request_id, request)
        CURRENT.set(request)
        return request

    def end(self, request_id: str, request: RequestSpan, status: int = 200) -> None:
        self.spans.closed(request_id, request)
        request.end(status)

    def named(self, name: str) -> ReadableSpan:
        (found,) = [span for span in self.seen.get_finished_spans() if span.name == name]
        return found


@pytest.fixture
def story() -> Iterator[Story]:
    token = CURRENT.set(None)
    yield Story()
    CURRENT.reset(token)


def test_a_search_that_is_refused_ends_its_assign(story: Story) -> None:
    request = story.begin("a")
    story.spans.search_began()
    story.end("a", request, 409)
    assert (story.named("assign").attributes or {})["orchestrator.assign.outcome"] == "refused"
    assert story.named("GET /{project}").status.status_code is StatusCode.UNSET


def test_what_fails_is_an_error(story: Story) -> None:
    request = story.begin("a")
    story.spans.search_began()
    story.spans.assign_ended(AssignOutcome.UNAVAILABLE, 0.1, None, "default")
    story.spans.call_ended("create", Result.REJECTED, 0.1, MACHINE.id)
    story.end("a", request, 503)
    assert {span.status.status_code for span in story.seen.get_finished_spans()} == {StatusCode.ERROR}


def test_a_caller_who_does_not_sample_gets_no_spans(story: Story) -> None:
    request = story.begin("a", b"00-11111111111111111111111111111111-2222222222222222-00")
    story.spans.search_began()
    story.spans.committed([CREATED], 0.001, ["a"])
    story.spans.call_ended("create", Result.DONE, 0.1, MACHINE.id)
    story.spans.assign_ended(AssignOutcome.COLD, 0.1, TRACE, "default")
    story.end("a", request)
    assert not story.seen.get_finished_spans()


def test_a_traceparent_that_is_none_begins_a_trace(story: Story) -> None:
    story.end("a", story.begin("a", b"00-nonsense\xff"))
    assert story.named("GET /{project}").parent is None


def test_a_machine_that_was_begun_for_somebody_else_is_linked(story: Story) -> None:
    first = story.begin("first")
    story.spans.committed([CREATED], 0.001, ["first"])
    story.spans.call_ended("create", Result.DONE, 0.1, MACHINE.id)
    story.end("first", first, 503)
    second = story.begin("second")
    story.spans.search_began()
    story.spans.assign_ended(AssignOutcome.COLD, 0.1, TRACE, "default")
    story.end("second", second)
    create, assign = story.named("engine create"), story.named("assign")
    assert create.parent is not None
    assert create.parent.span_id == first.span.get_span_context().span_id
    assert [link.context for link in assign.links] == [create.context]


def test_what_a_request_caused_after_its_reply_is_a_trace_of_its_own_with_a_link(story: Story) -> None:
    request = story.begin("a")
    story.end("a", request)
    story.spans.committed([CREATED], 0.001, ["a"])
    story.spans.call_ended("create", Result.DONE, 0.1, MACHINE.id)
    story.spans.came_up(0.2, "default", MACHINE.id)
    for name in ("engine create", "worker answers"):
        assert story.named(name).parent is None
        assert [link.context for link in story.named(name).links] == [request.span.get_span_context()]


def test_what_nobody_asked_for_belongs_to_no_request(story: Story) -> None:
    story.spans.committed([CREATED], 0.001, ["a"])
    request = story.begin("a")
    story.spans.committed([CREATED], 0.001, ["a"])
    story.end("a", request)
    story.spans.committed([Change(MACHINE, replace(MACHINE, state=State.STOPPING), Cause.DESTROYED)], 0.001, [""])
    story.spans.call_ended("destroy", Result.DONE, 0.1, MACHINE.id)
    story.spans.call_ended("list", Result.DONE, 0.1)
    destroy = story.named("engine destroy")
    assert (destroy.parent, list(destroy.links)) == (None, [])


def test_an_assign_of_a_ready_machine_causes_no_call_of_the_engine(story: Story) -> None:
    ready = replace(MACHINE, state=State.READY)
    request = story.begin("a")
    held = replace(ready, holding=Holding("p"), generation=1)
    story.spans.committed([Change(ready, held, Cause.ASSIGNED)], 0.001, ["a"])
    story.spans.call_ended("destroy", Result.DONE, 0.1, MACHINE.id)
    story.end("a", request)
    assert story.named("engine destroy").parent is None


def test_two_requests_with_the_same_id_are_two_spans(story: Story) -> None:
    first, second = story.begin("same"), story.begin("same")
    story.end("same", first)
    story.spans.committed([CREATED], 0.001, ["same"])
    story.spans.call_ended("create", Result.DONE, 0.1, MACHINE.id)
    story.end("same", second)
    parent = story.named("engine create").parent
    assert parent is not None
    assert parent.span_id == second.span.get_span_context().span_id


def test_a_stage_belongs_to_the_request_that_opened_the_search(story: Story) -> None:
    async def lived() -> None:
        request = story.begin("opener")
        story.spans.search_began()
        search = copy_context()
        story.begin("somebody else")
        search.run(story.spans.stage_ended, "wait", 0.2)
        story.end("opener", request)

    asyncio.run(lived())
    wait, assign = story.named("wait"), story.named("assign")
    assert wait.parent == assign.context
    assert (wait.end_time or 0) - (wait.start_time or 0) == pytest.approx(0.2e9)


def test_without_a_request_nothing_is_told(story: Story) -> None:
    story.spans.search_began()
    story.spans.stage_ended("wait", 0.1)
    story.spans.assign_ended(AssignOutcome.WARM, 0.1, TRACE, "default")
    story.spans.came_up(0.1, "default", "unknown")
    assert not story.seen.get_finished_spans()


def test_what_is_known_of_earlier_requests_and_machines_is_bounded(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", 3)
    for number in range(9):
        story.end(str(number), story.begin(str(number)))
        made = replace(MACHINE, id=f"worker-{number}-aaaaaaaaa")
        story.spans.committed([Change(None, made, Cause.CREATED)], 0.001, [str(number)])
        story.spans.call_ended("create", Result.DONE, 0.1, made.id)
    held = (story.spans._ended, story.spans._causes, story.spans._last_calls, story.spans._open)
    assert [len(one) for one in held] == [3, 3, 3, 0]
