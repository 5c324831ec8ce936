"""The journal of a leader among replicas: what it decides is written to a cluster, which takes some milliseconds.

It keeps the promises of `journal.py`, and goes about them differently:

* What is being written stays in `Fleet.pending` until it is stored, so whatever asks for what is not stored yet stays right.
* One batch is written at a time. Changes that need no write are stored in the same turn, if none is being written.
* If some of a batch is refused, that is undone, with all that was decided since about the same machines and projects. Only
  requests that these changes came from are told so, and those that wait for what others decided.
* Once the time of this leader is over, nothing is stored, and nobody is told anything from memory: the process stands by.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import structlog

from worker_orchestrator.control.deciding.effects import Effects
from worker_orchestrator.control.deciding.journal import Journal, Reply
from worker_orchestrator.control.defect import Defect
from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import Change, Machine
from worker_orchestrator.errors import CommitFailed
from worker_orchestrator.store.cluster.calls import Outdated
from worker_orchestrator.store.cluster.transactions import transactions
from worker_orchestrator.store.replicas.term_store import Refused, TermStore
from worker_orchestrator.telemetry.request_id import REQUEST_ID

__all__ = ["AwaitedJournal"]

_LEADS_NO_MORE: Final = "This replica leads no more. Ask again: the replica that leads answers."
_NOT_KNOWN: Final = (
    "This replica leads no more, and does not know whether this was stored. Ask again: the replica that leads knows."
)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Who waits until so many changes, since the start, are stored or undone. `request` is the request behind it, or ""."""

    up_to: int
    request: str
    reply: Reply


