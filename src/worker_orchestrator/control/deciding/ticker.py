"""The tick: list the engine, compare, commit, act. Woken by events, by decisions, by deadlines, and every refresh."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog

from worker_orchestrator.control.deciding.state import STORE_RETRY_S, Decisions
from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.control.world.actions import Actions
from worker_orchestrator.control.world.probers import Probers
from worker_orchestrator.core.machine import Instance, Snapshot, State, Status
from worker_orchestrator.core.outcomes import still_wanted
from worker_orchestrator.core.reconcile import Plan, dying, reconcile
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.errors import EngineError, EngineUnavailable

__all__ = ["Ticker"]

LIST_TIMEOUT_S: Final = 10.0
NEXT_TIMEOUT_S: Final = 2.0
TICK_GAP_S: Final = 0.05
"""A burst of events is one tick: the first wakes at once, the rest wait this long."""
FIRST_RETRY_S: Final = 0.25
LONGEST_RETRY_S: Final = 1.0
"""Once the engine is back, the pool is right soon: asking one that is away costs next to nothing."""

_log = structlog.get_logger(__name__)


class Ticker:
    """Looks at the engine again and again. `snapshot` is the last listing.

    `elsewhere` has the host of each machine, by its id, that is not reached under the one of the settings.
    """

    def __init__(
        self,
        engine: Engine,
        engine_id: str,
        decisions: Decisions,
        actions: Actions,
        probers: Probers,
        observer: Observer,
    ) -> None:
        self._engine, self._engine_id, self._observer = engine, engine_id, observer
        self._decisions, self._actions, self._probers = decisions, actions, probers
        self._ticked = asyncio.Event()
        self._stored = True
        self.snapshot = Snapshot(-1.0, {})
        self.elsewhere: dict[str, str] = {}

    async def run(self, refresh_interval_s: float) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            self._decisions.wake.clear()
            plan = await self._tick()
            self._ticked.set()
            if plan is None:
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, LONGEST_RETRY_S)
                continue
            retry_s = FIRST_RETRY_S
            self._decisions.tell_news()
            await asyncio.sleep(TICK_GAP_S)
            pause_s = refresh_interval_s - TICK_GAP_S
            if plan.wake_at is not None:
                pause_s = min(pause_s, plan.wake_at - self._decisions.now())
            if not self._stored:
                pause_s = min(pause_s, STORE_RETRY_S)
            try:
                async with asyncio.timeout(max(0.0, pause_s)):
                    await self._decisions.wake.wait()
            except TimeoutError:
                continue

    async def next(self) -> None:
        """Wait for a listing that begins now, for 2 s at most."""
        try:
            async with asyncio.timeout(NEXT_TIMEOUT_S):
                for _ in range(2):  # the one under way may have begun too early
                    self._ticked.clear()
                    self._decisions.wake.set()
                    await self._ticked.wait()
        except TimeoutError:
            return

    async def _tick(self) -> Plan | None:
        """Snapshot, reconcile, commit, act. None if the engine could not be listed, which proves nothing."""
        decisions, contact = self._decisions, self._decisions.contact
        with self._actions.listing() as busy:
            asked_at = decisions.now()
            try:
                async with asyncio.timeout(LIST_TIMEOUT_S):
                    begun_at, instances = await self._list()
            except (TimeoutError, EngineError) as error:
                self._engine_failed(str(error) or f"no listing within {LIST_TIMEOUT_S:g} s", asked_at)
                return None
            dead = list(dying(decisions.fleet, instances, decisions.spec, begun_at))
            evidence = dict(zip(dead, await asyncio.gather(*map(self._actions.last_lines, dead)), strict=True))
            after_outage = contact.problem is not None
            self.snapshot = Snapshot(begun_at, instances, frozenset(busy), evidence, after_outage)
        self._engine_answers()
        self.elsewhere.clear()
        self.elsewhere.update((instance.id, instance.host) for instance in instances.values() if instance.host)
        decisions.before_tick()
        plan = reconcile(decisions.fleet, self.snapshot, decisions.spec, decisions.now(), decisions.new_id)
        decisions.hurry_workers()
        decisions.turn_away()
        self._stored = decisions.journal.flush()
        if self._stored:
            for action in plan.actions:
                if still_wanted(decisions.fleet, action):
                    if action.machine_id not in decisions.fleet.machines:
                        _log.warning("what was removed turned up again, and is removed", machine=action.machine_id)
                    self._actions.start(action)
        for machine in list(decisions.fleet.machines.values()):
            instance = instances.get(machine.id)
            runs = instance is not None and instance.status is Status.RUNNING
            if machine.state is State.STARTING and runs and not self._actions.is_busy(machine.id):
                self._probers.start(machine.id)
        return plan

    async def _list(self) -> tuple[float, Mapping[str, Instance]]:
        """When a listing of the right engine was begun, and what it shows.

        Another engine lacks all machines of ours. So one that lacks any is believed only if the right engine answered both
        before and after it.
        """
        begun_at, instances = self._decisions.now(), await self._observer.measure("list", self._engine.list())
        expected = (m.id for m in self._decisions.fleet.machines.values() if not m.gone)
        if all(machine_id in instances or self._actions.is_busy(machine_id) for machine_id in expected):
            return begun_at, instances
        await self._insist_on_the_right_engine()
        begun_at, instances = self._decisions.now(), await self._observer.measure("list", self._engine.list())
        await self._insist_on_the_right_engine()
        return begun_at, instances

    async def _insist_on_the_right_engine(self) -> None:
        identity = await self._observer.measure("identity", self._engine.identity())
        if not identity.marked and identity.id != self._engine_id:
            raise EngineUnavailable(f"another engine answers at this address ({identity.id}, not {self._engine_id})")

    def _engine_failed(self, why: str, asked_at: float) -> None:
        if self._decisions.contact.problem != why:
            _log.warning("the engine cannot be listed", why=why)
        self._decisions.contact.failed(why, asked_at)

    def _engine_answers(self) -> None:
        if self._decisions.contact.problem is not None:
            _log.info("the engine answers")
        self._decisions.contact.restored()
