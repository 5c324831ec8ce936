"""What is asked about machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import BinaryIO, Final

import msgspec

from worker_orchestrator.client.call_decorators import operation, stream
from worker_orchestrator.client.call_steps import Flow, Request, Steps
from worker_orchestrator.client.calls_base import Asking, was_done
from worker_orchestrator.client.request_building import JSON, deletion, meant_for, of_machine, query_of, upload
from worker_orchestrator.client.retries import exchange
from worker_orchestrator.errors import (
    InvalidInput,
)
from worker_orchestrator.wire.v1 import (
    Destroyed,
    Environment,
    ExecBody,
    ExecResult,
    Machine,
    Machines,
    Usage,
)

__all__ = ["MachineCalls"]

_PAGE: Final = 1000
_TAR: Final = "application/x-tar"
_BYTES: Final = "application/octet-stream"


class MachineCalls(Asking):
    """What is asked about machines."""

    # machines

    @operation
    def machines(
        self, *, states: Sequence[str] = (), project: str | None = None, pool: str | None = None
    ) -> Steps[list[Machine]]:
        """All machines that fit, by id, of whatever number of pages.

        `states`: some of idle, starting, assigned, restarting, stopping, failed.
        """
        found: list[Machine] = []
        query = query_of(project=project, pool=pool, limit=_PAGE) + tuple(("state", state) for state in states)
        after: str | None = None
        while True:
            request = Request(method="GET", path="/v1/machines", query=query + query_of(after=after))
            page = yield from self._ask(request, Machines)
            found += page.machines
            if page.next is None:
                return found
            after = page.next

    @operation
    def get(self, machine_id: str) -> Steps[Machine]:
        """The machine with this id, or with this container id. Raises MachineNotFound."""
        return (yield from self._get(of_machine(machine_id), Machine))

    @operation
    def destroy(self, machine_id: str, *, generation: int | None = None, now: bool = False) -> Steps[Destroyed]:
        """Remove a machine with its container and all that is in it. When this returns, the container is gone.

        The worker of a project has the service's `stop_timeout` to end first; with `now` it has no time.
        With `generation`, only if it is still that assignment's, and it is safe to try again.

        Raises MachineNotFound, GenerationMismatch, EngineUnavailable, EngineRejected.
        """
        request = deletion(of_machine(machine_id), generation, now=now)
        answer = yield from exchange(request, self._service)
        error = self._error_in(answer)
        if generation is not None and was_done(answer, error):
            return Destroyed(machine=machine_id, generation=generation)
        return self._decoded(answer, Destroyed)

    @operation
    def restart(self, machine_id: str, *, generation: int | None = None) -> Steps[Machine]:
        """Start a project's machine again in place, with its files, also where it had failed for good.

        When this returns, its container was started; its state is `restarting` until it answers, which `assign` waits for.
        With `generation`, only if it is still that assignment's. It is sent once: never tried again where it may have been
        done.

        Raises MachineNotFound, NotAssigned, NotRunning, GenerationMismatch, EngineUnavailable, EngineRejected, and
        EngineObstructed for a cause outside.
        """
        request = Request(
            method="POST",
            path=of_machine(machine_id, "restart"),
            query=query_of(generation=generation),
            repeatable=False,
        )
        return (yield from self._ask(request, Machine))

    @stream
    def logs(
        self, machine_id: str, *, tail: int | None = None, follow: bool = False, timestamps: bool = False
    ) -> Flow[bytes]:
        """What the container wrote, in pieces as they come.

        `tail`: only so many lines of the end. `follow`: go on with what it writes from now on. `timestamps`: each line
        begins with its time.

        Raises MachineNotFound, and ServiceUnreachable where the connection breaks off.
        """
        query = query_of(tail=tail, follow=follow or None, timestamps=timestamps or None)
        request = Request(method="GET", path=of_machine(machine_id, "logs"), query=query)
        yield from self._pieces(request, None if follow else self._service.timeout_s)

    @operation
    def stats(self, machine_id: str) -> Steps[Usage]:
        """What the container uses now. Raises MachineNotFound, NotRunning, NotSupported."""
        return (yield from self._get(of_machine(machine_id, "stats"), Usage))

    @operation
    def environment(self, machine_id: str) -> Steps[Environment]:
        """The variables that the container was created with, without their secrets.

        Raises MachineNotFound, NotRunning, NotSupported.
        """
        return (yield from self._get(of_machine(machine_id, "environment"), Environment))

    @operation
    def exec(  # noqa: PLR0913 # one for each thing that a command may need
        self,
        machine_id: str,
        command: Sequence[str],
        *,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        user: str = "",
        workdir: str = "",
        timeout_seconds: float = 60.0,
        generation: int | None = None,
    ) -> Steps[ExecResult]:
        """Run a command in the worker to its end. It is sent once: never tried again where it may have run.

        With `generation`, only if the machine is still that assignment's.

        Raises MachineNotFound, NotRunning, InvalidInput, NotSupported, GenerationMismatch.
        """
        if isinstance(command, str):
            raise InvalidInput(f"command must be a list of words such as ['sh', '-c', {command!r}], not one text.")
        body = ExecBody(
            command=list(command),
            stdin=stdin,
            env=dict(env or {}),
            user=user,
            workdir=workdir,
            timeout_seconds=timeout_seconds,
        )
        request = Request(
            method="POST",
            path=of_machine(machine_id, "exec"),
            headers=JSON | meant_for(generation),
            body=msgspec.json.encode(body),
            repeatable=False,
            takes_s=timeout_seconds,
        )
        return (yield from self._ask(request, ExecResult))

    # files

    @operation
    def read_file(self, machine_id: str, path: str) -> Steps[bytes]:
        """The content of one file in the worker. `path` is absolute.

        Raises MachineNotFound, PathNotFound, and InvalidInput: PathOutOfReach for what only a command reaches.
        """
        request = Request(
            method="GET", path=of_machine(machine_id, "files"), query=(("path", path),), headers={"accept": _BYTES}
        )
        answer = yield from exchange(request, self._service)
        self._check(answer)
        return answer.reply.body

    @operation
    def write_file(self, machine_id: str, path: str, data: bytes, *, generation: int | None = None) -> Steps[None]:
        """Write one file in the worker. `path` is absolute, its folder is there. `generation` as in `exec`.

        Raises MachineNotFound, PathNotFound, GenerationMismatch, and InvalidInput: PathOutOfReach, WorkerReadOnly, or a
        folder is at `path`.
        """
        yield from self._put(machine_id, path, _BYTES, data, generation)

    @stream
    def read_tar(self, machine_id: str, path: str) -> Flow[bytes]:
        """A file or folder of the worker as a tar archive, in pieces; its entries begin with the last name of `path`.

        Raises MachineNotFound, PathNotFound, PathOutOfReach, and ServiceUnreachable where the connection breaks off.
        """
        request = Request(
            method="GET", path=of_machine(machine_id, "files"), query=(("path", path),), headers={"accept": _TAR}
        )
        yield from self._pieces(request, self._service.timeout_s)

    @operation
    def write_tar(
        self, machine_id: str, path: str, data: bytes | BinaryIO, *, generation: int | None = None
    ) -> Steps[None]:
        """Unpack a tar archive into a folder of the worker. A file that can seek is read from where it stands.

        `generation` as in `exec`.

        Raises MachineNotFound, PathNotFound, GenerationMismatch, and InvalidInput: PathOutOfReach, WorkerReadOnly, or it
        cannot be unpacked.
        """
        yield from self._put(machine_id, path, _TAR, data, generation)

    def _put(
        self, machine_id: str, path: str, kind: str, data: bytes | BinaryIO, generation: int | None
    ) -> Steps[None]:
        body = data if isinstance(data, bytes) else upload(data)
        request = Request(
            method="PUT",
            path=of_machine(machine_id, "files"),
            query=(("path", path),),
            headers={"content-type": kind} | meant_for(generation),
            body=body,
            repeatable=isinstance(body, bytes) or body.size is not None,
        )
        self._check((yield from exchange(request, self._service)))
