"""One term as the leader: all that is there is taken over, and then the service runs over it, until the term is over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from worker_orchestrator.clock import Clock
from worker_orchestrator.engines import open as engines
from worker_orchestrator.engines.kubernetes.engine import KubernetesEngine
from worker_orchestrator.service import late_key
from worker_orchestrator.service.opening import Opened, load_fleet, open_engine
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.store.cluster.calls import Outdated
from worker_orchestrator.store.cluster.ledger import Ledger
from worker_orchestrator.store.cluster.recovery import take_over
from worker_orchestrator.store.cluster.terms import Term
from worker_orchestrator.store.replicas.electing import Election
from worker_orchestrator.store.replicas.pod_term import PodTerm
from worker_orchestrator.store.replicas.sending import Sender
from worker_orchestrator.store.replicas.taking import Steward
from worker_orchestrator.store.replicas.term_store import TermStore

__all__ = ["Office", "open_office", "take_office"]


@dataclass(slots=True)
class Office:
    """What a leader has in its term. `lost` is told what shows that somebody else leads."""

    term: Term
    ledger: Ledger
    steward: Steward
    store: TermStore
    lost: list[Callable[[Outdated], None]] = field(default_factory=list)

    def end(self, why: Outdated) -> None:
        for told in self.lost:
            told(why)


async def take_office(term: Term, election: Election, sender: Sender, owner: str) -> Office:
    """Make all that is there ours, and read it. Raises Outdated, StoreError."""
    ledger = Ledger(owner, term)
    steward = Steward(sender.answer, lambda: election.leads_in(term))

    def note(stamp: str) -> None:
        election.stamp = stamp

    machines = await steward.take(take_over(ledger))
    store = TermStore(ledger, steward, note)
    store.begin(machines, election.last_stamp, Clock().wall_ms())
    return Office(term, ledger, steward, store)


@asynccontextmanager
async def open_office(settings: Settings, office: Office, key: bytes) -> AsyncIterator[Opened]:
    """The fleet as it was taken over, and an engine in this term. Raises EngineUnavailable, InvalidSetting."""
    with office.store as store:
        engine = await open_engine(settings, store.meta())
        try:
            assert isinstance(engine, KubernetesEngine), "the settings refuse any other"
            engine.in_term = PodTerm(office.ledger, office.steward, lambda: office.steward.may_write, office.end)
            engines.use_key(engine, late_key.derived(key, "token"))
            identity = await engine.identity()
            values, links = late_key.derived(key, "values"), late_key.derived(key, "links")
            doubt, is_older, file = "", False, None
            yield Opened(store, load_fleet(store), engine, identity, {}, doubt, is_older, file, values, links)
        finally:
            await engine.aclose()
