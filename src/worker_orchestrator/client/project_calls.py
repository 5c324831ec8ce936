"""The operations on projects: how a project gets its machine and gives it back."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from worker_orchestrator.client.call_decorators import operation, scope
from worker_orchestrator.client.call_steps import Request, Scope, Steps
from worker_orchestrator.client.calls_base import CallsBase, was_done_before
from worker_orchestrator.client.request_building import JSON, deletion, project_path
from worker_orchestrator.client.retries import send_with_retries
from worker_orchestrator.errors import GenerationMismatch, MachineNotFound
from worker_orchestrator.wire.v1 import AssignBody, Machine, Released, Why

__all__ = ["ProjectCalls"]


class ProjectCalls(CallsBase):
    """Operations on projects."""

    @operation
    def assign(
        self, project: str, *, wait_seconds: float | None = None, metadata: Mapping[str, str] | None = None
    ) -> Steps[Machine]:
        """The machine of this project: the one it has, else one that is assigned now. Safe to call again.

        `wait_seconds`: how long to wait for a machine in all, 0 for not at all, None for as long as the service is set to.
        `metadata`: at most 32 short texts to keep with the machine; they replace those that it has.

        Raises NoMachineAvailable, MachineFailed, InvalidProject, InvalidInput.
        """
        notes = None if metadata is None else dict(metadata)

        def body(left_s: float | None) -> bytes:
            return msgspec.json.encode(AssignBody(wait_seconds=left_s, metadata=notes))

        request = Request(
            method="PUT",
            path=project_path(project, "machine"),
            headers=JSON,
            body=body(wait_seconds),
            takes_s=wait_seconds or 0,
            waits_s=wait_seconds,
            body_for=body,
        )
        return (yield from self._send(request, Machine))

    @operation
    def machine_of(self, project: str) -> Steps[Machine]:
        """The machine that this project has. Never assigns one. Raises ProjectHasNoMachine."""
        return (yield from self._get(project_path(project, "machine"), Machine))

    @operation
    def release(self, project: str, *, generation: int | None = None) -> Steps[Released]:
        """Give the machine of this project back.

        With the `generation` of a Machine it never releases the machine of a later assignment, and is safe to try again: if
        the first reply was lost and the machine is gone by the next try, that counts as done, with an empty `machine` in the
        result.

        Raises ProjectHasNoMachine, GenerationMismatch.
        """
        request = deletion(project_path(project, "machine"), generation)
        final = yield from send_with_retries(request, self._service)
        error = self._error_of(final)
        if generation is not None and was_done_before(final, error):
            return Released(project=project, machine="", generation=generation)
        return self._decode(final, Released)

    @operation
    def why(self, project: str) -> Steps[Why]:
        """How this project got its machine: warm or cold and why, and how many milliseconds each stage took.

        Raises ProjectHasNoMachine.
        """
        return (yield from self._get(project_path(project, "why"), Why))

    @scope
    def machine(
        self, project: str, *, wait_seconds: float | None = None, metadata: Mapping[str, str] | None = None
    ) -> Scope[Machine]:
        """A machine for the time of a `with` block: assigned before it, and released after it, also if the block fails.

        Only this assignment is released. It is no error if the machine was released, destroyed or assigned to another
        project meanwhile. A release that fails never hides an error of the block.

        Raises what `assign` raises.
        """

        def leave(machine: Machine) -> Steps[None]:
            try:
                yield from ProjectCalls.release(self, project, generation=machine.generation)
            except (MachineNotFound, GenerationMismatch):
                return

        return Scope(lambda: ProjectCalls.assign(self, project, wait_seconds=wait_seconds, metadata=metadata), leave)
