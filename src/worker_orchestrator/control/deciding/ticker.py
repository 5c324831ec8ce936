"""The tick: list the engine, compare, commit, act. Woken by events, by decisions, by deadlines, and every refresh."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from itertools import islice
from typing import Final

import structlog

from worker_orchestrator.control.deciding.decisions import Decisions
from worker_orchestrator.control.deciding.journal import STORE_RETRY_S
from worker_orchestrator.control.deciding.state import ControlState
from worker_orchestrator.control.deciding.untold import UntoldAssignments
from worker_orchestrator.control.world.actions import Actions
from worker_orchestrator.control.world.contact import Contact
from worker_orchestrator.control.world.listings import Listings
from worker_orchestrator.control.world.probers import Probers
from worker_orchestrator.core.deadlines import next_of_leases
from worker_orchestrator.core.doomed import about_to_fail
from worker_orchestrator.core.due_actions import still_wanted
from worker_orchestrator.core.instance import Instance, Snapshot, Status
from worker_orchestrator.core.outcomes import is_awaited, start_deadline
from worker_orchestrator.core.reasons import sentence
from worker_orchestrator.core.reconcile import Plan, reconcile
from worker_orchestrator.errors import EngineError

__all__ = ["Ticker"]

TICK_GAP_S: Final = 0.05
"""A burst of events is one tick: the first wakes at once, the rest wait this long."""
FIRST_RETRY_S: Final = 0.25
LONGEST_RETRY_S: Final = 1.0
"""Once the engine is back, the pool is right soon: asking one that is away costs next to nothing."""
LEASES_EVERY_S: Final = 1.0
"""An end that nobody knew at the last tick comes at most so much later than it is due, and what a listing takes."""
MOST_DOOMED: Final = 50
"""Where more workers end at once, their image is not why: the last lines of so many are read, each on a connection."""

_log = structlog.get_logger(__name__)


class Ticker:
    """Compares the fleet with the engine again and again, for as long as `run` runs."""

    def __init__(  # all that a tick concerns
        self,
        state: ControlState,
        decisions: Decisions,
        untold: UntoldAssignments,
        listings: Listings,
        contact: Contact,
        actions: Actions,
        probers: Probers,
    ) -> None:
        self._state, self._fleet, self._decisions, self._untold = state, state.fleet, decisions, untold
        self._listings, self._contact, self._actions, self._probers = listings, contact, actions, probers
        self._is_stored = True

    async def run(self, refresh_interval_s: float) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            self._state.wake.clear()
            plan = await self._tick()
            self._state.note_listing()
            if plan is None:
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, LONGEST_RETRY_S)
                continue
            retry_s = FIRST_RETRY_S
            self._state.note_news()
            await asyncio.sleep(TICK_GAP_S)
            await self._rest(self._state.now() + max(0.0, self._pause_s(plan, refresh_interval_s)))

    async def _rest(self, until: float) -> None:
        """Wait for the time of the next tick, or for what wakes it. Assignments that were made meanwhile may end before."""
        while (left_s := until - self._state.now()) > 0:
            with contextlib.suppress(TimeoutError):
                self._state.looks_at_leases = bool(self._fleet.leased)
                async with asyncio.timeout(min(left_s, LEASES_EVERY_S) if self._fleet.leased else left_s):
                    await self._state.wake.wait()
                return
            ends_at = next_of_leases(self._fleet)
            if ends_at is not None and ends_at <= self._state.now():
                return

    def _pause_s(self, plan: Plan, refresh_interval_s: float) -> float:
        """How long to wait for the next tick, if nothing wakes it before."""
        pause_s = refresh_interval_s - TICK_GAP_S
        if plan.wake_at is not None:
            pause_s = min(pause_s, plan.wake_at - self._state.now())
        return pause_s if self._is_stored else min(pause_s, STORE_RETRY_S)

    async def _tick(self) -> Plan | None:
        """Snapshot, reconcile, commit, act. None if the engine could not be listed, which proves nothing."""
        state, decisions = self._state, self._decisions
        snapshot = await self._snapshot()
        if snapshot is None:
            return None
        state.snapshot = snapshot
        state.note_hosts()
        self._untold.give_back()
        plan = reconcile(self._fleet, snapshot, state.spec, state.now(), state.new_id)
        decisions.hurry_workers()
        decisions.turn_away()
        self._is_stored = await decisions.journal.settled()
        if self._is_stored:
            self._act(plan)
        self._probe_starting(snapshot.instances)
        return plan

    async def _snapshot(self) -> Snapshot | None:
        """A listing, with the last lines of workers that are about to fail; None if there was none."""
        fleet = self._fleet
        with self._actions.listing() as busy:
            asked_at = self._state.now()
            try:
                listing = await self._listings.take(surely=False)
                if self._lacks_a_machine(listing.instances):
                    listing = await self._listings.take(surely=True)
            except EngineError as error:
                self._note_failure(error.message, asked_at)
                return None
            doomed = list(islice(about_to_fail(fleet, listing.instances, self._state.spec, listing.as_of), MOST_DOOMED))
            evidence = await self._listings.last_lines(doomed)
            after_outage = not self._contact.answers
            snapshot = Snapshot(listing.as_of, listing.instances, frozenset(busy), evidence, after_outage)
        if after_outage:
            _log.info("the engine answers")
        self._contact.restored()
        return snapshot

    def _lacks_a_machine(self, instances: Mapping[str, Instance]) -> bool:
        """Whether a machine that should be there is not: then it may be another engine that answered."""
        expected = (machine.id for machine in self._fleet.machines.values() if not machine.gone)
        return not all(one in instances or self._actions.is_busy(one) for one in expected)

    def _note_failure(self, why: str, asked_at: float) -> None:
        if self._contact.problem != sentence(why):
            _log.warning("the engine cannot be listed", why=why)
        self._contact.failed(why, asked_at)

    def _act(self, plan: Plan) -> None:
        """Start what is left to do, as far as it is still right: storing the plan took a moment."""
        for action in plan.actions:
            if still_wanted(self._fleet, action):
                if action.machine_id not in self._fleet.machines:
                    _log.warning("a removed container exists again, and is removed", machine=action.machine_id)
                self._actions.start(action)

    def _probe_starting(self, instances: Mapping[str, Instance]) -> None:
        """Probe every worker that runs and has not answered yet."""
        for machine in list(self._fleet.machines.values()):
            instance = instances.get(machine.id)
            runs = instance is not None and instance.status is Status.RUNNING
            if runs and is_awaited(self._fleet, machine) and not self._actions.is_busy(machine.id):
                self._probers.start(machine, start_deadline(self._fleet, self._state.spec, machine))
