"""The tick: list the engine, compare, commit, act. Woken by events, by decisions, by deadlines, and every refresh."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog

from worker_orchestrator.engines import Engine
from worker_orchestrator.errors import EngineError
from worker_orchestrator.findings import still_wanted
from worker_orchestrator.machine import Instance, Snapshot, State
from worker_orchestrator.orchestrator.actions import Actions
from worker_orchestrator.orchestrator.decisions import Decisions
from worker_orchestrator.orchestrator.probers import Probers
from worker_orchestrator.reconcile import Plan, dying, reconcile

__all__ = ["Ticker"]

LIST_TIMEOUT_S: Final = 10.0
NEXT_TIMEOUT_S: Final = 2.0
TICK_GAP_S: Final = 0.05
"""A burst of events is one tick: the first wakes at once, the rest wait this long."""
FIRST_RETRY_S: Final = 0.5
LONGEST_RETRY_S: Final = 5.0

_log = structlog.get_logger(__name__)


class Ticker:
    """Looks at the engine again and again. `snapshot` is the last listing."""

    def __init__(
        self, engine: Engine, engine_id: str, decisions: Decisions, actions: Actions, probers: Probers
    ) -> None:
        self._engine, self._engine_id = engine, engine_id
        self._decisions, self._actions, self._probers = decisions, actions, probers
        self._ticked = asyncio.Event()
        self.snapshot = Snapshot(-1.0, {})

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
            await asyncio.sleep(TICK_GAP_S)
            pause_s = refresh_interval_s - TICK_GAP_S
            if plan.wake_at is not None:
                pause_s = min(pause_s, plan.wake_at - self._decisions.now())
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
        with self._actions.listing() as busy:
            begun_at = self._decisions.now()
            try:
                async with asyncio.timeout(LIST_TIMEOUT_S):
                    instances = await self._engine.list()
            except (TimeoutError, EngineError) as error:
                self._engine_failed(str(error) or f"the engine did not list within {LIST_TIMEOUT_S:g} s")
                return None
            dead = list(dying(self._decisions.fleet, instances, self._decisions.spec, begun_at))
            evidence = dict(zip(dead, await asyncio.gather(*map(self._actions.last_lines, dead)), strict=True))
            after_outage = self._decisions.engine_problem is not None
            snapshot = Snapshot(begun_at, instances, frozenset(busy), evidence, after_outage)
            if not await self._is_the_right_engine(instances):
                return None
        self._engine_answers()
        self.snapshot = snapshot
        plan = reconcile(
            self._decisions.fleet, snapshot, self._decisions.spec, self._decisions.now(), self._decisions.new_id
        )
        self._decisions.turn_away()
        if self._decisions.journal.flush():
            for action in plan.actions:
                if still_wanted(self._decisions.fleet, action):
                    self._actions.start(action)
        for machine in list(self._decisions.fleet.machines.values()):
            if machine.state is State.STARTING and not self._actions.is_busy(machine.id) and machine.id in instances:
                self._probers.start(machine.id)
        return plan

    async def _is_the_right_engine(self, instances: Mapping[str, Instance]) -> bool:
        """Whether a listing that lacks a machine of ours may be believed: another engine lacks all of them."""
        ours = [
            m
            for m in self._decisions.fleet.machines.values()
            if m.state is State.READY and not self._actions.is_busy(m.id)
        ]
        if all(machine.id in instances for machine in ours):
            return True
        try:
            async with asyncio.timeout(LIST_TIMEOUT_S):
                identity = await self._engine.identity()
        except (TimeoutError, EngineError) as error:
            self._engine_failed(str(error) or "the engine did not say which one it is")
            return False
        if identity.marked or identity.id == self._engine_id:
            return True
        self._engine_failed(f"another engine answers at this address ({identity.id}, not {self._engine_id})")
        return False

    def _engine_failed(self, why: str) -> None:
        if self._decisions.engine_problem != why:
            _log.warning("the engine cannot be listed", why=why)
        self._decisions.engine_problem = why

    def _engine_answers(self) -> None:
        if self._decisions.engine_problem is not None:
            _log.info("the engine answers")
        self._decisions.engine_problem = None
