"""Asks workers whether they serve: each starting one until it does, and all idle ones in turn, each once per refresh."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from worker_orchestrator.engines import Engine
from worker_orchestrator.errors import EngineError
from worker_orchestrator.machine import Machine, Verdict
from worker_orchestrator.orchestrator.background import Background
from worker_orchestrator.orchestrator.observer import Observer

__all__ = ["Probers"]

FIRST_PAUSE_S: Final = 0.005
LONGEST_PAUSE_S: Final = 0.1
SWEEP_PARALLEL: Final = 50
STEP_S: Final = 0.25
"""Of a sweep: three hundred machines are eight at a time. One by one, with cold caches, they took twice the time."""
TOLD_EVERY_S: Final = 60.0
"""That nobody can tell of workers: it is the same for all of them, as a rule."""

_log = structlog.get_logger(__name__)


class Probers:
    """One task per starting machine.

    `awaited(id)` gives the machine for as long as somebody waits for its answer; `found` gets every verdict.
    `engine_answers` says whether the engine does, as far as is known.
    """

    def __init__(
        self,
        engine: Engine,
        background: Background,
        now: Callable[[], float],
        awaited: Callable[[str], Machine | None],
        found: Callable[[Verdict], None],
        observer: Observer,
        engine_answers: Callable[[], bool] = lambda: True,
    ) -> None:
        self._engine, self._background, self._now = engine, background, now
        self._awaited, self._found, self._observer = awaited, found, observer
        self._engine_answers = engine_answers
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._told_at = -math.inf

    async def probe(self, machine: Machine) -> Verdict:
        """One probe, now.

        While the engine does not answer, a worker that does not answer either may serve all the same: the way to it is the
        engine's, be it a proxy that holds its port or the network of another computer.
        """
        begun_at = self._now()
        try:
            missing = await self._engine.probe(machine)
        except EngineError as error:
            return self._nobody_can_tell(machine, begun_at, error.message)
        if missing is not None and not self._engine_answers():
            return self._nobody_can_tell(machine, begun_at, missing)
        self._observer.probe_ended(answered=missing is None)
        return Verdict(machine.id, begun_at, missing is None, missing or "")

    def _nobody_can_tell(self, machine: Machine, begun_at: float, why: str) -> Verdict:
        if begun_at - self._told_at >= TOLD_EVERY_S:
            _log.warning("nobody can tell whether a worker serves", machine=machine.id, why=why)
            self._told_at = begun_at
        return Verdict(machine.id, begun_at, None, why)

    def start(self, machine_id: str) -> None:
        """Ask this machine until it answers or nobody waits for it any more."""
        running = self._tasks.get(machine_id)
        if running is None or running.done():
            task = self._background.spawn(self._until_it_answers(machine_id), f"probe {machine_id}")
            self._tasks[machine_id] = task
            task.add_done_callback(lambda done: self._ended(machine_id, done))

    def stop(self, machine_id: str) -> None:
        """Ask it no more, until `start` is called again."""
        task = self._tasks.pop(machine_id, None)
        if task is not None:
            task.cancel()

    def _ended(self, machine_id: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(machine_id) is task:
            del self._tasks[machine_id]

    async def _until_it_answers(self, machine_id: str) -> None:
        pause_s = FIRST_PAUSE_S
        while (machine := self._awaited(machine_id)) is not None:
            verdict = await self.probe(machine)
            self._found(verdict)
            if not verdict.answered:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)

    def report(self, verdict: Verdict) -> None:
        """Tell what a probe of one's own found."""
        self._found(verdict)

    async def sweep(self, ids: Sequence[str], idle: Callable[[str], Machine | None], within_s: float) -> None:
        """One probe of each of these, spread over so many seconds: all at once, they would keep whoever asks waiting.

        `idle(id)` gives the machine if it is still idle when its turn comes: a project's worker is its own business. Returns
        when the time is over, or the last one has answered.
        """
        steps = max(1, min(len(ids), math.floor(within_s / STEP_S)))
        room = asyncio.Semaphore(SWEEP_PARALLEL)

        async def one(machine_id: str) -> None:
            async with room:
                machine = idle(machine_id)
                if machine is not None:
                    self._found(await self.probe(machine))

        begun_at = self._now()
        under_way: set[asyncio.Task[None]] = set()
        for step in range(steps):
            for machine_id in ids[step::steps]:
                task = self._background.spawn(one(machine_id), f"probe {machine_id}")
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.sleep(begun_at + (step + 1) * within_s / steps - self._now())
        if under_way:
            await asyncio.wait(under_way)
