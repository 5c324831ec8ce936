"""Spans of OpenTelemetry: a request, the assign in it with its parts, and the calls of the engine that it caused.

Only loaded with `--traces`. A span is made when it is over, since its times are known then; only the two that others hang
from are begun before. What a request caused is known by its id, which the journal notes with each change. A call of the
engine for which the request still waits is a child of it. One that goes on behind its back, such as the start of a machine
in the place of the one that it got, is a trace of its own with a link to it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from worker_orchestrator.control.telling.observer import AssignOutcome, Call, Observer, Stage
from worker_orchestrator.control.telling.traces import Trace
from worker_orchestrator.core.action import Result
from worker_orchestrator.core.machine import Change, State

__all__ = ["CURRENT", "RequestSpan", "Spans"]

KEPT: Final = 10_000
"""Requests that ended, and machines, of which it is still known to which span they belong."""

_w3c: Final = TraceContextTextMapPropagator()
_BAD: Final = frozenset({AssignOutcome.UNAVAILABLE, AssignOutcome.STORE_FAILED})
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class RequestSpan:
    """One HTTP request, and the assign in it once that has begun. Both are places to hang others from."""

    __slots__ = ("assign", "context", "has_stages", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.context = set_span_in_context(span, Context())
        self.assign: Span | None = None
        self.has_stages = False

    @property
    def is_sampled(self) -> bool:
        return self.span.get_span_context().trace_flags.sampled

    def end(self, status: int, **attributes: str) -> None:
        """It was answered with this status; 0: it was not answered."""
        if self.assign is not None and self.assign.is_recording():  # refused before there was anything to wait for
            self.assign.set_attribute("orchestrator.assign.outcome", "refused")
            self.assign.end()
        for name, value in attributes.items():
            self.span.set_attribute(name, value)
        if status:
            self.span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self.span.set_status(Status(StatusCode.ERROR))
        self.span.end()


CURRENT: Final[ContextVar[RequestSpan | None]] = ContextVar("request_span", default=None)
"""The span of the current request. The task of a search inherits it from the request that opened it."""


class Spans(Observer):
    """Hears what the shell tells, and makes spans of it. `engine` is the name of the engine in use."""

    def __init__(self, tracer: Tracer, engine: str) -> None:
        super().__init__()
        self._tracer, self._engine = tracer, engine
        self._open: dict[str, RequestSpan] = {}  # by the id of the request
        self._ended: dict[str, SpanContext] = {}
        self._causes: dict[
            str, tuple[Context, list[Link]]
        ] = {}  # by machine: from what its next call of the engine hangs
        self._last_calls: dict[
            str, tuple[SpanContext, Context, list[Link]]
        ] = {}  # by machine, with what those hung from

    # requests

    def begin(
        self, name: str, headers: Mapping[bytes, bytes], begun_ns: int, attributes: dict[str, str]
    ) -> RequestSpan:
        """A request came at this time, in ns since 1970; if its caller sent a traceparent, it goes on with that trace."""
        carrier = {
            field: headers[field.encode()].decode("latin-1")
            for field in ("traceparent", "tracestate")
            if field.encode() in headers
        }
        parent = _w3c.extract(carrier, Context()) if carrier else Context()
        return RequestSpan(
            self._tracer.start_span(name, parent, SpanKind.SERVER, attributes=attributes, start_time=begun_ns)
        )

    def opened(self, request_id: str, request: RequestSpan) -> None:
        """It is under way. If a caller gives two of its requests the same id, what they cause belongs to the later one."""
        self._open[request_id] = request

    def closed(self, request_id: str, request: RequestSpan) -> None:
        """It has ended."""
        if self._open.get(request_id) is request:
            del self._open[request_id]
        _keep(self._ended, request_id, request.span.get_span_context())

    # assigns

    def search_began(self) -> None:
        request = CURRENT.get()
        if request is not None:
            request.assign = self._tracer.start_span("assign", request.context)

    def stage_ended(self, stage: Stage, took_s: float) -> None:
        request = CURRENT.get()
        if request is not None and request.assign is not None:
            request.has_stages = True
            self._add(stage, set_span_in_context(request.assign, Context()), took_s)

    def assign_ended(self, outcome: AssignOutcome, took_s: float, trace: Trace | None, pool: str) -> None:
        request = CURRENT.get()
        if request is None or not request.is_sampled:
            return
        now_ns = time.time_ns()
        span = request.assign or self._tracer.start_span("assign", request.context, start_time=now_ns - _ns(took_s))
        span.set_attribute("orchestrator.pool", pool)
        span.set_attribute("orchestrator.assign.outcome", outcome.value)
        if trace is not None:
            self._describe(span, trace)
            if not request.has_stages:
                self._add("commit", set_span_in_context(span, Context()), trace.commit_ms / 1000, now_ns)
        if outcome in _BAD:
            span.set_status(Status(StatusCode.ERROR))
        span.end(now_ns)

    def _describe(self, span: Span, trace: Trace) -> None:
        span.set_attribute("orchestrator.machine.id", trace.machine_id)
        span.set_attribute("orchestrator.project", trace.project)
        span.set_attribute("orchestrator.assign.why", trace.why)
        call = self._last_calls.get(trace.machine_id)
        if trace.how == "cold" and call is not None and call[0].trace_id != span.get_span_context().trace_id:
            span.add_link(call[0])  # its machine was begun for somebody else

    # the engine

    def committed(self, changes: Sequence[Change], took_s: float, requests: Sequence[str] = ()) -> None:  # noqa: ARG002 # as all observers
        for change, request_id in zip(changes, requests, strict=False):
            if change.before is not None and change.after is not None:
                states = {change.before.state, change.after.state}
                if states == {State.READY}:
                    continue  # it asks nothing of the engine
            self._note_cause(change.machine.id, request_id)

    def _note_cause(self, machine_id: str, request_id: str) -> None:
        request, ended = self._open.get(request_id), self._ended.get(request_id)
        if request is not None:
            _keep(self._causes, machine_id, (set_span_in_context(request.assign or request.span, Context()), []))
        elif ended is not None:
            _keep(self._causes, machine_id, (Context(), [Link(ended)]))
        else:
            self._causes.pop(machine_id, None)

    def call_ended(self, call: Call, result: Result, took_s: float, machine_id: str = "") -> None:
        if not machine_id:
            return
        parent, links = self._causes.get(machine_id, (Context(), []))
        attributes = {
            "orchestrator.engine": self._engine,
            "orchestrator.machine.id": machine_id,
            "orchestrator.engine.result": result.value,
        }
        is_bad = result is not Result.DONE
        span = self._add(
            f"engine {call}", parent, took_s, kind=SpanKind.CLIENT, links=links, attributes=attributes, is_bad=is_bad
        )
        _keep(self._last_calls, machine_id, (span.get_span_context(), parent, links))

    def came_up(self, ready_s: float, pool: str, machine_id: str = "") -> None:
        known = self._last_calls.get(machine_id)
        if known is not None:
            _, parent, links = known
            attributes = {"orchestrator.pool": pool, "orchestrator.machine.id": machine_id}
            self._add("worker answers", parent, ready_s, links=links, attributes=attributes)

    # messages to the webhook

    @contextmanager
    def delivery(self, host: str) -> Iterator[tuple[Span, dict[str, str]]]:
        """One try to tell the webhook something: its span, and the header fields by which the receiver can go on with it."""
        attributes = {"http.request.method": "POST", "server.address": host}
        with self._tracer.start_as_current_span(
            "POST webhook", Context(), SpanKind.CLIENT, attributes, record_exception=False
        ) as span:
            fields: dict[str, str] = {}
            _w3c.inject(fields, set_span_in_context(span, Context()))
            yield span, fields

    def _add(  # what a span consists of
        self, name: str, parent: Context, took_s: float, end_ns: int = 0, *, is_bad: bool = False, **more: Any
    ) -> Span:
        """A span that is over: it ended at `end_ns`, or just now."""
        end_ns = end_ns or time.time_ns()
        span = self._tracer.start_span(name, parent, start_time=end_ns - _ns(took_s), **more)
        if is_bad:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end_ns)
        return span


def _ns(duration_s: float) -> int:
    return int(duration_s * 1e9)


def _keep(known: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    """Note this as the newest, and forget the oldest where there are too many."""
    known.pop(key, None)
    known[key] = value
    if len(known) > KEPT:
        del known[next(iter(known))]
