"""Which sizes of a pool would have been right for the assigns that were recorded."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.control.reading.plans import LONGEST_DAYS, PlanOfPool
from worker_orchestrator.core.demand import LEAST_TARGET, MOST_TARGET
from worker_orchestrator.core.plan import Row
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.responses import json_response
from worker_orchestrator.wire import v1 as wire

__all__ = ["PoolPlans"]

USUAL_DAYS: Final = 7


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
        is_adaptive = self._orchestrator.spec.pool(name).is_adaptive
        return json_response(_plan(name, found, is_adaptive=is_adaptive))


def _plan(name: str, found: PlanOfPool, *, is_adaptive: bool) -> wire.PoolPlan:
    question, span, plan = found.question, found.span, found.plan
    return wire.PoolPlan(
        pool=name,
        sizing="adaptive" if is_adaptive else "fixed",
        target=question.target,
        since=None if span is None else _moment(span.count_from_s),
        until=None if span is None else _moment(span.until_s),
        arrivals=plan.rows[0].outcome.arrivals if plan.rows else 0,
        warm_up_seconds=round(question.warm_s, 3),
        sizes=[_sizes(row) for row in plan.rows],
        now=wire.PlannedSizes(idle=question.idle, parked=question.parked),
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
    count, hours = found.plan.rows[0].outcome.arrivals, (found.span.until_s - found.span.count_from_s) / 3600
    lasted = (
        f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} hours" if hours >= 2 else f"{hours * 60:.0f} min"
    )
    cut = " These are the last ones: more are on record than are replayed." if found.is_cut else ""
    came = "1 assign" if count == 1 else f"{count} assigns"
    return f"{came} in {lasted}, replayed with {found.question.warm_s:.3g} s until a new machine answers.{cut}"


def _moment(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)
