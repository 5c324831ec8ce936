"""Decide in memory, commit, then reply.

The decisions of one turn of the event loop share one commit. Whoever replies to a client, or acts upon a decision, awaits
`durable` first, or has its reply called by `store_now` or `store_later`. A batch that could not be stored is undone in
reverse order, and all who wait for it hear of it; if the rows on disk differ from memory after that, nothing can be trusted
any more and the process stops.

A batch goes through these steps: take what is pending, store it in one transaction, call the replies of `store_now` and
`store_later`, then the effects (`Effects.committed`); tasks that await `durable` go on in the next turn. If it cannot be
stored: undo it, `Effects.undone`, compare memory with the disk, call the replies.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from worker_orchestrator.control.deciding.effects import Effects
from worker_orchestrator.control.defect import Defect
from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import Change, Machine
from worker_orchestrator.errors import CommitFailed, StoreError
from worker_orchestrator.store.store import Store
from worker_orchestrator.telemetry.request_id import REQUEST_ID

__all__ = ["PERSIST_EVENTS_S", "STORE_RETRY_S", "Journal", "Reply"]

STORE_RETRY_S: Final = 1.0
"""How long to wait after a failed commit: a full disk may have room again, and each failure is a log line."""
COMPLAINS_EVERY_S: Final = 60.0
"""The log may be on the disk that is full."""
MOST_TURNS: Final = 4
QUIET_S: Final = 0.001
PERSIST_EVENTS_S: Final = 0.001
"""So long after a commit the store moves the event that a row carries to the event table."""

Reply = Callable[[BaseException | None], None]
"""Called once: None if what it waits for is stored, else why it is not."""

_log = structlog.get_logger(__name__)


class Journal:
    """The way of every change from memory to disk."""

    def __init__(  # what a commit concerns
        self,
        fleet: Fleet,
        store: Store,
        effects: Effects,
        defect: Defect,
        wall_ms: Callable[[], int],
        observer: Observer,
    ) -> None:
        self._fleet, self._store, self._effects, self._defect = fleet, store, effects, defect
        self._wall_ms, self._observer = wall_ms, observer
        self._now = asyncio.get_running_loop().time
        self._requests: list[str] = []  # the request behind each of the first pending changes
        self.is_due = False  # what is pending will be stored in this turn, or one soon
        self._flushed_at = -math.inf
        self._persists_events = False  # a timer is set
        self._batch: asyncio.Future[None] | None = None  # for those who have a task
        self._replies: list[Reply] = []  # for those who have none
        self._complains_at = 0.0
        self._last_port = fleet.last_port  # as it is stored

    @property
    def problem(self) -> str:
        """Why the last commit failed, and what to do; empty since one succeeded."""
        return self._store.problem

    @property
    def is_quiet(self) -> bool:
        """Whether nothing else was decided within the last millisecond: then there is nobody to share a commit with."""
        return not self.is_due and self._now() - self._flushed_at >= QUIET_S

    def attribute(self, request: str | None = None) -> None:
        """This request caused what was decided since the last call. None: the current request; empty: no request."""
        more = len(self._fleet.pending) - len(self._requests)
        if more > 0:
            self._requests += [REQUEST_ID.get() if request is None else request] * more

    def insist_on_going_on(self) -> None:
        """Raises CommitFailed after a defect: from then on nothing is stored, and no reply may claim that."""
        if self._defect.is_found:
            raise _halted()

    # waiting for what is decided

    async def durable(self) -> None:
        """Return once everything decided so far is stored.

        Raises CommitFailed if it was undone instead.
        """
        self.insist_on_going_on()
        if not self._fleet.pending:
            return
        self._be_due()
        if self._batch is None:
            self._batch = asyncio.get_running_loop().create_future()
            self._batch.add_done_callback(_retrieve)
        await asyncio.shield(self._batch)

    async def drain(self) -> None:
        """Return once everything decided so far is stored or undone. Raises CommitFailed where neither may be true."""
        self.insist_on_going_on()
        while self._fleet.pending:  # while one batch is stored, the next is decided
            try:
                await self.durable()
            except CommitFailed:
                self.insist_on_going_on()

    def store_now(self, reply: Reply) -> None:
        """Store what is pending before this returns, and call `reply` first of all.

        For a request that comes alone: another turn of the event loop is a tenth of what such an assign takes.
        """
        self._replies.append(reply)
        self._flush_or_stop()

    def store_later(self, reply: Reply) -> None:
        """Store what is pending together with the decisions of others, and call `reply` in a later turn."""
        self._replies.append(reply)
        self._be_due()

    def reply_soon(self, reply: Reply) -> None:
        """Call this in the next turn: what it tells of is stored already."""
        failure = _halted() if self._defect.is_found else None
        asyncio.get_running_loop().call_soon(self._reply_to_all, [reply], failure)

    # storing

    def _be_due(self) -> None:
        """See to it that what is pending is stored soon."""
        if not self.is_due:
            self.is_due = True
            loop = asyncio.get_running_loop()
            loop.call_soon(self._gather, loop, len(self._fleet.pending), MOST_TURNS)

    def _gather(self, loop: asyncio.AbstractEventLoop, before: int, turns: int) -> None:
        """Wait another turn as long as each brings more: a commit costs the same for one decision and for twenty."""
        if not self.is_due:
            return  # it was stored meanwhile
        now = len(self._fleet.pending)
        if turns and now > before:
            loop.call_soon(self._gather, loop, now, turns - 1)
        else:
            self._flush_or_stop()

    def _flush_or_stop(self) -> None:
        """As `flush`, for the event loop to call: an exception would be lost there."""
        try:
            self.flush()
        except Exception as defect:  # noqa: BLE001 # whatever it is, memory and disk may differ
            self._effects.diverged(f"a decision was neither stored nor undone: {defect!r}")

    def flush(self) -> bool:
        """Store everything decided so far, now. False if it was undone instead."""
        batch, self._batch, self.is_due = self._batch, None, False
        replies, self._replies = self._replies, []
        try:
            failure = self._store_or_undo(replies)
        except Exception as defect:
            self._reply_to_all(replies, defect)
            _resolve(batch, defect)
            raise
        _resolve(batch, failure)
        self._flushed_at = self._now()
        if not self._persists_events and self._store.has_unpersisted_events:
            self._persists_events = True
            asyncio.get_running_loop().call_later(PERSIST_EVENTS_S, self._persist_events)
        return failure is None

    async def settled(self) -> bool:
        """As `flush`, and returns when that is over, also where it takes a while (`awaited_journal.py`)."""
        return self.flush()

    def as_stored(self) -> Mapping[str, Machine]:
        """The machines by id, without what may yet be undone, once `drain` has returned in this turn."""
        return self._fleet.machines

    def _store_or_undo(self, replies: list[Reply]) -> CommitFailed | None:
        if len(self._fleet.pending) > len(self._requests):
            self.attribute("")
        changes, requests = self._fleet.take_pending(), self._requests
        self._requests = []
        if self._defect.is_found:
            failure = _halted()
            self._reply_to_all(replies, failure)
            return failure
        if not changes:
            self._reply_to_all(replies, None)
            return None
        last_port, begun_at = self._fleet.last_port, self._observer.now()
        moved = {} if last_port == self._last_port else {"last_port": last_port}
        try:
            self._store.commit(changes, moved, self._wall_ms())
        except CommitFailed as failure:
            self._observer.commit_failed(self._observer.now() - begun_at)
            self._undo(changes, failure)
            self._reply_to_all(replies, failure)
            return failure
        took_s = self._observer.now() - begun_at
        self._last_port, self._complains_at = last_port, 0.0
        self._reply_to_all(replies, None)  # first of all: they wait, and what follows changes nothing for them
        self._effects.committed(changes, requests, took_s)
        return None

    def _persist_events(self) -> None:
        """What cannot be stored now is tried again after the next commit."""
        self._persists_events = False
        try:
            self._store.persist_events()
        except Exception as defect:  # noqa: BLE001 # as in `_flush_or_stop`
            self._effects.diverged(f"events could not be put in order: {defect!r}")

    def _reply_to_all(self, waiting: list[Reply], failure: BaseException | None) -> None:
        """Call those who have no task. What one of them cannot do is no business of the next, nor of the store.

        A broken invariant stops the process.
        """
        while waiting:  # each hears it once, whatever goes wrong afterwards
            try:
                waiting.pop(0)(failure)
            except Exception as error:  # noqa: BLE001 # whatever it is, the others are answered
                _log.exception("defect", where="a reply")
                if isinstance(error, AssertionError):
                    self._effects.diverged(f"an invariant does not hold: {error!r}")

    # undoing

    def _undo(self, changes: list[Change], failure: CommitFailed) -> None:
        is_news = self._now() >= self._complains_at
        if is_news:
            _log.error("not stored", changes=len(changes), why=failure.message)
            self._complains_at = self._now() + COMPLAINS_EVERY_S
        self._fleet.undo(changes, self._now())
        self._effects.undone(changes, failure)
        try:
            same = self._is_as_stored(None if is_news else {change.machine.id for change in changes})
        except (StoreError, OSError, ValueError) as error:
            self._effects.diverged(f"the state directory cannot be read back: {error}")
            return
        if not same:
            self._effects.diverged("the state directory holds something else than was decided")

    def _is_as_stored(self, ids: set[str] | None) -> bool:
        """Whether memory and disk agree on these machines; None: on all of them, which takes a while if there are many."""
        stored = {machine.id: machine for machine in self._store.machines(ids)}
        known = self._fleet.machines
        return stored == (known if ids is None else {name: known[name] for name in ids if name in known})

    # the store's own work

    async def try_again_for_ever(self) -> None:
        """Try a store that failed again. There may be no other request that tries it, since the health check says 503."""
        while True:
            await asyncio.sleep(STORE_RETRY_S)
            if self._store.problem:
                self._store.retry_writing()


def _halted() -> CommitFailed:
    return CommitFailed("The service stops because of a defect, so this was not stored. The log says which.")


def _resolve(batch: asyncio.Future[None] | None, failure: Exception | None) -> None:
    if batch is None or batch.done():
        return
    if failure is None:
        batch.set_result(None)
    else:
        batch.set_exception(failure)


def _retrieve(batch: asyncio.Future[None]) -> None:
    """Mark the outcome as retrieved: a tick stores without a waiting request."""
    if not batch.cancelled():
        batch.exception()
