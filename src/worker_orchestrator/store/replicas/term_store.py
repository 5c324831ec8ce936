"""The store of one term: assignments in the cluster, and in memory what ends with its leader.

What is told of the past (events, traces, samples) is in SQLite in memory, with numbers that begin at the epoch, so a reader
of an earlier leader's events is told to begin anew. Every change that a project depends on is written to the cluster first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from worker_orchestrator.core.key import Key
from worker_orchestrator.core.machine import Change, Machine
from worker_orchestrator.errors import NotSupported
from worker_orchestrator.store.cluster.carrying_out import carry_out
from worker_orchestrator.store.cluster.ledger import GONE, Ledger
from worker_orchestrator.store.cluster.terms import generation_before
from worker_orchestrator.store.cluster.transactions import Transaction, transactions
from worker_orchestrator.store.connection import Connection
from worker_orchestrator.store.keys import StoredKeys
from worker_orchestrator.store.replicas.taking import Steward
from worker_orchestrator.store.rows import INSERT_MACHINE, row_of
from worker_orchestrator.store.store import Store

__all__ = ["LEASE_CLOCK", "Refused", "TermStore"]

LEASE_CLOCK = "lease_clock"
"""The fact that goes with each renewal of the coordination Lease (`control/deciding/lease_clock.py`)."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Changes of which nothing stands in the cluster, and why. `is_gone`: a pod that they need is not there any more."""

    changes: tuple[Change, ...]
    why: str

    @property
    def is_gone(self) -> bool:
        return self.why == GONE


class _NoKeys(StoredKeys):
    """Keys would end with the leader: none is made."""

    def add(self, key: Key) -> None:
        raise NotSupported(
            f"The key {key.name} was not made: with store kubernetes only the token is known to all replicas. Use that."
        )


class TermStore(Store):
    """What the leader of one term stores, and where.

    `stamp` is the last one of the lease clock; empty without deadlines. `stamped` is told of each.
    """

    is_awaited = True

    def __init__(self, ledger: Ledger, steward: Steward, stamped: Callable[[str], None] = lambda _: None) -> None:
        super().__init__(None)
        self.name = "Kubernetes"
        self._ledger, self._steward = ledger, steward
        self.stamp, self._stamped = "", stamped
        self.keys = _NoKeys(Connection(self._db, self.name))

    def begin(self, machines: Iterable[Machine], stamp: str, at_ms: int) -> None:
        """Take over these machines, as the cluster has them, and the lease clock of the last leader."""
        number = generation_before(self._ledger.term.epoch)
        self.stamp = stamp
        facts = {"owner": self._ledger.owner, "generation": number, **self.skip_event_numbers(number)}
        facts |= {LEASE_CLOCK: stamp} if stamp else {}
        for machine in machines:
            self._execute(INSERT_MACHINE, (*row_of(machine), at_ms))
        for key, value in facts.items():
            self._execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, str(value)))

    def commit(self, changes: Sequence[Change], meta: Mapping[str, object], at_ms: int) -> None:
        """Note in memory what is written already, or needs not be. Raises CommitFailed, NotSupported."""
        if any(key.startswith("pool.") for key in meta):
            raise NotSupported(
                "With store kubernetes sizes cannot be changed at run time, since they would end with this leader. Change "
                "them in the settings of all replicas, and reload these."
            )
        problem = self.problem
        super().commit(changes, meta, at_ms)
        self.problem = problem  # it is about the cluster
        if LEASE_CLOCK in meta:
            self.stamp = str(meta[LEASE_CLOCK])
            self._stamped(self.stamp)

    @staticmethod
    def needs_writing(changes: Sequence[Change]) -> bool:
        """Whether any of these has to stand in the cluster before anybody is told of it."""
        return any(group.writes for group in transactions(changes))

    async def write(self, changes: Sequence[Change]) -> list[Refused]:
        """Write these to the cluster. Returns what was refused: all else stands there. Raises Outdated."""
        groups = transactions(changes)
        results = await asyncio.gather(*map(self._carry_out, groups), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        whys = list(zip(groups, results, strict=True))
        refused = [Refused(group.changes, str(why)) for group, why in whys if why]
        told = next((each.why for each in refused if not each.is_gone), "")
        self.problem = f"The cluster refuses what is to be stored: {told}" if told else ""
        return refused

    async def _carry_out(self, group: Transaction) -> str:
        return await self._steward.take(carry_out(self._ledger, group)) if group.writes else ""

    def retry_writing(self) -> None:
        """What was refused may concern one project alone, and only its next try can tell."""
        self.problem = ""

    @property
    def leads(self) -> bool:
        """Whether this replica may tell what it knows: nobody else can lead by now."""
        return self._steward.may_write
