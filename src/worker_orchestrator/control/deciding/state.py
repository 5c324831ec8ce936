"""What all parts of the shell know: the fleet, what it should be, and the last listing. Nothing here decides anything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from worker_orchestrator.clock import Clock
from worker_orchestrator.control.deciding.lease_clock import LeaseClock
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Snapshot
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.core.spec import Spec

__all__ = ["ControlState"]

NEXT_LISTING_TIMEOUT_S: Final = 2.0


class ControlState:
    """The one fleet with its spec, and the events by which the parts of the shell wake each other.

    * `spec`       what the fleet should be, as it is in force now
    * `now`        the monotonic time of a decision, in seconds. Where there are deadlines, the lease clock is right for it
    * `snapshot`   the last listing; `begun_at` is negative before the first one
    * `elsewhere`  the host of each machine, by its id, that is not reached under the one of the settings
    * `short_since` since when each pool that is short of idle machines is so, by its name
    * `wake`       set to have a listing made and judged soon
    * `looks_at_leases` whether the ticker looks for deadlines that come before its next tick: not while there is none
    * `asked_until` when the service itself was last busy with a machine with deadlines, before its project was told of it
    * `leases`     set when `new_leases` has got the id of a machine whose project has it for other deadlines than before
    """

    def __init__(self, fleet: Fleet, spec: Spec, clock: Clock) -> None:
        self.fleet, self.spec = fleet, spec
        self._time = asyncio.get_running_loop().time
        self.now = self._time
        self.wall_ms, self.new_id = clock.wall_ms, clock.machine_id
        self.snapshot = Snapshot(-1.0, {})
        self.elsewhere: dict[str, str] = {}
        self.note_hosts()
        self.wake = asyncio.Event()
        self.leases, self.new_leases = asyncio.Event(), list[str]()
        self.asked_until: dict[str, float] = {}
        self.looks_at_leases = False
        self.short_since: dict[str, float] = {}
        self._lease_clock: LeaseClock | None = None
        self._noted_for: Spec | None = None
        self._listed = asyncio.Event()
        self._news = asyncio.Event()

    def use(self, lease_clock: LeaseClock) -> None:
        """This is the clock of all leases."""
        self._lease_clock = lease_clock
        self.expect_leases_of_pools()

    def expect_leases_of_pools(self) -> None:
        """There are other pools, whose assignments may have deadlines."""
        if self.fleet.leased or any(pool.terms is not None for pool in self.spec.pools.values()):
            self.expect_leases()

    def expect_leases(self) -> None:
        """Assignments have deadlines from now on, or may get some.

        So each look at the time has the lease clock follow first: the computer may have slept since the last one. Where no
        assignment ever had any, that costs nothing.
        """
        self.now = self._now_of_leases

    def _now_of_leases(self) -> float:
        now = self._time()
        if self._lease_clock is not None:
            self._lease_clock.follow(now)
        return now

    def note_hosts(self) -> None:
        """Note the machines that have a host of their own: on record, as the engine gave it, or in the last listing."""
        self.elsewhere.clear()
        self.elsewhere.update((one.id, one.host) for one in self.fleet.machines.values() if one.host)
        self.elsewhere.update((one.id, one.host) for one in self.snapshot.instances.values() if one.host)

    def note_short_pools(self, changed: Iterable[str] | None = None) -> None:
        """Note since when a pool has fewer idle machines than it wants: once per commit, for the pools that `changed`.

        None: for all of them, as if the spec is another one.
        """
        pools = self.spec.pools
        if changed is None or self._noted_for is not self.spec:
            self._noted_for, changed = self.spec, pools
        for name in changed:
            wanted = pools.get(name)
            if wanted is None:
                continue  # it is retired
            least = wanted.wanted_idle(self.fleet.assigned_in(name)) if wanted.spare else wanted.min_idle
            if wanted.paused or len(self.fleet.idle(name, wanted.template)) >= least:
                self.short_since.pop(name, None)
            else:
                self.short_since.setdefault(name, self.now())

    def forget_former_pools(self) -> None:
        """Forget since when pools were short that the settings name no more."""
        for name in self.short_since.keys() - self.spec.pools.keys():
            del self.short_since[name]

    def wake_later(self, delay_s: float) -> None:
        """Have a listing made and judged after so many seconds."""
        asyncio.get_running_loop().call_later(delay_s, self.wake.set)

    def wake_if_awaited(self, pool: str, delay_s: float) -> None:
        """Have a listing made and judged after so many seconds, if projects wait for machines of this pool then."""
        asyncio.get_running_loop().call_later(delay_s, self._wake_if_awaited, pool)

    def _wake_if_awaited(self, pool: str) -> None:
        if self.fleet.pool(pool).line:
            self.wake.set()

    async def next_listing(self) -> None:
        """Wait for a listing that begins now, or for the failure of one; 2 s at most."""
        try:
            async with asyncio.timeout(NEXT_LISTING_TIMEOUT_S):
                for _ in range(2):  # the one under way may have begun too early
                    self._listed.clear()
                    self.wake.set()
                    await self._listed.wait()
        except TimeoutError:
            return

    def note_lease(self, machine_id: str) -> None:
        """This machine is assigned with deadlines that were not looked at yet."""
        self.expect_leases()
        self.new_leases.append(machine_id)
        self.leases.set()
        if not self.looks_at_leases:
            self.looks_at_leases = True
            self.wake.set()

    def note_answer(self, machine: Machine) -> None:
        """It serves, or is set up, so its project is told of it now. What it has received so far is no use of it."""
        own = self.fleet.machines.get(machine.id)
        if own is not None and own.lease is not None and own.generation == machine.generation:
            self.asked_until[machine.id] = self.now()
            self.note_lease(machine.id)

    def note_listing(self) -> None:
        """A listing was judged, or failed."""
        self._listed.set()

    async def until_forgotten(self, machine_id: str) -> None:
        """Wait until a listing has shown that a machine which is being removed is gone."""
        while machine_id in self.fleet.machines:
            await self.next_news()

    async def next_news(self) -> None:
        """Wait until a listing was judged, or a project has lost its machine."""
        await self._news.wait()

    def note_news(self) -> None:
        """A listing was judged, or a project has lost its machine."""
        self._news.set()
        self._news.clear()
