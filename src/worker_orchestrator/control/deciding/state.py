"""What every part of the shell decides with: the fleet, what it should be, and the journal that stores decisions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from worker_orchestrator.clock import Clock
from worker_orchestrator.control.assigning.seats import Seats
from worker_orchestrator.control.background import Background
from worker_orchestrator.control.deciding.journal import Journal
from worker_orchestrator.control.world.contact import Contact
from worker_orchestrator.core import commands
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import DEFAULT_POOL, Spec, State
from worker_orchestrator.core.reconcile import resize
from worker_orchestrator.errors import CommitFailed, NoMachineAvailable

__all__ = ["STORE_RETRY_S", "Decisions"]

STORE_RETRY_S: Final = 1.0
"""A disk that is full now may have room in a second; asked at every turn, it would fill the log too."""


class Decisions:
    """The fleet and its spec, with the steps that follow a decision.

    `progress` says what the engine is busy with that people wait for. `before_tick` is called with each listing.
    """

    def __init__(
        self, fleet: Fleet, spec: Spec, journal: Journal, clock: Clock, contact: Contact, background: Background
    ) -> None:
        self.fleet, self.spec, self.journal, self.contact = fleet, spec, journal, contact
        self.seats = Seats()
        journal.waits = self.seats.request
        contact.on_lost = lambda: self.seats.refuse_all(self.obstacle())
        self.now: Callable[[], float] = asyncio.get_running_loop().time
        self.new_id = clock.machine_id
        self.wake = asyncio.Event()
        self._news = asyncio.Event()
        contact.on_silence = self.wake.set
        self.progress: Callable[[], str] = str
        self.before_tick: Callable[[], None] = lambda: None
        self.hurry: Callable[[str], None] = lambda _: None
        self._background = background

    async def next_news(self) -> None:
        """Return when a listing was judged, or a project has lost its machine."""
        await self._news.wait()

    def tell_news(self) -> None:
        self._news.set()
        self._news.clear()

    def resize(self) -> None:
        """Begin what is missing in this very turn. While the engine is away, the tick that finds it does so instead."""
        if self.contact.problem is None:
            resize(self.fleet, self.spec, self.now(), self.new_id)
        if self.fleet.hurried:
            self.hurry_workers()

    def hurry_workers(self) -> None:
        """Have those workers end now whose places somebody waits for, or that an operator wants gone."""
        hurried, self.fleet.hurried = self.fleet.hurried, []
        for machine_id in hurried:
            self.hurry(machine_id)

    def resize_now(self) -> None:
        """As `resize`, for a request that was answered, or is as soon as this turn's decisions are stored."""
        self.resize()
        self.journal.attribute()
        if not self.journal.is_due:
            self.commit_soon()

    def turn_away(self) -> None:
        """Tell those for whom nothing can come."""
        for project, why_not in commands.turn_away(self.fleet, self.spec, self.now()).items():
            self.seats.refuse(project, why_not)

    def obstacle(self, project: str = "") -> NoMachineAvailable:
        """For somebody who waited in vain, for this project's machine where it has one: what stood in the way."""
        if self.contact.problem is not None:
            return NoMachineAvailable(f"The engine does not answer: {self.contact.problem}")
        own = self.fleet.of_project(project)
        if own is not None and own.id in self.fleet.ailing:
            return commands.ailing(self.fleet, own)
        if own is not None and own.state is State.STARTING:
            return commands.restarting(self.fleet, own, self.now())
        return NoMachineAvailable(commands.obstacle(self.fleet, self.spec, DEFAULT_POOL) or self.progress())

    def commit_soon(self) -> None:
        """Store what is decided at the end of this turn, though nobody waits for it."""
        self.journal.attribute("")  # nobody waits for it, so nobody asked for it
        if self.fleet.pending:
            self._background.spawn(self._commit(), "commit")

    async def _commit(self) -> None:
        try:
            await self.journal.durable()
        except CommitFailed:
            asyncio.get_running_loop().call_later(STORE_RETRY_S, self.wake.set)
