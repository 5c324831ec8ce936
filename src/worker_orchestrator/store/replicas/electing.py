"""Stands in the election of the leader, for as long as the process runs (`store/cluster/election.py` decides).

The clock goes on while the computer sleeps, where it has one that does. A leader renews its Lease once a second, and whoever
is none reads it as often.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

import structlog

from worker_orchestrator.store.cluster import election
from worker_orchestrator.store.cluster.calls import Answer, Call, Kind, Read, Verdict
from worker_orchestrator.store.cluster.terms import Term

__all__ = ["Election", "awake_s"]

_log = structlog.get_logger(__name__)
_LOOKS_EVERY_S: Final = 0.2
_BOOTTIME: Final = getattr(time, "CLOCK_BOOTTIME", None)


def awake_s() -> float:
    """Seconds of a clock that nobody sets, and that does not stop while the computer sleeps."""
    return time.monotonic() if _BOOTTIME is None else time.clock_gettime(_BOOTTIME)


class Election:
    """One replica in it. `answer` sends one call; it must come back within a second or two.

    `stamp` is that of the clock of deadlines while this replica leads; empty while there is none to be kept.
    """

    def __init__(
        self,
        replica: election.Replica,
        answer: Callable[[Call], Awaitable[Answer]],
        clock: Callable[[], float] = awake_s,
    ) -> None:
        self._replica, self._answer, self._clock = replica, answer, clock
        self.stamp = ""
        self._standing = election.Standing()
        self._news = asyncio.Event()
        self._refused = ""

    @property
    def term(self) -> Term | None:
        """The term in which this replica leads; None if it does not, or if its time is over."""
        return self._standing.term(self._replica) if self._standing.may_write(self._clock()) else None

    @property
    def leader(self) -> str:
        """The address of the leader, as far as it is known; empty if there is none, or if this replica is it."""
        seat = self._standing.seat
        if seat is None or seat.holder in {"", self._replica.leader}:
            return ""
        since = self._standing.since
        return seat.address if since is not None and self._clock() < since + election.LASTS_S else ""

    @property
    def last_stamp(self) -> str:
        """That of the last leader with deadlines; empty if there was none."""
        return "" if self._standing.seat is None else self._standing.seat.stamp

    def leads_in(self, term: Term) -> bool:
        """Whether this replica may write in this term."""
        return self.term == term

    async def next_term(self) -> Term:
        """Wait until this replica leads."""
        while (term := self.term) is None:
            await self._news.wait()
        return term

    async def over(self, term: Term) -> None:
        """Wait until this replica does not lead in this term any more, by its clock or by what it heard."""
        while self.leads_in(term):  # noqa: ASYNC110 # a clock has no events
            await asyncio.sleep(_LOOKS_EVERY_S)

    def end_term(self, epoch: int = 0) -> None:
        """Its leader knows by something else that it leads no more: by what a term of this epoch wrote, if that is not 0."""
        self._standing = self._standing.ended(epoch)
        self._tell()

    async def run(self) -> None:
        """Stand in the election for ever."""
        while True:
            before = self.term
            await self._stand()
            if self.term != before:
                _log.info("leader" if self.term else "no leader any more", term=str(self.term or before))
            self._tell()
            await asyncio.sleep(self._pause_s())

    def _pause_s(self) -> float:
        """Until its next look: earlier if the seat of another one may be over before."""
        since = self._standing.since
        left_s = 0.0 if since is None or self.term else since + election.LASTS_S - self._clock()
        return left_s if 0.0 < left_s < election.RENEW_EVERY_S else election.RENEW_EVERY_S

    async def resign(self) -> None:
        """Give the seat back, if it is this replica's: then nobody waits until it is over. Nothing may be written after."""
        standing = self._standing
        self.end_term()
        call = election.resignation(standing, self._replica)
        if call is None or (await self._answer(call)).verdict is not Verdict.CONFLICT:
            return
        answer = await self._answer(Read(Kind.LEASE, self._replica.lease_name))  # a renewal was on its way
        if answer.verdict is Verdict.DONE:
            now = election.seen(standing, self._replica, answer.found, self._clock())
            again = election.resignation(now, self._replica)
            if again is not None:
                await self._answer(again)

    def _tell(self) -> None:
        self._news.set()
        self._news.clear()

    async def _stand(self) -> None:
        if not self._standing.may_write(self._clock()):
            await self._look()
        sent_at = self._clock()
        call = election.next_call(self._standing, self._replica, sent_at, datetime.now(UTC), self.stamp)
        if call is None:
            return
        answer = await self._answer(call)
        self._standing = election.answered(self._standing, self._replica, answer, sent_at, self._clock())
        if answer.verdict is not Verdict.DONE:
            await self._look()

    async def _look(self) -> None:
        answer = await self._answer(Read(Kind.LEASE, self._replica.lease_name))
        if answer.verdict in {Verdict.DONE, Verdict.MISSING}:
            found = answer.found if answer.verdict is Verdict.DONE else None
            self._standing = election.seen(self._standing, self._replica, found, self._clock())
        elif answer.verdict is Verdict.REFUSED and answer.message != self._refused:
            self._refused = answer.message
            _log.error("the Lease of the leader cannot be read", why=answer.message, do="grant get, create and patch")
