"""The machines whose assignments have deadlines: when which of them is to be looked at, and what is known of their use."""

from __future__ import annotations

import math
from collections.abc import Mapping

from worker_orchestrator.core.indexes import Indexes
from worker_orchestrator.core.lease import SPARED_S, Quiet, certain_ending, lead_s, unannounced_ending
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.core.spec import Spec
from worker_orchestrator.core.timers import Timers
from worker_orchestrator.core.watch import Watch

__all__ = ["Leased", "has_changed_hands"]


class Leased(Indexes):
    """The table of machines, with the lease clock and the times at which deadlines pass."""

    def __init__(self) -> None:
        super().__init__()
        self.watches: dict[str, Watch] = {}  # by id: exactly those of `machines`; never stored
        self.lease_offset = 0.0  # the lease clock less the monotonic one: it grows while the computer sleeps
        self.nothing_expires_before = -math.inf  # in seconds of the lease clock
        self.leased: set[str] = set()  # ids of machines with a lease
        self.timers = Timers()  # by id, on the lease clock: when a deadline passes that no reading puts off
        self.warnings = Timers()  # by id, on the lease clock: when its end is to be announced
        self.warn_before_s: Mapping[str, float] = {}  # by pool, for which `warnings` are set
        self.warned_for: Spec | None = None  # the spec that says so

    def lease_time(self, now: float) -> float:
        """What the lease clock shows then."""
        return now + self.lease_offset

    def quiet(self, machine_id: str) -> Quiet:
        """What is known of the use of this machine, which has a lease."""
        quiet = self.watches[machine_id].quiet
        assert quiet is not None, f"{machine_id} has no lease, so nobody watches its use"
        return quiet

    def set_timer(self, machine: Machine) -> None:
        """Have its next deadline looked at in time, and announced before. It has a lease."""
        lease, name = machine.lease, machine.id
        assert lease is not None, f"{name} has no lease, so it has no deadline"
        quiet = self.quiet(name)
        sleeps = machine.state is State.SLEEPING
        certain = certain_ending(lease, quiet, sleeps=sleeps)
        if certain is None:
            self.timers.discard(name)
        else:
            self.timers.set(name, certain.at)
        before_s = self.warn_before_s.get(machine.pool, 0.0)
        end = unannounced_ending(lease, quiet, certain, sleeps=sleeps) if before_s else None
        if end is None:
            self.warnings.discard(name)
        else:
            ends_at = max(end.at, self.watches[name].spared_until)
            self.warnings.set(name, ends_at - lead_s(lease, end.by, before_s))

    def _follow_lease(self, old: Machine | None, machine: Machine, now: float) -> None:
        if machine.lease is not None:
            self.leased.add(machine.id)
            if old is None or old.lease is None or has_changed_hands(old, machine):
                watch = self.watches[machine.id]
                watch.quiet, watch.spared_until = Quiet(active_at=machine.lease.renewed_at), 0.0
            elif old.state is not State.READY and machine.state is State.READY:
                self.watches[machine.id].spared_until = self.lease_time(now) + SPARED_S
            self.set_timer(machine)
        elif old is not None and old.lease is not None:
            self.watches[machine.id].quiet = None
            self._forget_lease(machine.id)

    def _forget_lease(self, machine_id: str) -> None:
        self.leased.discard(machine_id)
        self.timers.discard(machine_id)
        self.warnings.discard(machine_id)


def has_changed_hands(old: Machine, new: Machine) -> bool:
    """Whether another project has this machine than before, or none."""
    one, other = old.holding, new.holding
    return one is not other and (one is None or other is None or one.project != other.project)
