"""What follows a commit, or the failure of one: all of it, in this order.

After a commit, and after the replies that need no task:

1. observers, traces, the caches of what is shown, and the feed hear of it, and each change is a log line;
2. for each change in turn: the action of the engine that it makes due is started (`due_actions.follow_up`), probes begin or
   end, and the request that waits for this machine hears what became of it;
3. the pools that are short of idle machines are noted.

A machine that is assigned with deadlines is noted as well, so that its use is looked at from then on.

After a failed commit the changes are undone already: requests that waited for one of them hear why. If memory and disk
differ, the service stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog

from worker_orchestrator.control.deciding.foresight import Foresight
from worker_orchestrator.control.deciding.idle_probes import IdleProbes
from worker_orchestrator.control.deciding.seats import Seats
from worker_orchestrator.control.deciding.state import ControlState
from worker_orchestrator.control.defect import Defect
from worker_orchestrator.control.telling.change_log import ChangeLog
from worker_orchestrator.control.telling.feed import Feed
from worker_orchestrator.control.telling.last_changes import LastChanges
from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.control.telling.traces import Traces
from worker_orchestrator.control.world.actions import Actions
from worker_orchestrator.control.world.probers import Probers
from worker_orchestrator.core import due_actions, outcomes, reasons, refusals
from worker_orchestrator.core.action import Park, Unpark
from worker_orchestrator.core.key import beyond_limit
from worker_orchestrator.core.lease import Lease
from worker_orchestrator.core.machine import Cause, Change, Machine, State
from worker_orchestrator.core.parking import HELD_UP_S
from worker_orchestrator.errors import CommitFailed, NoMachineAvailable

__all__ = ["Effects"]

_READY: Final = State.READY
_RELEASED: Final = Cause.RELEASED
_UNCONFIGURED: Final = Cause.UNCONFIGURED

_log = structlog.get_logger(__name__)


class Effects:
    """The journal calls one of the three methods for each batch."""

    def __init__(  # noqa: PLR0913, PLR0917 # everything that may follow a change
        self,
        state: ControlState,
        seats: Seats,
        actions: Actions,
        probers: Probers,
        foresight: Foresight,
        idle_probes: IdleProbes,
        traces: Traces,
        last_changes: LastChanges,
        feed: Feed,
        observer: Observer,
        defect: Defect,
    ) -> None:
        self._state, self._fleet, self._seats = state, state.fleet, seats
        self._actions, self._probers = actions, probers
        self._foresight, self._idle_probes = foresight, idle_probes
        self._traces, self._last_changes, self._feed = traces, last_changes, feed
        self._observer, self._defect, self._log = observer, defect, ChangeLog()

    def committed(self, changes: Sequence[Change], requests: Sequence[str], took_s: float) -> None:
        """These changes were stored in `took_s` seconds. `requests` has the id of the request behind each, or ""."""
        self._tell(changes, requests, took_s)
        for change in changes:
            before, after = change.before, change.after
            # A warm assign or release leaves a machine READY, and asks nothing of the engine.
            if before is None or after is None or before.state is not _READY or after.state is not _READY:
                self._start_action(change)
                self._probe(change)
            elif change.cause is _RELEASED:
                self._idle_probes.released(after)
            self._answer_waiters(change)
            if after is not None and after.holding is not None and after.holding.lease is not None:
                self._note_lease(before, after, after.holding.lease)
        has_others = len(self._state.spec.pools) > 1
        self._state.note_short_pools({change.machine.pool for change in changes} if has_others else None)

    def undone(self, changes: Sequence[Change], failure: CommitFailed) -> None:
        """These changes could not be stored, and were taken back."""
        for change in changes:
            before, after = change.before, change.after
            if change.hands_over and after is not None and after.project is not None:
                self._seats.refuse(after.project, failure)
            if change.cause is Cause.WOKEN and before is not None and before.project is not None:
                self._seats.refuse(before.project, failure)
            if before is not None and before.project is not None and before.state is _READY:
                self._seats.keep_promise(before)  # the project has it again
        for project in beyond_limit(self._fleet):  # it came in the place of one that is back
            self._fleet.leave_line(project)
            self._seats.refuse(project, failure)

    def look_at(self, machine_id: str) -> None:
        """What stores says that the container of this machine is gone: it is not handed out until a listing denies that."""
        self._fleet.doubt(machine_id, self._state.now())
        self._state.wake.set()

    def diverged(self, why: str) -> None:
        """Memory and disk may differ, or an invariant does not hold: the service stops."""
        self._defect.report(RuntimeError(why))

    def _tell(self, changes: Sequence[Change], requests: Sequence[str], took_s: float) -> None:
        self._observer.committed(changes, took_s, requests)
        pools = self._state.spec.pools
        the_pool = next(iter(pools)) if len(pools) == 1 else ""
        for change, request in zip(changes, requests, strict=True):
            by = request or self._request_in_line(change)
            self._log.write(change, by, the_pool)
            if change.failure is not None:
                self._warn_of_brake(change)
        self._traces.committed(changes)
        self._last_changes.committed(changes, self._state.wall_ms())
        self._feed.committed()

    def _warn_of_brake(self, change: Change) -> None:
        """Say once what to do where machines of this template do not come up: at the first failure that costs a pause."""
        failed = change.after
        if failed is None or failed.holding is not None:
            return
        brake = self._fleet.image_brake(failed.pool, failed.template)
        if brake is not None and brake.level == 1 and brake.reason == reasons.failed_machine(failed.id, failed.reason):
            hint = "If the image is broken, rebuild it under the same tag: the pool notices at once."
            _log.warning("new machines do not come up", see=f"orchestrator show {failed.id}", hint=hint)

    def _request_in_line(self, change: Change) -> str:
        """The id of the request that waited in line for the machine that this change hands over; empty if there is none."""
        if not change.hands_over or change.machine.project is None:
            return ""
        return self._seats.request(change.machine.project)

    def _start_action(self, change: Change) -> None:
        action = due_actions.follow_up(self._fleet, change, self._state.now())
        if action is not None and due_actions.still_wanted(self._fleet, action):
            if isinstance(action, Park):
                self._foresight.tell_of(action.machine_id)
            elif isinstance(action, Unpark):
                self._state.wake_if_awaited(change.machine.pool, HELD_UP_S)
            self._actions.start(action)

    def _probe(self, change: Change) -> None:
        """Ask a machine that has to answer again, and ask no more what does not start any longer."""
        now = self._fleet.machines.get(change.machine.id)
        if now is None or now.state is not State.STARTING:
            self._probers.stop(change.machine.id)
        elif change.cause in {Cause.RELEASED, Cause.REVIVED} and outcomes.is_awaited(self._fleet, now):
            self._probers.start(now, outcomes.start_deadline(self._fleet, self._state.spec, now))

    def _note_lease(self, before: Machine | None, after: Machine, lease: Lease) -> None:
        """Note it if this machine has other deadlines than before, or another assignment has them."""
        old = None if before is None or before.generation != after.generation else before.lease
        if old is None or old.terms != lease.terms:
            self._state.note_lease(after.id)

    def _answer_waiters(self, change: Change) -> None:
        before, after = change.before, change.after
        if before is not None and before.holding is not None and (after is None or after.holding is None):
            self._seats.look_again(before.holding.project)
            self._state.note_news()
        if after is None or after.holding is None or change.cause is _UNCONFIGURED:
            return  # one that is no more configured is about to be restarted, or its project has been told of it
        if after.state is _READY:
            self._seats.keep_promise(after)
        elif after.state is State.FAILED:
            why = _vanished(after) if after.gone else refusals.machine_failed(self._state.spec, after)
            self._seats.refuse(after.holding.project, why)


def _vanished(machine: Machine) -> NoMachineAvailable:
    return NoMachineAvailable(reasons.failed_machine(machine.id, machine.reason))  # a retry gets another machine
