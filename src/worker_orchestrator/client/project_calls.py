"""The operations on projects: how a project gets its machine and gives it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypedDict, Unpack

import msgspec

from worker_orchestrator.client.call_decorators import operation, scope
from worker_orchestrator.client.call_steps import Request, Scope, Steps
from worker_orchestrator.client.calls_base import CallsBase, was_done_before
from worker_orchestrator.client.keeping import keep_alive, one_try
from worker_orchestrator.client.late_files import LateFiles, encoded_files
from worker_orchestrator.client.request_building import JSON, deletion, generation_header, project_path, query_of
from worker_orchestrator.client.retries import Service, send_with_retries
from worker_orchestrator.client.set_up_ended import NOTHING_SET_UP, was_not_set_up
from worker_orchestrator.errors import GenerationMismatch, InvalidInput, MachineNotFound, OrchestratorError
from worker_orchestrator.wire.v1 import AssignBody, KeepBody, Link, LinkBody, Machine, Released, WakeBody, Why

__all__ = ["ProjectCalls", "Values"]

SETUP_S: Final = 60.0
"""How long setting up a worker may take, if its pool says nothing else."""


class Values(TypedDict, total=False):
    """What configures a worker that runs already, in a pool that takes values. The same values again change nothing.

    `files` is the path of a folder, a tar archive, or a mapping of relative paths to contents; at most 1 MiB. `replace`:
    also where it was configured with other values.
    """

    env: Mapping[str, str] | None
    secrets: Mapping[str, str] | None
    files: LateFiles | None
    replace: bool


class ProjectCalls(CallsBase):
    """Operations on projects."""

    @operation
    def assign(  # noqa: PLR0913 # what /v1 can ask for
        self,
        project: str,
        *,
        wait_seconds: float | None = None,
        metadata: Mapping[str, str] | None = None,
        pool: str | None = None,
        ttl: float | None = None,
        idle_timeout: float | None = None,
        max_age: float | None = None,
        confirm_within: float | None = None,
        **values: Unpack[Values],
    ) -> Steps[Machine]:
        """The machine of this project: the one it has, else one that is assigned now. Safe to call again.

        `wait_seconds`: how long to wait for a machine in all, 0 for not at all, None for as long as the service is set to.
        `metadata`: at most 32 short texts to keep with the machine; they replace those that it has.
        `pool`: a machine of exactly this pool. None: the machine that the project has, of any pool, else one of `default`.

        Deadlines, in seconds; 0 for none of this kind, None for what the pool says, or for what a machine has that is the
        project's already. `ttl`: since the last `assign` or `keep`. `idle_timeout`: since the last use. `max_age`: since the
        assignment. `confirm_within`: since the assignment, if it is not used at all.

        `env`, `secrets`, `files` and `replace` configure the worker: see `Values`.

        Raises NoMachineAvailable, MachineFailed, InvalidProject, InvalidInput, PoolNotFound; OtherPool if the project has a
        machine of another pool, or waits for one. With values also SetupFailed and ConfiguredOtherwise.
        """
        body = AssignBody(
            wait_seconds=wait_seconds,
            metadata=None if metadata is None else dict(metadata),
            pool=pool,
            ttl=ttl,
            idle_timeout=idle_timeout,
            max_age=max_age,
            confirm_within=confirm_within,
            **_encoded(**values),
        )
        return (yield from self._assign(project, body))

    def _assign(self, project: str, body: AssignBody) -> Steps[Machine]:
        def encoded(left_s: float | None) -> bytes:
            return msgspec.json.encode(msgspec.structs.replace(body, wait_seconds=left_s))

        request = Request(
            method="PUT",
            path=project_path(project, "machine"),
            headers=JSON,
            body=encoded(body.wait_seconds),
            takes_s=(body.wait_seconds or 0) + (SETUP_S if _has_values(body) else 0),
            waits_s=body.wait_seconds,
            body_for=encoded,
        )
        return (yield from self._send(request, Machine))

    @operation
    def machine_of(self, project: str) -> Steps[Machine]:
        """The machine that this project has. Never assigns one. Raises ProjectHasNoMachine."""
        return (yield from self._get(project_path(project, "machine"), Machine))

    @operation
    def keep(
        self,
        project: str,
        *,
        ttl: float | None = None,
        idle_timeout: float | None = None,
        max_age: float | None = None,
        confirm_within: float | None = None,
        generation: int | None = None,
    ) -> Steps[None]:
        """Keep the machine of this project: its `ttl` and its idle time begin anew. Never assigns one. Safe to call again.

        Deadlines in seconds take the place of those that it has; 0 for none of this kind. With the `generation` of a Machine
        it never keeps the machine of a later assignment.

        Raises ProjectHasNoMachine, GenerationMismatch, InvalidInput.
        """
        body = KeepBody(ttl=ttl, idle_timeout=idle_timeout, max_age=max_age, confirm_within=confirm_within)
        yield from self._keep(project, body, generation, self._service)

    def _keep(self, project: str, body: KeepBody, generation: int | None, service: Service) -> Steps[None]:
        request = Request(
            method="POST",
            path=project_path(project, "machine/keepalive"),
            headers={**JSON, **generation_header(generation)},
            body=msgspec.json.encode(body),
        )
        self._check((yield from send_with_retries(request, service)))

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
    def sleep(self, project: str, *, generation: int | None = None) -> Steps[Machine]:
        """Put the machine of this project to sleep: it is stopped, and the project keeps it with its files.

        Its container has stopped when this returns. One that sleeps already is left as it is. With `generation`, only the
        machine of that assignment is put to sleep. The request is sent once: it is never sent again if it may have been
        carried out.

        Raises ProjectHasNoMachine, GenerationMismatch, NotSupported, EngineUnavailable, EngineRejected; NotRunning if it
        does not serve.
        """
        request = Request(
            method="POST",
            path=project_path(project, "machine/sleep"),
            query=query_of(generation=generation),
            repeatable=False,
        )
        return (yield from self._send(request, Machine))

    @operation
    def wake(self, project: str, *, generation: int | None = None, wait_seconds: float | None = None) -> Steps[Machine]:
        """Wake the machine of this project, in place and with its files, and return it once it answers. Safe to call again.

        One that is awake is returned as it is. With `generation`, only the machine of that assignment is woken.
        `wait_seconds` is as for `assign`, which wakes a machine as well.

        Raises ProjectHasNoMachine, GenerationMismatch, MachineFailed, NotRunning, NoMachineAvailable; HostPortTaken if
        another process has its host port meanwhile: then its files are kept, and a later call may succeed.
        """

        def body(left_s: float | None) -> bytes:
            return msgspec.json.encode(WakeBody(wait_seconds=left_s))

        request = Request(
            method="POST",
            path=project_path(project, "machine/wake"),
            query=query_of(generation=generation),
            headers=JSON,
            body=body(wait_seconds),
            takes_s=wait_seconds or 0,
            waits_s=wait_seconds,
            body_for=body,
        )
        return (yield from self._send(request, Machine))

    @operation
    def why(self, project: str) -> Steps[Why]:
        """How this project got its machine: warm or cold and why, and how many milliseconds each stage took.

        Raises ProjectHasNoMachine.
        """
        return (yield from self._get(project_path(project, "why"), Why))

    @scope
    def machine(  # noqa: PLR0913 # as above
        self,
        project: str,
        *,
        wait_seconds: float | None = None,
        metadata: Mapping[str, str] | None = None,
        pool: str | None = None,
        ttl: float | None = None,
        idle_timeout: float | None = None,
        max_age: float | None = None,
        confirm_within: float | None = None,
        **values: Unpack[Values],
    ) -> Scope[Machine]:
        """A machine for the time of a `with` block: assigned before it, and released after it, also if the block fails.

        Only this assignment is released. It is no error if the machine was released, destroyed or assigned to another
        project meanwhile. A release that fails never hides an error of the block.

        Where a `ttl`, an `idle_timeout` or a `confirm_within` limits how long the project has it, the block keeps it, by a
        keepalive every third of the shortest: from a thread, or with asyncio from a task. While the service is away it
        tries again. If the project loses the machine all the same, it logs a warning.

        Raises what `assign` raises. If setting it up fails, with whatever error of the service, the machine is released.
        """
        body = AssignBody(
            wait_seconds=wait_seconds,
            metadata=None if metadata is None else dict(metadata),
            pool=pool,
            ttl=ttl,
            idle_timeout=idle_timeout,
            max_age=max_age,
            confirm_within=confirm_within,
            **_encoded(**values),
        )
        return Scope(
            lambda: self._assign_or_give_back(project, body),
            lambda machine: self._give_back(project, machine),
            lambda machine: self._keep_alive(project, machine),
        )

    @operation
    def link(self, project: str, *, seconds: float | None = None, port: str | None = None) -> Steps[Link]:
        """A URL by which the preview of a project is seen for so long (None: an hour), of its first port or of this one.

        It ends early when the project loses its machine. Raises ProjectHasNoMachine, InvalidInput, NotSupported.
        """
        body = msgspec.json.encode(LinkBody(seconds=seconds, port=port))
        request = Request(method="POST", path=project_path(project, "links"), headers=JSON, body=body)
        return (yield from self._send(request, Link))

    def _assign_or_give_back(self, project: str, body: AssignBody) -> Steps[Machine]:
        """Nobody uses a machine whose block does not begin, but its project has it."""
        try:
            return (yield from self._assign(project, body))
        except NOTHING_SET_UP:
            raise
        except OrchestratorError as failure:
            if _has_values(body):
                yield from self._give_back_after(project, failure)
            raise

    def _give_back_after(self, project: str, failure: OrchestratorError) -> Steps[None]:
        """Release the machine whose set-up ended with this error. What goes wrong with that is a note on it."""
        try:
            machine = yield from self._get(project_path(project, "machine"), Machine)
            if was_not_set_up(machine, failure):
                yield from self._give_back(project, machine)
        except MachineNotFound:
            pass  # it was removed for that
        except OrchestratorError as error:
            failure.add_note(f"Its machine was not released: {error}")

    def _give_back(self, project: str, machine: Machine) -> Steps[None]:
        try:
            yield from ProjectCalls.release(self, project, generation=machine.generation)
        except (MachineNotFound, GenerationMismatch):
            return

    def _keep_alive(self, project: str, machine: Machine) -> Steps[None] | None:
        service = one_try(self._service, machine)
        return keep_alive(machine, lambda: self._keep(project, KeepBody(), machine.generation, service))


def _has_values(body: AssignBody) -> bool:
    return body.env is not None or body.secrets is not None or body.files is not None


def _texts(what: str, values: Mapping[str, str]) -> dict[str, str]:
    """Bytes would be sent as base64, which is not what a worker expects. Raises InvalidInput, which shows no value."""
    given: object = values
    if not isinstance(given, Mapping):
        raise InvalidInput(f"{what} must be a mapping of names to texts.")
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidInput(f"{what} has something else than text under {name!r}: decode it, or send it as a file.")
    return dict(values)


def _encoded(
    *,
    env: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    files: LateFiles | None = None,
    replace: bool = False,
) -> dict[str, Any]:
    """As an AssignBody has them."""
    return {
        "env": None if env is None else _texts("env", env),
        "secrets": None if secrets is None else _texts("secrets", secrets),
        "files": None if files is None else encoded_files(files),
        "replace": replace or None,
    }
