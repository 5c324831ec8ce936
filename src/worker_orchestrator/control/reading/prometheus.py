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
from worker_orchestrator.control.reading.gauges import WORDS, Gauges
from worker_orchestrator.control.telling.observer import AssignOutcome, Call, Observer
from worker_orchestrator.control.telling.traces import Trace
from worker_orchestrator.core.action import Result
from worker_orchestrator.core.machine import Cause, Change, FailureKind, State
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


class Metrics(Observer):
    """Counts what the shell tells."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        super().__init__(now)
        self._registry = CollectorRegistry()
        self._fleet = _Fleet()
        self._registry.register(self._fleet)
        ProcessCollector(registry=self._registry)
        build = Info("orchestrator_build", "Version of the service and of Python.", registry=self._registry)
        build.info({"version": __version__, "python": platform.python_version()})
        self._count_assigns()
        self._count_machines()
        self._count_calls()

    def exposition(self, gauges: Gauges) -> bytes:
        """Everything, in the text format (`CONTENT_TYPE`)."""
        self._fleet.gauges = gauges
        return generate_latest(self._registry)

    # what there is

    def _count_assigns(self) -> None:
        ends = {outcome: [outcome.value] for outcome in AssignOutcome}
        self._assigns = self._counters("assigns", "Requests for a machine, by how they ended.", ["outcome"], ends)
        self._assigns_s = self._durations(
            "assign_duration_seconds", "From a request for a machine to its reply, by how it ended.", ["outcome"], ends
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
        self._ready_s = self._duration(
            "ready_duration_seconds", "From the acknowledged creation of a machine to its first answer."
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

    # what happens

    def assign_ended(self, outcome: AssignOutcome, took_s: float, trace: Trace | None) -> None:
        self._assigns.of[outcome] += 1
        self._assigns_s.of[outcome].observe(took_s)
        if trace is None:
            return
        self._fleet.recent.append(trace.how == "warm")
        self._stored_s.observe(trace.commit_ms / 1000)
        if trace.line_ms is not None:
            self._line_s.observe(trace.line_ms / 1000)
        if trace.probe_ms is not None:
            self._probe_s.observe(trace.probe_ms / 1000)

    def call_ended(self, call: Call, result: Result, took_s: float) -> None:
        self._calls.of[call, result] += 1
        self._calls_s.of[call].observe(took_s)
        if call == "create" and result is Result.DONE:
            self._create_s.observe(took_s)

    def probe_ended(self, *, answered: bool) -> None:
        self._probes.of[answered] += 1

    def came_up(self, ready_s: float) -> None:
        self._ready_s.observe(ready_s)

    def events_ended(self) -> None:
        self._reconnects.of[""] += 1

    def committed(self, changes: Sequence[Change], took_s: float) -> None:
        self._commit_s.observe(took_s)
        for change in changes:
            self._transitions.of[change.cause] += 1
            before, after = change.before, change.after
            if after is not None and after.state is _FAILED and (before is None or before.state is not _FAILED):
                self._failures.of[change.failure or FailureKind.OTHER] += 1

    def commit_failed(self, took_s: float) -> None:
        self._commit_s.observe(took_s)
        self._commit_failures.of[""] += 1


class _Fleet(Collector):
    """What is read when somebody asks. `recent` says of each of the last first assigns whether it was warm."""

    def __init__(self) -> None:
        self.gauges: Gauges | None = None
        self.recent: deque[bool] = deque(maxlen=RECENT)

    def describe(self) -> list[Metric]:
        return []  # the registry need not ask before there is a fleet

    def collect(self) -> Iterator[Metric]:
        gauges = self.gauges
        if gauges is None:
            return
        yield from _of_pools(gauges)
        yield _gauge("max_machines", "The most machines there may be.", gauges.max_machines)
        yield _gauge("slots_held", "Machines that count in max_machines.", gauges.slots_held)
        yield _gauge("waiters", "Projects that wait for a machine now.", gauges.waiting)
        yield _gauge("engine_up", "1 if the container engine answered when it was last asked.", gauges.engine_answers)
        if gauges.listing_age_s is not None:
            yield _gauge(
                "last_listing_age_seconds", "Age of the last full listing of the engine.", gauges.listing_age_s
            )
        if self.recent:
            ratio = sum(self.recent) / len(self.recent)
            yield _gauge(
                "warm_hit_ratio", f"Share of the last {RECENT} first assigns that found an idle machine.", ratio
            )


def _of_pools(gauges: Gauges) -> Iterator[Metric]:
    machines = GaugeMetricFamily("orchestrator_machines", "Machines on record.", labels=["pool", "state"])
    min_idle = GaugeMetricFamily("orchestrator_min_idle", "Machines to be kept idle.", labels=["pool"])
    lag = GaugeMetricFamily(
        "orchestrator_refill_lag_seconds", "For how long fewer than min_idle machines have been idle.", labels=["pool"]
    )
    fails = GaugeMetricFamily(
        "orchestrator_image_failing", "1 while machines of the pool's image do not come up.", labels=["pool"]
    )
    paused = GaugeMetricFamily("orchestrator_pool_paused", "1 while the pool starts no machines.", labels=["pool"])
    for name, pool in gauges.pools.items():
        for state in WORDS:
            machines.add_metric([name, state], pool.machines[state])
        min_idle.add_metric([name], pool.min_idle)
        lag.add_metric([name], pool.refill_lag_s)
        fails.add_metric([name], pool.image_fails)
        paused.add_metric([name], pool.paused)
    yield from cast("list[Metric]", [machines, min_idle, lag, fails, paused])


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"orchestrator_{name}", text, value=value)
