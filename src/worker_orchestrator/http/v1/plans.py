"""Which sizes of a pool would have been right for the assigns that were recorded."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.control.reading.plans import LONGEST_DAYS, PlanOfPool
from worker_orchestrator.core.demand import LEAST_TARGET, MOST_TARGET
from worker_orchestrator.core.plan import LEAST_ARRIVALS, Row
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.responses import json_response
from worker_orchestrator.wire import v1 as wire

__all__ = ["PoolPlans", "planned"]

USUAL_DAYS: Final = 7
_ENOUGH: Final = f"an hour and {LEAST_ARRIVALS} assigns"


class PoolPlans:
    """What is at /v1/pools/{name}/plan."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def show(self, request: Request) -> Response:
        name, query = request.path_params["name"], request.query_params
        target = parameters.decimal(query, "target", LEAST_TARGET, MOST_TARGET)
        days = parameters.number(query, "days", 1, LONGEST_DAYS) or USUAL_DAYS
        self._orchestrator.insist_on_pool(name)
        found = await self._orchestrator.plans.of(name, target, days)
        return json_response(planned(name, found))


def planned(name: str, found: PlanOfPool) -> wire.PoolPlan:
    """What is told of a plan."""
    question, span, plan = found.question, found.span, found.plan
    return wire.PoolPlan(
        pool=name,
        sizing="adaptive" if question.is_adaptive else "fixed",
        target=question.target,
        since=None if span is None else _moment(span.count_from_s),
        until=None if span is None else _moment(span.until_s),
        arrivals=plan.rows[0].outcome.arrivals if plan.rows else 0,
        warm_up_seconds=round(question.warm_s, 3),
        sizes=[_sizes(row) for row in plan.rows],
        now=wire.PlannedSizes(idle=question.idle, parked=question.parked),
        enough=plan.is_enough,
        proposed=None if plan.proposed is None else _proposed(plan.proposed),
        sentence=_said(name, found),
    )


def _sizes(row: Row) -> wire.ReplayedSizes:
    outcome = row.outcome
    return wire.ReplayedSizes(
        idle=row.idle,
        parked=row.parked,
        adaptive=row.is_adaptive,
        hit_ratio=round(outcome.hit_ratio, 6),
        p50_wait_seconds=round(outcome.p50_wait_s, 3),
        p99_wait_seconds=round(outcome.p99_wait_s, 3),
        idle_hours=round(outcome.idle_hours, 3),
        parked_hours=round(outcome.parked_hours, 3),
    )


def _proposed(row: Row) -> wire.PlannedSizes:
    return wire.PlannedSizes(idle=row.idle, parked=row.parked)


def _said(name: str, found: PlanOfPool) -> str:
    """How much was replayed, or why nothing was."""
    if found.span is None or not found.plan.rows or not found.plan.rows[0].outcome.arrivals:
        return f"No assign of the pool {name} is on record in this time, so nothing can be said of its sizes."
    count, lasted_s = found.plan.rows[0].outcome.arrivals, found.span.until_s - found.span.count_from_s
    cut = " These are the last ones: more are on record than are replayed." if found.is_cut else ""
    little = "" if found.plan.is_enough else f" That is too little to propose a size, which takes {_ENOUGH}."
    came = "1 assign" if count == 1 else f"{count} assigns"
    warm = f"{found.question.warm_s:.3g} s until a new machine answers"
    if found.question.is_warm_s_assumed:
        warm += ", which is assumed: none was seen to start yet"
    return f"{came} in {_duration(lasted_s)}, replayed with {warm}.{little}{cut}"


def _duration(lasted_s: float) -> str:
    for unit, unit_s in (("days", 86_400), ("hours", 3600), ("min", 60)):
        if lasted_s >= 2 * unit_s:
            return f"{lasted_s / unit_s:.{0 if unit == 'min' else 1}f} {unit}"
    return f"{lasted_s:.0f} s"


def _moment(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)
