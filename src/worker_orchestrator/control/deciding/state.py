"""What all parts of the shell know: the fleet, what it should be, and the last listing. Nothing here decides anything."""

from __future__ import annotations

import asyncio
from typing import Final

from worker_orchestrator.clock import Clock
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.instance import Snapshot
from worker_orchestrator.core.spec import Spec

__all__ = ["ControlState"]

NEXT_LISTING_TIMEOUT_S: Final = 2.0


class ControlState:
    """The one fleet with its spec, and the events by which the parts of the shell wake each other.

    * `spec`       what the fleet should be, as it is in force now
    * `snapshot`   the last listing; `begun_at` is negative before the first one
    * `elsewhere`  the host of each machine, by its id, that is not reached under the one of the settings
    * `short_since` since when each pool that is short of idle machines is so, by its name
    * `wake`       set to have a listing made and judged soon
    """

    def __init__(self, fleet: Fleet, spec: Spec, clock: Clock) -> None:
        self.fleet, self.spec = fleet, spec
        self.now = asyncio.get_running_loop().time
        self.wall_ms, self.new_id = clock.wall_ms, clock.machine_id
        self.snapshot = Snapshot(-1.0, {})
        self.elsewhere: dict[str, str] = {}
        self.note_hosts()
        self.wake = asyncio.Event()
        self.short_since: dict[str, float] = {}
        self._listed = asyncio.Event()
        self._news = asyncio.Event()

    def note_hosts(self) -> None:
        """Note the machines that have a host of their own: on record, as the engine gave it, or in the last listing."""
        self.elsewhere.clear()
        self.elsewhere.update((one.id, one.host) for one in self.fleet.machines.values() if one.host)
        self.elsewhere.update((one.id, one.host) for one in self.snapshot.instances.values() if one.host)

    def note_short_pools(self) -> None:
        """Note since when a pool has fewer idle machines than it wants. Cheap: once per commit."""
        for name, wanted in self.spec.pools.items():
            if wanted.paused or len(self.fleet.idle(name, wanted.template)) >= wanted.min_idle:
                self.short_since.pop(name, None)
            else:
                self.short_since.setdefault(name, self.now())

    def wake_later(self, delay_s: float) -> None:
        """Have a listing made and judged after so many seconds."""
        asyncio.get_running_loop().call_later(delay_s, self.wake.set)

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
