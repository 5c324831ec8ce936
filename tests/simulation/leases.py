"""One seed, one history of several pools whose assignments have deadlines, and what must hold of them.

It is the history of `pools` with more of what may happen: clients keep their machines or ask for other deadlines, use is
read, seen or cannot be read, the computer sleeps, and this process is stopped. The rules are written down here once more,
from the list of all readings instead of from what the core remembers of them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from msgspec.structs import replace
from tests.simulation.pools import History

from worker_orchestrator.core import expiry
from worker_orchestrator.core.lease import Lease, OnExpiry, Terms
from worker_orchestrator.core.machine import Cause, Change, Machine, State
from worker_orchestrator.core.spec import PoolSpec

__all__ = ["live"]

MINUTE_S: Final = 60.0
ALMOST_S: Final = 1e-6


def live(seed: int) -> list[str]:
    """Live through the history of this seed. Returns what happened. Raises Violated, with all of it."""
    return _LeaseHistory(random.Random(f"leases {seed}")).lived()


class _LeaseHistory(History):
    """Adds deadlines."""

    def __init__(self, chance: random.Random) -> None:
        self.seen: dict[
            tuple[str, int], list[tuple[float, str]]
        ] = {}  # by machine and generation: what was known of its use
        self.back_since: dict[str, float] = {}  # when a machine of a project came back to life, on the lease clock
        self.stored_back_since: dict[str, float] = {}
        self.started_at = 0.0  # the last start or wake, on the lease clock
        self.followed = 0  # so many of the changes that are not stored yet were looked at
        super().__init__(chance)
        self._begin(0.0)

    def acts(self) -> list[tuple[Callable[[], None], float]]:
        return [
            *super().acts(),
            (super()._pass_time, 8),
            (self._keep, 3),
            (self._ask_for_terms, 2),
            (self._read, 14),
            (self._use, 2),
            (self._sleep, 0.7),
            (self._be_stopped, 0.7),
        ]

    def _draw_pool(self, name: str) -> PoolSpec:
        pool = super()._draw_pool(name)
        terms = self._draw_terms() if self.chance.random() < 0.7 else None
        return replace(pool, terms=terms or None, on_expiry=self.chance.choice(list(OnExpiry)))

    def _draw_terms(self) -> Terms:
        def draw() -> float | None:
            return self.chance.choice([None, 5.0, 20.0, 90.0])

        return Terms(draw(), draw(), draw(), draw())

    # the clock

    @property
    def at(self) -> float:
        return self.fleet.lease_time(self.now)

    def _begin(self, offset: float) -> None:
        """As the shell does it at each start: the lease clock goes on, and for a minute nothing expires."""
        self.fleet.lease_offset = offset
        self.fleet.nothing_expires_before = self.at + MINUTE_S
        self.started_at = self.at

    def _crash(self) -> None:
        offset = self.fleet.lease_offset + self.chance.choice([0.0, 3.0, 500.0])
        load = type(self.fleet).load

        def load_and_begin(fleet: object, *args: object) -> None:
            load(fleet, *args)  # type: ignore[arg-type] # as it is called
            self._begin(offset)

        self.seen.clear()
        self.back_since.clear()
        self.stored_back_since.clear()
        self.followed = 0
        type(self.fleet).load = load_and_begin  # type: ignore[method-assign, assignment] # the history makes the new fleet itself
        try:
            super()._crash()
        finally:
            type(self.fleet).load = load  # type: ignore[method-assign]

    def _sleep(self) -> None:
        slept_s = self.chance.choice([1.0, 30.0, 1000.0])
        self.note(f"the computer sleeps for {slept_s:g} s")
        self._wake(expiry.put_clock, self.fleet.lease_offset + slept_s, self.now, slept_s)

    def _be_stopped(self) -> None:
        """By a signal: the monotonic clock goes on."""
        stopped_s = self.chance.choice([1.0, 30.0, 1000.0])
        self.note(f"the process is stopped for {stopped_s:g} s")
        looked_at = self.now
        self.now += stopped_s
        self._wake(expiry.put_clock, self.fleet.lease_offset, looked_at, stopped_s)

    def _wake(self, put_clock: Callable[..., None], offset: float, looked_at: float, away_s: float) -> None:
        put_clock(self.fleet, offset, self.now, looked_at)
        if away_s > expiry.LATE_S:
            self.started_at = self.at
        self._tick()

    # clients and readings

    def _some_of_project(self) -> Machine | None:
        held = self._of_projects()
        return self.chance.choice(held) if held else None

    def _keep(self) -> None:
        if (machine := self._some_of_project()) is not None:
            terms = self._draw_terms() if self.chance.random() < 0.3 else Terms()
            self.note(f"{machine.project} keeps {machine.id} {terms or ''}")
            expiry.keep(self.fleet, machine, self.now, terms)
            self._note(machine, "use")
            self._follow_up()

    def _ask_for_terms(self) -> None:
        if (machine := self._some_of_project()) is not None:
            terms = Terms(self.chance.choice([None, 0.0, 30.0]), None, self.chance.choice([None, 0.0, 10.0]), None)
            self.note(f"{machine.project} asks for {terms}")
            expiry.set_terms(self.fleet, machine, terms, self.now)
            self._follow_up()

    def _read(self) -> None:
        """Some machines are read, as one sweep does it."""
        for machine in self._of_projects():
            if machine.lease is not None and self.chance.random() < 0.7:
                how = self.chance.choices(["quiet", "active", "unknown"], [8, 1, 2])[0]
                is_active = None if how == "unknown" else how == "active"
                expiry.note_reading(self.fleet, machine.id, machine.generation, self.now, is_active=is_active)
                self._note(machine, how)
        self._follow_up()

    def _use(self) -> None:
        if (machine := self._some_of_project()) is not None:
            expiry.note_use(self.fleet, machine.id, self.now)
            self._note(machine, "use")
            self._follow_up()

    def _note(self, machine: Machine, how: str) -> None:
        self.seen.setdefault((machine.id, machine.generation), []).append((self.at, how))

    # the rules

    def _check(self) -> None:
        super()._check()
        for change in self.fleet.pending[self.followed :]:
            self._follow(change)
        self.followed = len(self.fleet.pending)
        for machine in self.fleet.machines.values():
            assert (machine.id in self.fleet.leased) is (machine.lease is not None)
            assert machine.lease is None or machine.lease.terms, "a lease has terms"
            if machine.lease is not None:
                assert machine.lease.renewed_at <= self.at + ALMOST_S

    def _follow(self, change: Change) -> None:
        before, after = change.before, change.after
        if before is not None and after is not None and after.holding is not None and before.holding is not None:
            if before.state is not State.READY and after.state is State.READY:
                self.back_since[after.id] = self.at
        elif after is not None and after.holding is not None:
            self.back_since.pop(after.id, None)
        if change.cause in {Cause.EXPIRED, Cause.SLEPT}:
            assert before is not None
            assert after is not None
            ends_as = State.STOPPING if change.cause is Cause.EXPIRED else State.SLEEPING
            assert (before.state in {State.READY, State.SLEEPING}, after.state) == (True, ends_as)
            self._check_expiry(before)

    def _lose(self) -> None:
        self.back_since = dict(self.stored_back_since)  # what was stored before is true, whatever else is lost
        super()._lose()
        self.followed = 0

    def _store(self) -> None:
        super()._store()
        self.followed = 0
        if not self.fleet.pending:
            self.stored_back_since = dict(self.back_since)

    def _check_expiry(self, machine: Machine) -> None:
        """It may end: a deadline has passed, and nobody had to be given time first."""
        assert machine.lease is not None, f"{machine.id} expired without a deadline"
        assert self.at + ALMOST_S >= self.started_at + MINUTE_S, f"{machine.id} expired right after a start or a wake"
        assert machine.id not in self.fleet.ailing
        back_since = self.back_since.get(machine.id, -math.inf)
        assert self.at + ALMOST_S >= back_since + MINUTE_S, f"{machine.id} expired right after it came back"
        passed = [*self._passed(machine.lease), *self._passed_by_silence(machine, machine.lease)]
        if machine.state is State.SLEEPING:
            passed = [name for name in passed if name == "max_age"]
        assert passed, f"{machine.id} expired too early, at {self.at}: {machine.lease}"

    def _passed(self, lease: Lease) -> list[str]:
        terms, passed = lease.terms, []
        if terms.ttl is not None and self.at + ALMOST_S >= lease.renewed_at + terms.ttl:
            passed.append("ttl")
        if terms.max_age is not None and self.at + ALMOST_S >= lease.assigned_at + terms.max_age:
            passed.append("max_age")
        return passed

    def _passed_by_silence(self, machine: Machine, lease: Lease) -> list[str]:
        limits = {"idle_timeout": lease.terms.idle_timeout}
        if not lease.is_used:
            limits["confirm_within"] = lease.terms.confirm_within
        seen = self.seen.get((machine.id, machine.generation), [])
        return [name for name, limit_s in limits.items() if limit_s is not None and _was_quiet(seen, limit_s)]

    def _unrest(self) -> Iterator[str]:
        yield from super()._unrest()
        for machine in self._of_projects():
            if machine.lease is not None and self._ends(machine, machine.lease):
                yield f"{machine.id} has a deadline"

    def _ends(self, machine: Machine, lease: Lease) -> bool:
        """Whether a deadline ends it, or puts it to sleep, that needs no reading."""
        if machine.state is State.READY and lease.terms.ttl is not None:
            return True
        return machine.state in {State.READY, State.SLEEPING} and lease.terms.max_age is not None

    def _tick(self) -> None:
        before = {machine.id: machine for machine in self._of_projects()}
        super()._tick()
        if self.fleet.pending or self.at < self.started_at + MINUTE_S:
            return
        for machine in self._of_projects():
            late = before.get(machine.id) is machine and machine.state is State.READY and machine.lease is not None
            if (
                late
                and not self.fleet.is_doubted(machine)
                and self.at >= self.back_since.get(machine.id, -1e9) + MINUTE_S
            ):
                assert machine.lease is not None
                at = self.fleet.timers.first()
                assert not self._passed(machine.lease) or self._was_ailing(machine, at), (
                    f"{machine.id} should have expired"
                )

    def _was_ailing(self, machine: Machine, first: float | None) -> bool:
        """Whether it could not serve a moment ago: then it is looked at again within seconds."""
        return first is not None and machine.lease is not None and first <= self.at + expiry.AILING_S


def _was_quiet(seen: Sequence[tuple[float, str]], limit_s: float) -> bool:
    """Whether two readings that far apart, with nothing but silent ones after the first, show that nobody used it since."""
    for first in range(len(seen)):
        if seen[first][1] not in {"quiet", "active"}:
            continue
        later = seen[first + 1 :]
        begun = max([seen[first][0], *(at for at, how in later if how == "use")])
        if any(how in {"active", "unknown"} for _, how in later):
            continue
        last = max([at for at, how in [seen[first], *later] if how != "use"])
        if last + ALMOST_S >= begun + limit_s:
            return True
    return False
