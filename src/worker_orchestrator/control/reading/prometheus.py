"""What is going on, for Prometheus: counted as it happens, and read from the fleet when somebody asks.

docs/metrics.md says what each metric tells and what to do when it is bad. No label carries the id of a project or a
machine, and every label has few values: a time series costs whoever stores it.

Sources: https://prometheus.io/docs/practices/naming/, https://prometheus.io/docs/instrumenting/writing_clientlibs/
"""

from __future__ import annotations

import platform
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Final, TypeVar, cast, get_args

from prometheus_client import CollectorRegistry, Info, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from worker_orchestrator import __version__
from worker_orchestrator.control.reading.gauges import Gauges
from worker_orchestrator.control.reading.pool_metrics import gauge, of_pools
from worker_orchestrator.control.telling.observer import AssignOutcome, Call, Delivery, Observer
from worker_orchestrator.control.telling.traces import Trace
from worker_orchestrator.core.action import Result
from worker_orchestrator.core.failure_kind import FailureKind
from worker_orchestrator.core.lease import EndsBy
from worker_orchestrator.core.machine import Cause, Change, State
from worker_orchestrator.telemetry.counters import Durations, Histogram, Tallies

__all__ = ["CONTENT_TYPE", "Metrics"]

_Key = TypeVar("_Key", bound=Hashable)

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
RECENT: Final = 1000
BUCKETS_S: Final = (
    *(0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
    *(0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0),
)
"""From a warm assign (a third of a millisecond) over a cold one (a third of a second) to every time limit there is."""
COMMIT_BUCKETS_S: Final = (0.00005, 0.0001, *BUCKETS_S[:14], 5.0)

_FAILED: Final = State.FAILED
_EXPIRED: Final = Cause.EXPIRED


class Metrics(Observer):
    """Counts what the shell tells."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        super().__init__(now)
        self._pools = set[str]()
        self._registry = CollectorRegistry()
        self._fleet = _Fleet()
        self._registry.register(self._fleet)
        ProcessCollector(registry=self._registry)
        build = Info("orchestrator_build", "Version of the service and of Python.", registry=self._registry)
        build.info({"version": __version__, "python": platform.python_version()})
        self._count_assigns()
        self._count_machines()
        self._count_calls()
        self._deliveries = self._counters(
            "webhook_deliveries",
            "Messages to the webhook, by what became of each try.",
            ["result"],
            {result: [result.value] for result in Delivery},
        )

    def exposition(self, gauges: Gauges) -> bytes:
        """Everything, in the text format (`CONTENT_TYPE`)."""
        self._fleet.gauges = gauges
        for name in gauges.pools:
            self._know(name)
        for name in self._pools - gauges.pools.keys():
            self._forget(name)
        return generate_latest(self._registry)

    # what there is

    def _count_assigns(self) -> None:
        none: dict[tuple[AssignOutcome, str], list[str]] = {}  # until a pool is known
        names = ["outcome", "pool"]
        self._assigns = self._counters("assigns", "Requests for a machine, by how they ended.", names, none)
        self._assigns_s = self._durations(
            "assign_duration_seconds", "From a request for a machine to its reply, by how it ended.", names, none
        )
        stages = self._durations(
            "assign_stage_duration_seconds",
            "Where the time of a first assign went: waiting in line, storing, asking the machine once more.",
            ["stage"],
            {stage: [stage] for stage in ("line", "commit", "probe")},
        )
        self._line_s, self._stored_s, self._probe_s = stages.of["line"], stages.of["commit"], stages.of["probe"]

    def _count_machines(self) -> None:
        self._create_s = self._duration("create_duration_seconds", "What the engine took to make a machine run.")
        self._ready_s: Durations[str] = self._durations(
            "ready_duration_seconds", "From the acknowledged creation of a machine to its first answer.", ["pool"], {}
        )
        self._transitions = self._counters(
            "transitions", "Stored changes of machines, by what happened.", ["cause"], {c: [c.value] for c in Cause}
        )
        self._failures = self._counters(
            "machine_failures",
            "Machines that failed, by why.",
            ["reason"],
            {kind: [kind.value] for kind in FailureKind},
        )
        self._expired: Tallies[tuple[EndsBy, str]] = self._counters(
            "expired", "Assignments that a deadline ended, by which one.", ["by", "pool"], {}
        )
        self._probes = self._counters(
            "probes",
            "Questions to workers whether they serve, by what came back.",
            ["result"],
            {True: ["answered"], False: ["silent"]},
        )

    def _count_calls(self) -> None:
        calls: tuple[Call, ...] = get_args(Call)
        self._calls = self._counters(
            "engine_calls",
            "Calls to the container engine, by how they ended.",
            ["call", "result"],
            {(call, result): [call, result.value.replace(" ", "_")] for call in calls for result in Result},
        )
        self._calls_s = self._durations(
            "engine_call_duration_seconds",
            "What calls to the container engine took.",
            ["call"],
            {call: [call] for call in calls},
        )
        self._reconnects = self._counters(
            "engine_event_reconnects", "Times that the engine's stream of events had to be opened anew.", [], {"": []}
        )
        self._commit_s = self._duration(
            "store_commit_duration_seconds", "What it took to store the decisions of one turn.", COMMIT_BUCKETS_S
        )
        self._commit_failures = self._counters(
            "store_commit_failures", "Transactions that could not be stored; what they held was undone.", [], {"": []}
        )

        self._refused: Tallies[str] = self._counters(
            "egress_refused", "Requests of workers that the proxy of their pool refused.", ["pool"], {}
        )

    def _counters(self, name: str, text: str, names: list[str], labels: Mapping[_Key, list[str]]) -> Tallies[_Key]:
        counters = Tallies(f"orchestrator_{name}", text, names, labels)
        self._registry.register(counters)
        return counters

    def _durations(
        self,
        name: str,
        text: str,
        names: list[str],
        labels: Mapping[_Key, list[str]],
        bounds_s: tuple[float, ...] = BUCKETS_S,
    ) -> Durations[_Key]:
        durations = Durations(f"orchestrator_{name}", text, names, labels, bounds_s)
        self._registry.register(durations)
        return durations

    def _duration(self, name: str, text: str, bounds_s: tuple[float, ...] = BUCKETS_S) -> Histogram:
        return self._durations(name, text, [], {"": []}, bounds_s).of[""]

    def _know(self, pool: str) -> None:
        """Have every time series of this pool from now on."""
        if pool not in self._pools:
            self._pools.add(pool)
            ends = _ends_in(pool)
            self._assigns.add(ends)
            self._assigns_s.add(ends)
            self._ready_s.add({pool: [pool]})
            self._refused.add({pool: [pool]})
            self._expired.add({(by, pool): [by.value, pool] for by in EndsBy})

    def _forget(self, pool: str) -> None:
        """Neither the settings nor a machine name it any more: its time series must not be collected for ever."""
        self._pools.discard(pool)
        ends = _ends_in(pool)
        self._assigns.remove(ends)
        self._assigns_s.remove(ends)
        self._ready_s.remove({pool})
        self._refused.remove({pool})
        self._expired.remove({(by, pool) for by in EndsBy})

    # what happens

    def assign_ended(self, outcome: AssignOutcome, took_s: float, trace: Trace | None, pool: str) -> None:
        if pool not in self._pools:
            self._know(pool)
        self._assigns.of[outcome, pool] += 1
        self._assigns_s.of[outcome, pool].observe(took_s)
        if trace is None:
            return
        self._fleet.recent.append(trace.how == "warm")
        self._stored_s.observe(trace.commit_ms / 1000)
        if trace.line_ms is not None:
            self._line_s.observe(trace.line_ms / 1000)
        if trace.probe_ms is not None:
            self._probe_s.observe(trace.probe_ms / 1000)

    def call_ended(self, call: Call, result: Result, took_s: float, machine_id: str = "") -> None:  # noqa: ARG002 # as all observers
        self._calls.of[call, result] += 1
        self._calls_s.of[call].observe(took_s)
        if call == "create" and result is Result.DONE:
            self._create_s.observe(took_s)

    def probe_ended(self, *, answered: bool) -> None:
        self._probes.of[answered] += 1

    def came_up(self, ready_s: float, pool: str, machine_id: str = "") -> None:  # noqa: ARG002 # as all observers
        self._know(pool)
        self._ready_s.of[pool].observe(ready_s)

    def requests_refused(self, pool: str, count: int) -> None:
        self._know(pool)
        self._refused.of[pool] += count

    def events_ended(self) -> None:
        self._reconnects.of[""] += 1

    def committed(self, changes: Sequence[Change], took_s: float, requests: Sequence[str] = ()) -> None:  # noqa: ARG002 # as all observers
        self._commit_s.observe(took_s)
        for change in changes:
            self._transitions.of[change.cause] += 1
            before, after = change.before, change.after
            if after is not None and after.state is _FAILED and (before is None or before.state is not _FAILED):
                self._failures.of[change.failure or FailureKind.OTHER] += 1
            if change.cause is _EXPIRED and change.deadline is not None:
                self._know(change.machine.pool)
                self._expired.of[change.deadline, change.machine.pool] += 1

    def commit_failed(self, took_s: float) -> None:
        self._commit_s.observe(took_s)
        self._commit_failures.of[""] += 1

    def delivery_ended(self, result: Delivery) -> None:
        self._deliveries.of[result] += 1

    def waiting_for_webhook(self, count: int) -> None:
        self._fleet.webhook_queue = count


def _ends_in(pool: str) -> dict[tuple[AssignOutcome, str], list[str]]:
    """The label values of each way in which a request for a machine of this pool may end."""
    return {(outcome, pool): [outcome.value, pool] for outcome in AssignOutcome}


class _Fleet(Collector):
    """What is read when somebody asks. `recent` says of each of the last first assigns whether it was warm."""

    def __init__(self) -> None:
        self.gauges: Gauges | None = None
        self.recent: deque[bool] = deque(maxlen=RECENT)
        self.webhook_queue = 0

    def describe(self) -> list[Metric]:
        return []  # the registry need not ask before there is a fleet

    def collect(self) -> Iterator[Metric]:
        gauges = self.gauges
        if gauges is None:
            return
        yield from of_pools(gauges)
        yield gauge("max_machines", "The most machines there may be.", gauges.max_machines)
        yield gauge("slots_held", "Machines that count in max_machines.", gauges.slots_held)
        keys = GaugeMetricFamily(
            "orchestrator_key_machines", "Machines that a key's projects have or await.", labels=["key"]
        )
        for key, count in gauges.key_machines.items():
            keys.add_metric([key], count)
        yield from cast("list[Metric]", [keys] if gauges.key_machines else [])
        yield gauge("engine_up", "1 if the container engine answered when it was last asked.", gauges.engine_answers)
        yield gauge("webhook_queue", "Messages that the webhook has not taken yet.", self.webhook_queue)
        if gauges.listing_age_s is not None:
            yield gauge("last_listing_age_seconds", "Age of the last full listing of the engine.", gauges.listing_age_s)
        if self.recent:
            ratio = sum(self.recent) / len(self.recent)
            yield gauge(
                "warm_hit_ratio", f"Share of the last {RECENT} first assigns that found an idle machine.", ratio
            )