class AwaitedJournal(Journal):
    """As `Journal`."""

    def __init__(  # as `Journal`
        self,
        fleet: Fleet,
        store: TermStore,
        effects: Effects,
        defect: Defect,
        wall_ms: Callable[[], int],
        observer: Observer,
    ) -> None:
        super().__init__(fleet, store, effects, defect, wall_ms, observer)
        self._cluster = store
        self._done = 0  # so many changes were stored or undone
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None
        self._is_again_due = False  # something is to be stored as soon as the batch that is being written is

    def insist_on_going_on(self) -> None:
        if (failure := self._halted()) is not None:
            raise failure

    def _halted(self) -> CommitFailed | None:
        return CommitFailed(_LEADS_NO_MORE) if self._defect.is_found or not self._cluster.leads else None

    def as_stored(self) -> Mapping[str, Machine]:
        fleet = self._fleet
        if not fleet.pending:
            return fleet.machines
        machines: dict[str, Machine | None] = {**fleet.machines}
        for change in reversed(fleet.pending):
            machines[change.machine.id] = change.before
        return {name: _shown(machine, fleet.machines.get(name)) for name, machine in machines.items() if machine}

    # waiting for what is decided

    async def durable(self) -> None:
        self.insist_on_going_on()
        if self._fleet.pending:
            stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._wait(partial(_resolve, stored))
            self._be_due()
            await stored

    async def drain(self) -> None:
        """All that was decided so far is stored or undone then. What is decided meanwhile is left out by `as_stored`."""
        with suppress(CommitFailed):
            await self.durable()
        self.insist_on_going_on()

    def store_now(self, reply: Reply) -> None:
        self._wait(reply)
        self._flush_or_stop()

    def store_later(self, reply: Reply) -> None:
        self._wait(reply)
        self._be_due()

    def reply_soon(self, reply: Reply) -> None:
        asyncio.get_running_loop().call_soon(self._reply_to_all, [reply], self._halted())

    def _wait(self, reply: Reply) -> None:
        self._waiting.append(_Waiting(self._done + len(self._fleet.pending), REQUEST_ID.get(), reply))

    # storing

    def flush(self) -> bool:
        """Begin to store everything decided so far. Whether all of it is stored when this returns."""
        self.is_due = False
        if len(self._fleet.pending) > len(self._requests):
            self.attribute("")
        if self._writing is not None:
            self._is_again_due = True
            return False
        if self._halted() is not None:
            self._end(Outdated("The time of this leader is over."))
            return False
        changes = list(self._fleet.pending)
        if not self._cluster.needs_writing(changes):
            self._settle(changes, [], self._observer.now())
            return True
        self._writing = asyncio.create_task(self._write(changes), name="commit")
        return False

    async def settled(self) -> bool:
        is_stored = self.flush()
        while not is_stored and self._writing is not None:
            await asyncio.wait({self._writing})
            is_stored = not self._fleet.pending
        return is_stored

    async def _write(self, changes: list[Change]) -> None:
        begun_at = self._observer.now()
        try:
            refused = await self._cluster.write(changes)
            self._writing = None
            self._settle(changes, refused, begun_at)
        except Outdated as error:
            self._end(error)
        except Exception as defect:  # noqa: BLE001 # whatever it is, memory and the cluster may differ
            self._effects.diverged(f"a decision was neither stored nor undone: {defect!r}")
        finally:
            self._writing = None
        if self._is_again_due and not self._defect.is_found:
            self._is_again_due = False
            self._flush_or_stop()

    def _settle(self, changes: list[Change], refused: Sequence[Refused], begun_at: float) -> None:
        """The first pending changes stand in the cluster, but for those that were refused."""
        count, took_s = len(changes), self._observer.now() - begun_at
        pending = [*zip(self._fleet.pending, self._requests, strict=False)]
        undone = _undone(refused, [change for change, _ in pending[count:]])
        stored = [each for each in pending[:count] if id(each[0]) not in undone]
        left = [each for each in pending[count:] if id(each[0]) not in undone]
        lost = [each for each in pending if id(each[0]) in undone]
        self._fleet.pending, self._requests = [change for change, _ in left], [request for _, request in left]
        self._done += len(pending) - len(left)
        told = [change for change, _ in stored]
        if told:
            self._store.commit(told, {}, self._wall_ms())
        failure = self._take_back([change for change, _ in lost], refused) if lost else None
        self._flushed_at = self._now()
        self._answer({request for _, request in stored}, {request for _, request in lost}, failure)
        if told:
            self._effects.committed(told, [request for _, request in stored], took_s)
            self._persist_events()

    def _take_back(self, undone: list[Change], refused: Sequence[Refused]) -> CommitFailed:
        failure = CommitFailed(f"The change could not be stored in the cluster, so it was not made: {refused[0].why}")
        self._observer.commit_failed(0.0)
        _log.error("not stored", changes=len(undone), why=failure.message)
        left, self._fleet.pending = self._fleet.pending, []
        self._fleet.undo(undone, self._now())
        self._fleet.pending = left
        self._effects.undone(undone, failure)
        for change in (change for each in refused if each.is_gone for change in each.changes):
            self._effects.look_at(change.machine.id)
        if not self._is_as_stored({change.machine.id for change in undone}):
            self._effects.diverged("what is stored differs from what was decided")
        return failure

    def _answer(self, stored: set[str], undone: set[str], failure: CommitFailed | None) -> None:
        """Tell those who waited for this. Who waits for what others decided is told of the failure, whichever it was."""
        waiting, self._waiting = self._waiting, []
        end = self._done + len(self._fleet.pending)
        for each in waiting:
            if failure is not None and (
                each.request in undone or (each.up_to <= self._done and each.request not in stored)
            ):
                self._reply_to_all([each.reply], failure)
            elif each.up_to <= self._done:
                self._reply_to_all([each.reply], None)
            else:
                self._waiting.append(each if failure is None else replace(each, up_to=end))

    def _end(self, error: Outdated) -> None:
        """This replica leads no more: it writes nothing, and tells those who wait that it does not know."""
        self._defect.report(error)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            self._reply_to_all([each.reply], CommitFailed(_NOT_KNOWN))


def _undone(refused: Sequence[Refused], later: list[Change]) -> set[int]:
    """The ids of the changes that were refused, and of those since that have a machine or a project in common with them."""
    failed = [change for each in refused for change in each.changes]
    known = set(map(id, failed))
    groups = transactions([*failed, *later]) if failed else []
    return {id(change) for group in groups if known & set(map(id, group.changes)) for change in group.changes}


def _shown(stored: Machine, now: Machine | None) -> Machine:
    """The machine as it is stored; as it is now, if its use is not watched in the way that this would need."""
    return stored if now is None or (stored.lease is None) == (now.lease is None) else now


def _resolve(stored: asyncio.Future[None], failure: BaseException | None) -> None:
    if stored.done():
        return
    if failure is None:
        stored.set_result(None)
    else:
        stored.set_exception(failure)
