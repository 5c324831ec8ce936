"""What is asked about projects."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from worker_orchestrator.client.call_decorators import operation, scope
from worker_orchestrator.client.call_steps import Request, Scope, Steps
from worker_orchestrator.client.calls_base import Asking, was_done
from worker_orchestrator.client.request_building import JSON, deletion, of_project
from worker_orchestrator.client.retries import exchange
from worker_orchestrator.errors import (
    GenerationMismatch,
    MachineNotFound,
)
from worker_orchestrator.wire.v1 import AssignBody, Machine, Released, Why

__all__ = ["ProjectCalls"]


class ProjectCalls(Asking):
    """What is asked about projects."""

    # projects

    @operation
    def assign(
        self, project: str, *, wait_seconds: float | None = None, metadata: Mapping[str, str] | None = None
    ) -> Steps[Machine]:
        """The machine of this project: the one it has, else one that is assigned now. Safe to call again.

        `wait_seconds`: how long to wait for one in all, 0 for not at all, None for as long as the service thinks fit.
        `metadata`: at most 32 short texts to keep with it, in place of those that were there.

        Raises NoMachineAvailable, MachineFailed, InvalidProject, InvalidInput.
        """
        notes = None if metadata is None else dict(metadata)

        def body(left_s: float | None) -> bytes:
            return msgspec.json.encode(AssignBody(wait_seconds=left_s, metadata=notes))

        request = Request(
            method="PUT",
            path=of_project(project, "machine"),
            headers=JSON,
            body=body(wait_seconds),
            takes_s=wait_seconds or 0,
            waits_s=wait_seconds,
            body_in=body,
        )
        return (yield from self._ask(request, Machine))

    @operation
    def machine_of(self, project: str) -> Steps[Machine]:
        """The machine that this project has. Assigns none. Raises ProjectHasNoMachine."""
        return (yield from self._get(of_project(project, "machine"), Machine))

    @operation
    def release(self, project: str, *, generation: int | None = None) -> Steps[Released]:
        """Give the machine of this project back.

        With the `generation` of a Machine it never hits the machine of a later assignment, and is safe to try again: where
        the first reply was lost and the machine is gone, that counts as done (and `machine` is empty in the result).

        Raises ProjectHasNoMachine, GenerationMismatch.
        """
        request = deletion(of_project(project, "machine"), generation)
        answer = yield from exchange(request, self._service)
        error = self._error_in(answer)
        if generation is not None and was_done(answer, error):
            return Released(project=project, machine="", generation=generation)
        return self._decoded(answer, Released)

    @operation
    def why(self, project: str) -> Steps[Why]:
        """How this project came to its machine: warm or cold and why, how long each stage took.

        Raises ProjectHasNoMachine.
        """
        return (yield from self._get(of_project(project, "why"), Why))

    @scope
    def machine(
        self, project: str, *, wait_seconds: float | None = None, metadata: Mapping[str, str] | None = None
    ) -> Scope[Machine]:
        """A machine for the time of a `with` block: assigned before it, released behind it, whatever happens in between.

        Only this assignment is released: what was released, destroyed or taken by somebody else meanwhile is no error. An
        error of the block is never hidden by a release that fails.

        Raises what `assign` raises.
        """

        def leave(machine: Machine) -> Steps[None]:
            try:
                yield from ProjectCalls.release(self, project, generation=machine.generation)
            except (MachineNotFound, GenerationMismatch):
                return

        return Scope(lambda: ProjectCalls.assign(self, project, wait_seconds=wait_seconds, metadata=metadata), leave)
