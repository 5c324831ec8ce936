"""Decide in memory, commit, then reply.

The decisions of one turn of the event loop share one commit. Whoever replies to a client, or acts upon a decision, awaits
`durable` first. A batch that could not be stored is undone in reverse order and all who wait for it hear of it; if the
rows on disk differ from memory after that, nothing can be trusted any more and the process stops.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any, Final

import structlog

from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import DEFAULT_POOL, Cause, Change
from worker_orchestrator.errors import CommitFailed, StoreError
from worker_orchestrator.store.store import Store
from worker_orchestrator.telemetry.request_id import REQUEST_ID

__all__ = ["SETTLES_S", "Journal"]

COMPLAINS_EVERY_S: Final = 60.0
"""The log may be on the disk that is full."""

MOST_TURNS: Final = 4
QUIET_S: Final = 0.001
SETTLES_S: Final = 0.001
"""So long after a commit the store puts in order what it left for later."""

_WORDS: Final = {cause: cause.value for cause in Cause}  # an enum takes 1 µs to say its own

_log = structlog.get_logger(__name__)


class Journal:
    """The way of every change from memory to disk.

    `on_committed` and `on_undone` get each batch after it was stored, or taken back; `on_diverged` gets the reason why the
    process must stop. `waits(project)` names the request that waits for this project's machine.
    """

    def __init__(
        self,
        fleet: Fleet,
        store: Store,
        now: Callable[[], float],
        wall_ms: Callable[[], int],
        observer: Observer | None = None,
    ) -> None:
        self._fleet, self._store = fleet, store
        self._now, self._wall_ms, self._observer = now, wall_ms, observer or Observer()
        self._requests: list[str] = []  # who caused the first of what is pending
        self.is_due = False  # what is pending will be stored in this turn, or one soon
        self._flushed_at = -math.inf
        self._settles = False
        self._batch: asyncio.Future[None] | None = None  # for those who have a task
        self._told: list[Callable[[BaseException | None], None]] = []
        self._complains_at = 0.0
        self._is_halted = False
        self._last_port = fleet.last_port  # as it is stored
        self.on_committed: list[Callable[[list[Change]], None]] = []
        self.on_undone: list[Callable[[list[Change], CommitFailed], None]] = []
        self.on_diverged: Callable[[str], None] = _stop_at_once
        self.waits: Callable[[str], str] = lambda _project: ""

    @property
    def problem(self) -> str:
        """Why the last commit failed, and what to do; empty since one succeeded."""
        return self._store.problem

    def attribute(self, request: str | None = None) -> None:
        """What was decided since the last call, this request caused; None: the one that is under way here, "": nobody."""
        more = len(self._fleet.pending) - len(self._requests)
        if more > 0:
            self._requests += [REQUEST_ID.get() if request is None else request] * more

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

    def halt(self) -> None:
        """Memory and disk may differ: from now on nothing is stored, and nobody is told that anything is."""
        self._is_halted = True

    def insist_on_going_on(self) -> None:
        """Raises CommitFailed after `halt`."""
        if self._is_halted:
            raise _halted()

    def then(self, told: Callable[[BaseException | None], None]) -> None:
        """As `durable`, for somebody who has no task: `told` is called with what `durable` would raise.

        In a later turn, with others; or before this returns, where nobody came within the last moment: a turn is a tenth
        of what such an assign takes.
        """
        if not self._fleet.pending:
            self.soon(told)
            return
        self._told.append(told)
        if self.is_due or self._now() - self._flushed_at < QUIET_S:
            self._be_due()
        else:
            self._flush_or_stop()

    def soon(self, told: Callable[[BaseException | None], None]) -> None:
        """Call this in the next turn: what it tells of is stored."""
        asyncio.get_running_loop().call_soon(self._tell_all, [told], _halted() if self._is_halted else None)

    def _be_due(self) -> None:
        """See to it that what is pending is stored soon."""
        if not self.is_due:
            self.is_due = True
            loop = asyncio.get_running_loop()
            loop.call_soon(self._gather, loop, len(self._fleet.pending), MOST_TURNS)

    def _gather(self, loop: asyncio.AbstractEventLoop, seen: int, turns: int) -> None:
        """Wait another turn as long as each brings more: a commit costs the same for one decision and for twenty."""
        if not self.is_due:
            return  # somebody could not wait
        now = len(self._fleet.pending)
        if turns and now > seen:
            loop.call_soon(self._gather, loop, now, turns - 1)
        else:
            self._flush_or_stop()

    def flush(self) -> bool:
        """Store everything decided so far, now. False if it was undone instead."""
        batch, self._batch, self.is_due = self._batch, None, False
        told, self._told = self._told, []
        try:
            failure = self._store_or_take_back(told)
        except Exception as defect:
            self._tell_all(told, defect)
            _resolve(batch, defect)
            raise
        _resolve(batch, failure)
        self._flushed_at = self._now()
        if not (self._store.is_settled or self._settles):
            self._settles = True
            asyncio.get_running_loop().call_later(SETTLES_S, self._settle)
        return failure is None

    def _settle(self) -> None:
        """What cannot be stored now is tried again after the next commit."""
        self._settles = False
        try:
            self._store.settle()
        except Exception as defect:  # noqa: BLE001 # as in `_flush_or_stop`
            self.on_diverged(f"events could not be put in order: {defect!r}")

    def _tell_all(self, waiting: list[Callable[[Any], None]], failure: BaseException | None) -> None:
        """Those who have no task. What one cannot do is no business of the next, nor of the store.

        A broken invariant stops the process.
        """
        while waiting:  # each hears it once, whatever goes wrong afterwards
            try:
                waiting.pop(0)(failure)
            except Exception as error:  # noqa: BLE001 # whatever it is, the others are answered
                _log.exception("defect", where="a reply")
                if isinstance(error, AssertionError):
                    self.on_diverged(f"an invariant does not hold: {error!r}")

    def _flush_or_stop(self) -> None:
        """As `flush`, for the loop to call: nobody would hear of a defect there."""
        try:
            self.flush()
        except Exception as defect:  # noqa: BLE001 # whatever it is, memory and disk may differ
            self.on_diverged(f"a decision was neither stored nor undone: {defect!r}")

    def _store_or_take_back(self, told: list[Callable[[BaseException | None], None]]) -> CommitFailed | None:
        if len(self._fleet.pending) > len(self._requests):
            self.attribute("")
        changes, requests = self._fleet.take_pending(), self._requests
        self._requests = []
        if self._is_halted:
            failure = _halted()
            self._tell_all(told, failure)
            return failure
        if not changes:
            self._tell_all(told, None)
            return None
        last_port, begun_at = self._fleet.last_port, self._observer.now()
        moved = {} if last_port == self._last_port else {"last_port": last_port}
        try:
            self._store.commit(changes, moved, self._wall_ms())
        except CommitFailed as failure:
            self._observer.commit_failed(self._observer.now() - begun_at)
            self._take_back(changes, failure)
            self._tell_all(told, failure)
            return failure
        took_s = self._observer.now() - begun_at
        self._last_port, self._complains_at = last_port, 0.0
        self._tell_all(told, None)  # first of all: they wait, and what follows changes nothing for them
        self._observer.committed(changes, took_s)
        for change, request in zip(changes, requests, strict=True):
            if not request and change.hands_over and change.machine.project is not None:
                request = self.waits(change.machine.project)  # noqa: PLW2901 # served from the line
            _tell(change, request)
        for committed in self.on_committed:
            committed(changes)
        return None

    def _take_back(self, changes: list[Change], failure: CommitFailed) -> None:
        is_news = self._now() >= self._complains_at
        if is_news:
            _log.error("not stored", changes=len(changes), why=failure.message)
            self._complains_at = self._now() + COMPLAINS_EVERY_S
        self._fleet.undo(changes, self._now())
        for undone in self.on_undone:
            undone(changes, failure)
        try:
            same = self._is_as_stored(None if is_news else {change.machine.id for change in changes})
        except (StoreError, OSError, ValueError) as error:
            self.on_diverged(f"the state directory cannot be read back: {error}")
            return
        if not same:
            self.on_diverged("the state directory holds something else than was decided")

    def _is_as_stored(self, ids: set[str] | None) -> bool:
        """Whether memory and disk agree on these machines; None: on all of them, which takes a while if there are many."""
        stored = {machine.id: machine for machine in self._store.machines(ids)}
        known = self._fleet.machines
        return stored == (known if ids is None else {name: known[name] for name in ids if name in known})


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
    """Mark the outcome as seen: a tick stores without anybody waiting."""
    if not batch.cancelled():
        batch.exception()


def _stop_at_once(why: str) -> None:
    raise SystemExit(f"orchestrator: stopped, because {why}")


def _tell(change: Change, request: str) -> None:
    """One line per transition, after it is stored."""
    told = change.after if change.after is not None and change.after.project else change.before or change.machine
    _log.info(
        _WORDS[change.cause],
        machine=told.id,
        project=told.project,
        generation=told.generation or None,
        pool=None if told.pool == DEFAULT_POOL else told.pool,
        why=change.machine.reason,
        request=request or None,
    )
