"""Asks workers whether they serve: each starting one until it does, and all idle ones in turn, each once per refresh."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Final, cast

import structlog

from worker_orchestrator.control.background import Background
from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.core.machine import Machine, Verdict
from worker_orchestrator.core.outcomes import PROBE_S
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.errors import EngineError

__all__ = ["Probers"]

FIRST_PAUSE_S: Final = 0.005
LONGEST_PAUSE_S: Final = 0.1
FIRST_GAP_S: Final = 1.0
LONGEST_GAP_S: Final = 30.0
"""A worker that says nothing is asked again beside the question that still waits, after twice the time each time: the
first answer counts, however slow it is, and a connection that got lost on the way does not."""
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
        awaited: Callable[[str], Machine | None],
        found: Callable[[Verdict], None],
        observer: Observer,
        patience_s: Callable[[Machine], float],
        engine_answers: Callable[[], bool] = lambda: True,
    ) -> None:
        self._engine, self._background, self.patience_s = engine, background, patience_s
        self._now = asyncio.get_running_loop().time
        self._awaited, self._found, self._observer = awaited, found, observer
        self._engine_answers = engine_answers
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._slow: set[str] = set()  # idle machines that a sweep asked with patience, and that have not answered yet
        self._told_at = -math.inf

    async def probe(self, machine: Machine, limit_s: float, *, closely: bool = False) -> Verdict:
        """One probe, now, that takes so many seconds at most; a second more to look `closely` why there is no answer.

        While the engine does not answer, a worker that does not answer either may serve all the same: the way to it is the
        engine's, be it a proxy that holds its port or the network of another computer.
        """
        begun_at = self._now()
        try:
            missing = await self._engine.probe(machine, limit_s, closely=closely)
        except EngineError as error:
            return self._nobody_can_tell(machine, begun_at, error.message)
        if missing is not None and not self._engine_answers():
            return self._nobody_can_tell(machine, begun_at, missing)
        self._observer.probe_ended(answered=missing is None)
        return Verdict(machine.id, begun_at, missing is None, missing or "", self._now() - begun_at)

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
        pause_s, gap_s, questions = FIRST_PAUSE_S, FIRST_GAP_S, set[asyncio.Task[Verdict]]()
        try:
            while (machine := self._awaited(machine_id)) is not None:
                begun_at, closely = self._now(), pause_s == LONGEST_PAUSE_S
                probe = self.probe(machine, self.patience_s(machine), closely=closely)
                questions.add(self._background.spawn(probe, f"question to {machine_id}"))
                ended, questions = await asyncio.wait(questions, timeout=gap_s, return_when=asyncio.FIRST_COMPLETED)
                if not ended:
                    is_silent = False if self._engine_answers() else None
                    self._found(Verdict(machine_id, begun_at, is_silent, f"no answer within {gap_s:g} s"))
                    gap_s = min(gap_s * 2, LONGEST_GAP_S)
                    continue
                verdicts = [question.result() for question in ended]
                self._found(next((verdict for verdict in verdicts if verdict.answered), verdicts[0]))
                await asyncio.sleep(pause_s if self._awaited(machine_id) is not None else 0)
                pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)
        finally:
            for question in questions:
                question.cancel()

    def report(self, verdict: Verdict) -> None:
        """Tell what a probe of one's own found."""
        self._found(verdict)

    async def sweep(self, ids: Sequence[str], idle: Callable[[str], Machine | None], within_s: float) -> None:
        """One probe of each of these, spread over so many seconds: all at once, they would keep whoever asks waiting.

        `idle(id)` gives the machine if it is still idle when its turn comes: a project's worker is its own business. Returns
        when the time is over, or the last one has answered; whoever may take longer is left out until it has.
        """
        steps = max(1, min(len(ids), math.floor(within_s / STEP_S)))
        room = asyncio.Semaphore(SWEEP_PARALLEL)

        async def one(machine_id: str) -> None:
            async with room:
                machine = idle(machine_id)
                if machine is None or machine_id in self._slow:
                    return
                limit_s = self.patience_s(machine)
                if limit_s <= PROBE_S:
                    self._found(await self.probe(machine, limit_s))
                    return
            self._slow.add(machine_id)
            under_way.discard(cast("asyncio.Task[None]", asyncio.current_task()))  # nobody waits for this one
            try:
                self._found(await self.probe(machine, limit_s))
            finally:
                self._slow.discard(machine_id)

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
