"""For how long a project has its machine, where it or the operator limits that: what its clients ask for."""

from __future__ import annotations

from worker_orchestrator.control.deciding.decisions import Decisions
from worker_orchestrator.core import commands, expiry, refusals
from worker_orchestrator.core.lease import NO_TERMS, Asked, OnExpiry, Terms
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.errors import CommitFailed, ProjectHasNoMachine

__all__ = ["Leases"]


class Leases:
    """Keeps assignments alive, and gives them other deadlines."""

    def __init__(self, decisions: Decisions) -> None:
        self._state, self._fleet, self._journal = decisions.state, decisions.fleet, decisions.journal

    async def keep_alive(self, project: str, terms: Terms, *generations: int) -> Machine:
        """Begin the lease of this project anew, with these terms in place of its own where they say so.

        Its machine must be of these generations. Returns it as it is then, stored.
        Raises ProjectHasNoMachine, GenerationMismatch, InvalidInput, CommitFailed.
        """
        await self._journal.drain()
        machine = self._fleet.of_project(project)
        if machine is None or machine.gone:
            raise ProjectHasNoMachine(f"The project {project} has no machine, so nothing was kept.")
        for generation in generations:
            commands.check_generation(machine, generation)
        self.insist_on_terms(machine.pool, terms)
        kept = expiry.keep(self._fleet, machine, self._state.now(), terms, self._on_expiry(machine))
        self._journal.attribute()
        await self._journal.durable()
        return kept

    async def note(self, machine: Machine, asked: Asked) -> Machine:
        """Keep with this assignment what its client asked for, unless it was made so, as this machine shows.

        Returns the machine as it is then; as it was, if it was released meanwhile. Raises CommitFailed.
        """
        own = self._fleet.machines.get(machine.id)
        if own is None or own.holding is None or own.generation != machine.generation:
            return machine
        metadata, terms = asked.metadata, self._terms_for(own, asked.terms)
        if metadata is not None and metadata != machine.metadata:
            own = commands.annotate(self._fleet, own, metadata, self._state.now())
        has = NO_TERMS if machine.lease is None else machine.lease.terms
        if has.changed(terms) != has:
            own = expiry.set_terms(self._fleet, own, terms, self._state.now(), self._on_expiry(own))
        self._journal.attribute()
        try:
            await self._journal.durable()
        except CommitFailed as error:
            what = " and ".join(["metadata"] * (metadata is not None) + ["deadlines"] * bool(terms))
            assigned = f"{own.id} belongs to {own.project}, but its {what} could not be stored. Try again."
            raise CommitFailed(f"{assigned} {error.message}") from error
        return own

    def _terms_for(self, machine: Machine, asked: Terms) -> Terms:
        """These, as far as the pool allows that this machine came from: it may be another than was judged."""
        ours = self._state.spec.pool(machine.pool).terms
        return asked.capped(None if ours is None else ours.max_age)

    def _on_expiry(self, machine: Machine) -> OnExpiry:
        return self._state.spec.pool(machine.pool).on_expiry

    def insist_on_terms(self, pool: str, terms: Terms) -> None:
        """Raises InvalidInput if a project may not ask for these in this pool. Whoever asks for any comes here first."""
        refusals.insist_on_terms(self._state.spec, pool, terms)
        if terms:
            self._state.expect_leases()
