"""How the parts of the shell are joined, and the loops that keep the pool.

Everything here runs on one event loop; between two awaits nothing else happens. Parts are made from the ground up, and each
gets what it uses when it is made. Only two ways lead back up: what `world/` reports goes through `Wiring._react`, and what
follows a commit is the `Effects` of the journal.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from worker_orchestrator.clock import Clock
from worker_orchestrator.control.assigning.search import Search
from worker_orchestrator.control.assigning.short_way import ShortWay
from worker_orchestrator.control.background import Background
from worker_orchestrator.control.deciding.decisions import Decisions
from worker_orchestrator.control.deciding.effects import Effects
from worker_orchestrator.control.deciding.idle_probes import IdleProbes
from worker_orchestrator.control.deciding.journal import Journal
from worker_orchestrator.control.deciding.seats import Seats
from worker_orchestrator.control.deciding.sizes import PoolSizes
from worker_orchestrator.control.deciding.state import ControlState
from worker_orchestrator.control.deciding.ticker import Ticker
from worker_orchestrator.control.deciding.untold import UntoldAssignments
from worker_orchestrator.control.defect import Defect
from worker_orchestrator.control.reactions import Reactions
from worker_orchestrator.control.reading.gauges import Gauge
from worker_orchestrator.control.reading.views import Views
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
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.spec import Spec
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.store.store import Store

__all__ = ["Limits", "Wiring"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits of the shell, in seconds."""

    assign_timeout_s: float = 30.0
    refresh_interval_s: float = 10.0
    stop_timeout_s: float = 10.0


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
    ) -> None:
        self._limits = limits
        fleet.hears_events = False  # until the engine's stream of events is open
        self.defect = Defect()
        self.background = Background(self.defect)
        self.sizes = PoolSizes(spec, store, clock.wall_ms)
        self.state = ControlState(fleet, self.sizes.applied(spec), clock)
        self._make_telling(store, observer)
        self._make_world(engine, engine_id, observer)
        self._make_deciding(store, observer)
        self.short_way = ShortWay(self.decisions, self.untold, observer, self.traces)
        self.search = Search(
            self.decisions, self.short_way, self.untold, self.probers, limits.assign_timeout_s, observer, self.traces
        )
        self.views = Views(engine, self.state, self.journal, self.contact, self.last_changes)
        self.gauge = Gauge(self.state, self.seats, self.contact)
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
        self.templates = Templates(engine, limits.refresh_interval_s, tell, observer)
        self.engine_events = EngineEvents(engine, background, tell, observer)

    def _make_deciding(self, store: Store, observer: Observer) -> None:
        state, self.seats, self.untold = self.state, Seats(), UntoldAssignments(self.state)
        telling = (self.traces, self.last_changes, self.feed, observer)
        effects = Effects(state, self.seats, self.actions, self.probers, *telling, self.defect)
        self.journal = Journal(state.fleet, store, effects, self.defect, state.wall_ms, observer)
        self.decisions = Decisions(
            state, self.journal, self.seats, self.contact, self.actions, self.templates, self.background
        )
        self.idle_probes = IdleProbes(state, self.probers, self.background)
        self.ticker = Ticker(
            state, self.decisions, self.untold, self.listings, self.contact, self.actions, self.probers
        )

    def _react(self, report: Report) -> None:
        """The function that `world/` reports to. `world/` is made before `Reactions`, hence this detour."""
        self._reactions.react(report)

    async def run(self) -> None:
        """Keep the pool until cancelled. Raises what a defect raised."""
        interval_s = self._limits.refresh_interval_s
        loops = {
            "tick": self.ticker.run(interval_s),
            "engine events": self.engine_events.run(),
            "idle probes": self.idle_probes.run(interval_s),
            "templates": self.templates.run(),
            "traces": self.trace_keeper.run(),
            "store": self.journal.try_again_for_ever(),
        }
        for name, loop in loops.items():
            self.background.spawn(loop, name)
        try:
            await self.defect.wait()
        finally:
            await self.seats.aclose()
            await self.background.aclose()
            if not self.defect.is_found:  # else memory may be wrong
                self.journal.flush()
                self.trace_keeper.save()
