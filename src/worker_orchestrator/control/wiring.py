"""How the parts of the shell are joined, and the loops that keep the pool.

Everything here runs on one event loop; between two awaits nothing else happens. Parts are made from the ground up, and each
gets what it uses when it is made. Only two ways lead back up: what `world/` reports goes through `Wiring._react`, and what
follows a commit is the `Effects` of the journal.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from worker_orchestrator.clock import Clock
from worker_orchestrator.control.assigning.carrying_out import CarryingOut
from worker_orchestrator.control.assigning.configuring import Configuring
from worker_orchestrator.control.assigning.leases import Leases
from worker_orchestrator.control.assigning.search import Search
from worker_orchestrator.control.assigning.short_way import ShortWay
from worker_orchestrator.control.assigning.sleepers import Sleepers
from worker_orchestrator.control.background import Background
from worker_orchestrator.control.deciding.activity import ActivityWatch
from worker_orchestrator.control.deciding.clock_windows import ClockWindows
from worker_orchestrator.control.deciding.decisions import Decisions
from worker_orchestrator.control.deciding.effects import Effects
from worker_orchestrator.control.deciding.forecasts import Demands, Forecasts
from worker_orchestrator.control.deciding.foresight import Foresight
from worker_orchestrator.control.deciding.idle_probes import IdleProbes
from worker_orchestrator.control.deciding.journal import Journal
from worker_orchestrator.control.deciding.lease_clock import LeaseClock
from worker_orchestrator.control.deciding.seats import Seats
from worker_orchestrator.control.deciding.sizes import PoolSizes
from worker_orchestrator.control.deciding.state import ControlState
from worker_orchestrator.control.deciding.ticker import Ticker
from worker_orchestrator.control.deciding.untold import UntoldAssignments
from worker_orchestrator.control.deciding.uses import Uses
from worker_orchestrator.control.defect import Defect
from worker_orchestrator.control.reactions import Reactions
from worker_orchestrator.control.reading.gauges import Gauge
from worker_orchestrator.control.reading.plans import Plans
from worker_orchestrator.control.reading.standing import Standings
from worker_orchestrator.control.reading.views import Views
from worker_orchestrator.control.telling.arrivals import ArrivalRecord
from worker_orchestrator.control.telling.feed import Feed
from worker_orchestrator.control.telling.last_changes import LastChanges
from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.control.telling.traces import Trace, TraceKeeper, Traces
from worker_orchestrator.control.world.actions import Actions
from worker_orchestrator.control.world.contact import Contact
from worker_orchestrator.control.world.engine_events import EngineEvents
from worker_orchestrator.control.world.listings import Listings
from worker_orchestrator.control.world.probers import Probers
from worker_orchestrator.control.world.reports import Report
from worker_orchestrator.control.world.templates import Templates
from worker_orchestrator.control.world.use_readings import UseReadings
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.sizing import note_taken_away
from worker_orchestrator.core.spec import PoolSpec, Spec
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.store.store import Store

__all__ = ["Limits", "Wiring"]


def _known(pool: PoolSpec, *, is_changed: bool) -> dict[str, Any]:
    """What was found out of a pool, and is not in the settings.

    Of a pool that `is_changed`, why it had no image says nothing of the one that it has now.
    """
    if is_changed:
        return {"template": pool.template, "pending": True}
    return {"template": pool.template, "pending": pool.pending, "problem": pool.problem}


def _awaited(fleet: Fleet, store: Store, *parts: Any) -> Journal | None:
    """The journal of a leader among replicas; None where the service is alone. Only there it has to be loaded."""
    if not store.is_awaited:
        return None
    from worker_orchestrator.control.deciding.awaited_journal import AwaitedJournal  # noqa: PLC0415 # see above
    from worker_orchestrator.store.replicas.term_store import TermStore  # noqa: PLC0415 # see above

    assert isinstance(store, TermStore), "no other store is awaited"
    return AwaitedJournal(fleet, store, *parts)


@dataclass(frozen=True, slots=True)
class Limits:
    """Times of the shell, in seconds. `stop_timeouts_s`: those of pools that have their own, by their names."""

    assign_timeout_s: float = 30.0
    refresh_interval_s: float = 10.0
    stop_timeout_s: float = 10.0
    stop_timeouts_s: Mapping[str, float] = field(default_factory=dict)
    activity_interval_s: float = 30.0


class Wiring:
    """All parts, each a public attribute."""

    def __init__(  # noqa: PLR0913, PLR0917 # what a service is joined of
        self,
        fleet: Fleet,
        spec: Spec,
        engine: Engine,
        store: Store,
        clock: Clock,
        limits: Limits,
        engine_id: str,
        observer: Observer,
        late_key: bytes,
    ) -> None:
        self._limits = limits
        fleet.hears_events = False  # until the engine's stream of events is open
        self.defect = Defect()
        self.background = Background(self.defect)
        self.sizes = PoolSizes(spec, store, clock.wall_ms, engine)
        self.state = ControlState(fleet, self.sizes.applied(spec), clock)
        self.foresight = Foresight(self.state, engine)
        self.lease_clock = LeaseClock(fleet, store, clock, self.state.now())
        self.state.use(self.lease_clock)
        self.arrivals = ArrivalRecord(store.arrivals, clock.wall_ms)
        observer = observer.joined(self.arrivals)
        self._make_telling(store, observer)
        self._make_world(engine, engine_id, observer)
        self._make_deciding(store, observer)
        self.short_way = ShortWay(self.decisions, self.untold, observer, self.traces)
        self.search = Search(
            self.decisions, self.short_way, self.untold, self.probers, limits.assign_timeout_s, observer, self.traces
        )
        self.leases = Leases(self.decisions)
        self.carrying_out = CarryingOut(self.decisions, self.actions)
        self.sleepers = Sleepers(self.decisions, self.search, self.carrying_out)
        key = late_key or secrets.token_bytes()
        self.configuring = Configuring(self.decisions, engine, self.background, self.uses, key)
        self._make_reading(engine)
        self._reactions = Reactions(
            self.decisions, self.contact, self.probers, self.templates, self.traces, self.last_changes
        )

    def _make_telling(self, store: Store, observer: Observer) -> None:
        self.feed, self.last_changes = Feed(store), LastChanges(store.changed_ms())
        self.traces = Traces(observer, self.state.wall_ms)
        self.traces.load(msgspec.json.decode(trace, type=Trace) for trace in store.traces())
        self.trace_keeper = TraceKeeper(self.traces, store)

    def _make_world(self, engine: Engine, engine_id: str, observer: Observer) -> None:
        background, limits, tell = self.background, self._limits, self._react
        self.contact = Contact(engine, background, tell, observer)
        self.listings = Listings(engine, engine_id, observer)
        self.probers = Probers(engine, self.listings, background, self.contact, tell, observer)
        self.actions = Actions(engine, background, self.probers, tell, observer, limits.stop_timeout_s)
        self.actions.stop_timeouts_s = limits.stop_timeouts_s
        self.templates = Templates(
            engine, limits.refresh_interval_s, background, tell, observer, list(self.state.spec.pools)
        )
        self.use_readings = UseReadings(engine)
        self.engine_events = EngineEvents(engine, background, tell, observer)

    def _make_deciding(self, store: Store, observer: Observer) -> None:
        state, self.seats, self.untold = self.state, Seats(), UntoldAssignments(self.state)
        telling = (self.traces, self.last_changes, self.feed, observer)
        self.idle_probes = IdleProbes(state, self.probers, self.background)
        effects = Effects(
            state, self.seats, self.actions, self.probers, self.foresight, self.idle_probes, *telling, self.defect
        )
        parts = (effects, self.defect, state.wall_ms, observer)
        self.journal = _awaited(state.fleet, store, *parts) or Journal(state.fleet, store, *parts)
        self.decisions = Decisions(
            state, self.journal, self.seats, self.contact, self.actions, self.templates, self.background
        )
        self.clock_windows = ClockWindows(state, self.sizes, self.decisions)
        self.forecasts = Forecasts(state, self.sizes, self.decisions, Demands(self.arrivals, state.wall_ms))
        self.uses = Uses(self.decisions)
        self.activity = ActivityWatch(
            self.decisions,
            self.uses,
            self.use_readings,
            self.background,
            self._limits.activity_interval_s,
        )
        self.ticker = Ticker(
            state,
            self.decisions,
            self.untold,
            self.listings,
            self.contact,
            self.actions,
            self.probers,
        )

    def _make_reading(self, engine: Engine) -> None:
        state, contact = self.state, self.contact
        self.views = Views(engine, state, self.journal, contact, self.last_changes)
        self.gauge = Gauge(state, self.seats, contact)
        self.standings = Standings(state, contact, self.forecasts)
        self.plans = Plans(state, self.sizes, self.forecasts)

    def _react(self, report: Report) -> None:
        """The function that `world/` reports to. `world/` is made before `Reactions`, hence this detour."""
        self._reactions.react(report)

    def reconfigure(self, spec: Spec, limits: Limits, changed: Collection[str]) -> None:
        """Keep these pools from now on, with these limits but for `refresh_interval_s`.

        What was changed at run time wins over these sizes as well. Machines of a pool that is no longer named go when they
        are free, and projects keep theirs, with the time limits that they had. The machines of `changed` pools may be made
        of something else: until the engine has said of what, the last known template stays in force, as it does while an
        image is pulled.
        """
        before = self.state.spec.pools
        known = {
            name: replace(pool, **_known(before[name], is_changed=name in changed))
            for name, pool in spec.pools.items()
            if name in before
        }
        retired = self.state.spec.retired_by(spec.pools, self.state.fleet.pool_names)
        self.search.assign_timeout_s = limits.assign_timeout_s
        self.activity.set_interval(limits.activity_interval_s)
        stop_timeouts_s = {name: limit_s for name, limit_s in self.actions.stop_timeouts_s.items() if name in retired}
        self.actions.stop_timeout_s = limits.stop_timeout_s
        self.actions.stop_timeouts_s = {**stop_timeouts_s, **limits.stop_timeouts_s}
        self.sizes.configure(spec)
        wanted = self.sizes.applied(replace(spec, pools={**spec.pools, **known}, retired=retired))
        note_taken_away(self.state.fleet, self.state.spec, wanted, self.state.now())
        self.state.spec = wanted
        self.state.expect_leases_of_pools()
        self.state.forget_former_pools()
        self.templates.set_pools(list(spec.pools), changed)
        self.clock_windows.look_again()
        self.decisions.apply_and_commit_soon()
        self.state.wake.set()

    async def run(self) -> None:
        """Keep the pool until cancelled. Raises what a defect raised."""
        interval_s = self._limits.refresh_interval_s
        self.sizes.forget_dropped()
        loops = {
            "lease clock": self.lease_clock.run(asyncio.get_running_loop().time),
            "tick": self.ticker.run(interval_s),
            "engine events": self.engine_events.run(),
            "activity": self.activity.run(),
            "idle probes": self.idle_probes.run(interval_s),
            "foresight": self.foresight.run(),
            "clock windows": self.clock_windows.run(),
            "forecasts": self.forecasts.run(),
            "traces": self.trace_keeper.run(),
            "store": self.journal.try_again_for_ever(),
        }
        for name, loop in loops.items():
            self.background.spawn(loop, name)
        self.templates.start()
        try:
            await self.defect.wait()
        finally:
            await self.seats.aclose()
            await self.background.aclose()
            if not self.defect.is_found:  # else memory may be wrong
                await self.journal.settled()
                self.trace_keeper.save()
