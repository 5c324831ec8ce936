"""Asks workers whether they serve: one question, or again and again until a starting worker answers."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import Final

import structlog

from worker_orchestrator.control.background import Background
from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.control.world.contact import Contact
from worker_orchestrator.control.world.listings import Listings
from worker_orchestrator.control.world.reports import Probed, Tell
from worker_orchestrator.core.instance import Instance, Verdict
from worker_orchestrator.core.machine import Machine
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
TOLD_EVERY_S: Final = 60.0
"""A problem that keeps us from asking is the same for all workers as a rule, so it is logged once a minute."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Start:
    """A starting machine that is asked until it answers. A question may take what is left until `deadline` (loop time)."""

    machine: Machine
    deadline: float
    task: asyncio.Task[None]


class Probers:
    """One task per starting machine. Each verdict is reported as `Probed`."""

    def __init__(
        self,
        engine: Engine,
        listings: Listings,
        background: Background,
        contact: Contact,
        tell: Tell,
        observer: Observer,
    ) -> None:
        self._engine, self._listings, self._background, self._contact = engine, listings, background, contact
        self._tell, self._observer = tell, observer
        self._now = asyncio.get_running_loop().time
        self._starting: dict[str, _Start] = {}
        self._complained_at = -math.inf

    async def probe(self, machine: Machine, limit_s: float, *, closely: bool = False) -> Verdict:
        """One probe, now, that takes so many seconds at most; a second more to look `closely` why there is no answer.

        While the engine does not answer, a worker that does not answer either may serve all the same: the way to it is the
        engine's, be it a proxy that holds its port or the network of another computer.
        """
        begun_at, instance = self._now(), self._listings.instance(machine.id)
        try:
            missing = await self._engine.probe(machine, instance, limit_s, closely=closely)
        except EngineError as error:
            return self._unknown(machine, begun_at, error.message)
        if missing is not None and not self._contact.answers:
            return self._unknown(machine, begun_at, missing)
        self._observer.probe_ended(answered=missing is None)
        host, port = ("", None) if self._engine.plans_ports else _address(instance)
        return Verdict(machine.id, begun_at, missing is None, missing or "", self._now() - begun_at, host, port)

    def _unknown(self, machine: Machine, begun_at: float, why: str) -> Verdict:
        if begun_at - self._complained_at >= TOLD_EVERY_S:
            _log.warning("it is not known whether a worker serves", machine=machine.id, why=why)
            self._complained_at = begun_at
        return Verdict(machine.id, begun_at, None, why)

    async def ask(self, machine: Machine, limit_s: float) -> None:
        """Probe a machine once, and report the verdict."""
        self.report(await self.probe(machine, limit_s))

    def report(self, verdict: Verdict) -> None:
        """Report the verdict of a probe that somebody else awaited."""
        self._tell(Probed(verdict))

    def start(self, machine: Machine, deadline: float) -> None:
        """Ask this machine until it answers or `stop` is called. What is being asked already goes on."""
        running = self._starting.get(machine.id)
        is_same = running is not None and (running.machine.host_ports, running.deadline) == (
            machine.host_ports,
            deadline,
        )
        if is_same and running is not None and not running.task.done():
            return
        self.stop(machine.id)
        task = self._background.spawn(self._until_it_answers(machine, deadline), f"probe {machine.id}")
        start = self._starting[machine.id] = _Start(machine, deadline, task)
        task.add_done_callback(lambda _: self._ended(start))

    def stop(self, machine_id: str) -> None:
        """Ask this machine no more, until `start` is called again."""
        running = self._starting.pop(machine_id, None)
        if running is not None:
            running.task.cancel()

    def _ended(self, start: _Start) -> None:
        if self._starting.get(start.machine.id) is start:
            del self._starting[start.machine.id]

    async def _until_it_answers(self, machine: Machine, deadline: float) -> None:
        pause_s, gap_s, questions = FIRST_PAUSE_S, FIRST_GAP_S, set[asyncio.Task[Verdict]]()
        try:
            while True:
                begun_at, closely = self._now(), pause_s == LONGEST_PAUSE_S
                probe = self.probe(machine, max(PROBE_S, deadline - begun_at), closely=closely)
                questions.add(self._background.spawn(probe, f"question to {machine.id}"))
                ended, questions = await asyncio.wait(questions, timeout=gap_s, return_when=asyncio.FIRST_COMPLETED)
                if not ended:
                    is_silent = False if self._contact.answers else None
                    self.report(Verdict(machine.id, begun_at, is_silent, f"no answer within {gap_s:g} s"))
                    gap_s = min(gap_s * 2, LONGEST_GAP_S)
                    continue
                verdicts = [question.result() for question in ended]
                answer = next((verdict for verdict in verdicts if verdict.answered), None)
                self.report(answer or verdicts[0])
                await asyncio.sleep(pause_s if answer is None else LONGEST_PAUSE_S)  # an answer that counts ends this
                pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)
        finally:
            for question in questions:
                question.cancel()


def _address(instance: Instance | None) -> tuple[str, int | None]:
    """The host and the port that the engine gave to this instance."""
    return ("", None) if instance is None else (instance.host or instance.address or "", instance.port)
