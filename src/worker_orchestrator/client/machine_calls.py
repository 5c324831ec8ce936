"""The operations on machines: listing, life cycle, logs, commands and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import BinaryIO, Final

import msgspec

from worker_orchestrator.client.call_decorators import operation, stream
from worker_orchestrator.client.call_steps import Flow, Request, Steps
from worker_orchestrator.client.calls_base import CallsBase, was_done_before
from worker_orchestrator.client.exec_output import JSON_LINES, streamed_output
from worker_orchestrator.client.request_building import (
    JSON,
    deletion,
    generation_header,
    machine_path,
    query_of,
    upload_of,
)
from worker_orchestrator.client.retries import send_with_retries
from worker_orchestrator.errors import InvalidInput
from worker_orchestrator.wire.v1 import (
    Destroyed,
    Environment,
    ExecBody,
    ExecEnd,
    ExecOutput,
    ExecResult,
    Machine,
    Machines,
    Usage,
)

__all__ = ["MachineCalls"]

_PAGE: Final = 1000
_TAR: Final = "application/x-tar"
_BYTES: Final = "application/octet-stream"


class MachineCalls(CallsBase):
    """Operations on machines."""

    # machines

    @operation
    def machines(
        self, *, states: Sequence[str] = (), project: str | None = None, pool: str | Sequence[str] | None = None
    ) -> Steps[list[Machine]]:
        """All machines that match the filters, ordered by id. Reads as many pages as there are.

        `states`: some of idle, parked, starting, assigned, restarting, sleeping, stopping,
        failed. `pool`: one pool, or several.
        """
        machines: list[Machine] = []
        pools = (pool,) if isinstance(pool, str) else pool or ()
        query = query_of(project=project, limit=_PAGE) + tuple(("state", state) for state in states)
        query += tuple(("pool", name) for name in pools)
        after: str | None = None
        while True:
            request = Request(method="GET", path="/v1/machines", query=query + query_of(after=after))
            page = yield from self._send(request, Machines)
            machines += page.machines
            if page.next is None:
                return machines
            after = page.next

    @operation
    def get(self, machine_id: str) -> Steps[Machine]:
        """The machine with this id or this container id. Raises MachineNotFound."""
        return (yield from self._get(machine_path(machine_id), Machine))

    @operation
    def destroy(self, machine_id: str, *, generation: int | None = None, now: bool = False) -> Steps[Destroyed]:
        """Remove a machine with its container and all files in it. When this returns, the container is gone.

        The worker of a project gets the service's `stop_timeout` to end first; with `now` it gets no time.
        With `generation`, only the machine of that assignment is removed, and the call is safe to try again.

        Raises MachineNotFound, GenerationMismatch, EngineUnavailable, EngineRejected.
        """
        request = deletion(machine_path(machine_id), generation, now=now)
        final = yield from send_with_retries(request, self._service)
        error = self._error_of(final)
        if generation is not None and was_done_before(final, error):
            return Destroyed(machine=machine_id, generation=generation)
        return self._decode(final, Destroyed)

    @operation
    def restart(self, machine_id: str, *, generation: int | None = None) -> Steps[Machine]:
        """Start a project's machine again in place, with its files, also if it has failed for good.

        When this returns, its container was started; its state is `restarting` until it answers, which `assign` waits for.
        With `generation`, only the machine of that assignment is restarted. The request is sent once: it is never sent again
        if it may have been carried out.

        Raises MachineNotFound, NotAssigned, NotRunning, GenerationMismatch, EngineUnavailable, EngineRejected, and
        EngineObstructed where something outside of the orchestrator stands in the way, such as a full disk.
        """
        request = Request(
            method="POST",
            path=machine_path(machine_id, "restart"),
            query=query_of(generation=generation),
            repeatable=False,
        )
        return (yield from self._send(request, Machine))

    @stream
    def logs(
        self, machine_id: str, *, tail: int | None = None, follow: bool = False, timestamps: bool = False
    ) -> Flow[bytes]:
        """The output of the container, in pieces as they arrive. A piece may end in the middle of a line.

        `tail`: only this many of the last lines. `follow`: continue with what it writes from now on. `timestamps`: begin
        each line with its time.

        Raises MachineNotFound, and ServiceUnreachable if the connection breaks off.
        """
        query = query_of(tail=tail, follow=follow or None, timestamps=timestamps or None)
        request = Request(method="GET", path=machine_path(machine_id, "logs"), query=query)
        yield from self._pieces(request, None if follow else self._service.timeout_s)

    @operation
    def stats(self, machine_id: str) -> Steps[Usage]:
        """What the container uses now: processors, memory, network. Raises MachineNotFound, NotRunning, NotSupported."""
        return (yield from self._get(machine_path(machine_id, "stats"), Usage))

    @operation
    def environment(self, machine_id: str) -> Steps[Environment]:
        """The environment variables with which the container was created, without their secrets.

        Raises MachineNotFound, NotRunning, NotSupported.
        """
        return (yield from self._get(machine_path(machine_id, "environment"), Environment))

    @operation
    def exec(  # noqa: PLR0913 # one for each property of a command
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
        """Run a command in the worker and wait for its end. It is sent once: it is never sent again if it may have run.

        `timeout_seconds`: the command is killed after this time. With `generation`, it runs only on the machine of that
        assignment.

        Raises MachineNotFound, NotRunning, InvalidInput, NotSupported, GenerationMismatch.
        """
        body = _exec_body(command, stdin, env, user, workdir, timeout_seconds)
        return (yield from self._send(_exec_request(machine_id, body, generation), ExecResult))

    @stream
    def exec_stream(  # noqa: PLR0913 # one for each property of a command
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
    ) -> Flow[ExecOutput | ExecEnd]:
        """As `exec`, but gives the output while the command runs: an ExecOutput for each piece, and one ExecEnd as the last.

        All output comes, however much it is. A command whose output is not read has to wait, and after 30 s the service ends
        it. It also ends the command if you close the iterator. A service of an older version gives all output at the end.

        Raises what `exec` raises, also after some output, and ServiceUnreachable if the connection breaks off.
        """
        body = _exec_body(command, stdin, env, user, workdir, timeout_seconds)
        request = _exec_request(machine_id, body, generation, {"accept": JSON_LINES})
        final = yield from send_with_retries(request, self._service, streamed=True)
        self._check(final)
        yield from streamed_output(final, self.url, self._error_of)

    # files

    @operation
    def read_file(self, machine_id: str, path: str) -> Steps[bytes]:
        """The content of one file in the worker. `path` is absolute.

        Raises MachineNotFound, PathNotFound, and InvalidInput: PathOutOfReach for a path that only a command can read.
        """
        request = Request(
            method="GET", path=machine_path(machine_id, "files"), query=(("path", path),), headers={"accept": _BYTES}
        )
        final = yield from send_with_retries(request, self._service)
        self._check(final)
        return final.reply.body

    @operation
    def write_file(self, machine_id: str, path: str, data: bytes, *, generation: int | None = None) -> Steps[None]:
        """Write one file in the worker. `path` is absolute, and its folder exists. `generation` as in `exec`.

        Raises MachineNotFound, PathNotFound, GenerationMismatch, and InvalidInput: PathOutOfReach, WorkerReadOnly, or
        `path` is a folder.
        """
        yield from self._put(machine_id, path, _BYTES, data, generation)

    @stream
    def read_tar(self, machine_id: str, path: str) -> Flow[bytes]:
        """A file or folder of the worker as a tar archive, in pieces; its entries begin with the last name of `path`.

        Raises MachineNotFound, PathNotFound, PathOutOfReach, and ServiceUnreachable if the connection breaks off.
        """
        request = Request(
            method="GET", path=machine_path(machine_id, "files"), query=(("path", path),), headers={"accept": _TAR}
        )
        yield from self._pieces(request, self._service.timeout_s)

    @operation
    def write_tar(
        self, machine_id: str, path: str, data: bytes | BinaryIO, *, generation: int | None = None
    ) -> Steps[None]:
        """Unpack a tar archive into a folder of the worker. A file that can seek is read from its current position.

        `generation` as in `exec`.

        Raises MachineNotFound, PathNotFound, GenerationMismatch, and InvalidInput: PathOutOfReach, WorkerReadOnly, or the
        archive cannot be unpacked.
        """
        yield from self._put(machine_id, path, _TAR, data, generation)

    def _put(
        self, machine_id: str, path: str, kind: str, data: bytes | BinaryIO, generation: int | None
    ) -> Steps[None]:
        body = data if isinstance(data, bytes) else upload_of(data)
        request = Request(
            method="PUT",
            path=machine_path(machine_id, "files"),
            query=(("path", path),),
            headers={"content-type": kind} | generation_header(generation),
            body=body,
            repeatable=isinstance(body, bytes) or body.size is not None,
        )
        self._check((yield from send_with_retries(request, self._service)))


def _exec_body(
    command: Sequence[str], stdin: str, env: Mapping[str, str] | None, user: str, workdir: str, timeout_seconds: float
) -> ExecBody:
    if isinstance(command, str):
        raise InvalidInput(f"command must be a list of words such as ['sh', '-c', {command!r}], not one string.")
    return ExecBody(
        command=list(command),
        stdin=stdin,
        env=dict(env or {}),
        user=user,
        workdir=workdir,
        timeout_seconds=timeout_seconds,
    )


def _exec_request(
    machine_id: str, body: ExecBody, generation: int | None, headers: Mapping[str, str] | None = None
) -> Request:
    return Request(
        method="POST",
        path=machine_path(machine_id, "exec"),
        headers={**JSON, **generation_header(generation), **(headers or {})},
        body=msgspec.json.encode(body),
        repeatable=False,
        takes_s=body.timeout_seconds,
    )
