"""What each report of the world means for the fleet. `Reactions.react` is the only way in."""

from __future__ import annotations

import math
from typing import Final

import structlog
from msgspec.structs import replace

from worker_orchestrator.control.deciding.decisions import Decisions
from worker_orchestrator.control.telling.last_changes import LastChanges
from worker_orchestrator.control.telling.traces import Traces
from worker_orchestrator.control.world.contact import Contact
from worker_orchestrator.control.world.probers import Probers
from worker_orchestrator.control.world.reports import (
    Ended,
    EngineChanged,
    EventsStopped,
    Lost,
    Probed,
    Report,
    Settled,
    Shown,
    Silent,
    TemplateFound,
)
from worker_orchestrator.control.world.templates import Templates
from worker_orchestrator.core import configure, outcomes
from worker_orchestrator.core.action import Clean, Create, Outcome, Restart, Result, Unpark
from worker_orchestrator.core.instance import Verdict

__all__ = ["Reactions"]

MISSES_TO_LOOK: Final = 8
"""After so many misses, about a quarter of a second, a listing is made: the starting worker may have exited."""
UNAVAILABLE_RETRY_S: Final = 0.25
UNDER_WAY_LOOK_S: Final = 1.0
"""What an engine has accepted takes it a while, and its events tell of the end."""

_log = structlog.get_logger(__name__)


class Reactions:
    """Takes in what `world/` reports: lets the core decide, and has the decision stored."""

    def __init__(  # what a report may concern
        self,
        decisions: Decisions,
        contact: Contact,
        probers: Probers,
        templates: Templates,
        traces: Traces,
        last_changes: LastChanges,
    ) -> None:
        self._decisions, self._state, self._fleet = decisions, decisions.state, decisions.fleet
        self._contact, self._probers, self._templates = contact, probers, templates
        self._traces, self._last_changes = traces, last_changes

    def react(self, report: Report) -> None:  # noqa: C901 # one case per report
        """Take in one report: let the core decide what it means, and have that stored."""
        match report:
            case Settled():
                self._action_settled(report)
            case Probed(verdict):
                self._worker_probed(verdict)
            case TemplateFound():
                self._template_found(report)
            case Ended(machine_id, is_certain):
                self._fleet.hears_events = True
                if self._fleet.doubt(machine_id, math.inf):
                    self._last_changes.doubted()
                if is_certain and configure.note_end(self._fleet, machine_id, self._state.now()):
                    self._decisions.apply_and_commit_soon()
            case Shown(machine_id):
                self._fleet.doubt(machine_id, self._state.now())
                self._state.wake.set()
            case EngineChanged(templates):
                self._fleet.hears_events = True
                self._state.wake.set()
                if templates:
                    self._templates.look_again()
            case EventsStopped():
                self._fleet.hears_events = False
                self._state.wake.set()
            case Silent():
                self._state.wake.set()
            case Lost():
                self._decisions.turn_away_all_that_need_the_engine()

    def _action_settled(self, settled: Settled) -> None:
        action, outcome, machine_id = settled.action, settled.outcome, settled.action.machine_id
        if isinstance(action, Create) and outcome.result is Result.DONE:
            self._traces.created(machine_id, settled.took_s)
        if self._contact.lost.is_set() and outcome.result not in {Result.DONE, Result.UNKNOWN}:
            outcome = Outcome(Result.UNAVAILABLE, outcome.message)  # the engine that refused may be another one
        outcomes.apply_outcome(self._fleet, self._state.spec, action, outcome, self._state.now())
        self._decisions.turn_away()
        self._decisions.journal.flush()
        if outcome.result is Result.DONE and isinstance(action, Create | Restart | Clean | Unpark):
            self._ask_for_an_answer(machine_id)
            return
        if outcome.result is Result.OBSTRUCTED:
            self._templates.look_again()  # the engine may know another way, such as IPv4 only
        self._probers.stop(machine_id)  # another program may answer at its port, until a listing shows this one
        if outcome.under_way:
            self._state.wake_later(UNDER_WAY_LOOK_S)
        elif outcome.result is Result.UNAVAILABLE:
            self._state.wake_later(UNAVAILABLE_RETRY_S)
        else:
            self._state.wake.set()

    def _ask_for_an_answer(self, machine_id: str) -> None:
        machine = self._fleet.machines.get(machine_id)
        if machine is not None and outcomes.is_awaited(self._fleet, machine):
            self._probers.start(machine, outcomes.start_deadline(self._fleet, self._state.spec, machine))

    def _worker_probed(self, verdict: Verdict) -> None:
        outcomes.apply_verdict(self._fleet, self._state.spec, verdict, self._state.now())
        watch = self._fleet.watches.get(verdict.machine_id)
        if watch is not None and watch.misses % MISSES_TO_LOOK == MISSES_TO_LOOK - 1:
            self._state.wake.set()
        if self._fleet.pending:
            self._decisions.apply_and_commit_soon()

    def _template_found(self, report: TemplateFound) -> None:
        """The template of a pool. If the engine could not say, the last known one stays in force."""
        spec = self._state.spec
        before = spec.pools.get(report.pool)
        if before is None:
            return  # it was taken out of the settings meanwhile
        pool = replace(before, template=report.template or before.template, problem=report.problem, pending=False)
        if pool == before:
            return
        if report.template:
            shown_name = report.pool if len(spec.pools) > 1 else None
            _log.info("template", pool=shown_name, template=report.template, before=before.template)
        self._state.spec = replace(spec, pools={**spec.pools, report.pool: pool})
        self._decisions.apply_and_commit_soon()
