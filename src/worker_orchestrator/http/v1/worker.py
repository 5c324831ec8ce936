"""What a worker wrote, what it uses, what it is told to run, and its files. The engine does it, where it can."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from http import HTTPStatus
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.engines.archive import printable
from worker_orchestrator.engines.extras import Environment, Exec, Files, Logs, Stats
from worker_orchestrator.errors import InvalidInput, NotSupported
from worker_orchestrator.http.problems import problem
from worker_orchestrator.http.server.streams import Closing, Held, Streamed, first_of
from worker_orchestrator.http.v1 import parameters, single_file
from worker_orchestrator.http.v1.shapes import replied
from worker_orchestrator.settings.parsers import variable_name
from worker_orchestrator.telemetry.redaction import without_secrets
from worker_orchestrator.wire import v1 as wire

__all__ = ["Inside", "cannot"]

TAR: Final = "application/x-tar"
LONGEST_EXEC_S: Final = 3600
_T = TypeVar("_T")
_USER: Final = re.compile(r"[A-Za-z0-9_.:-]{0,256}")


def cannot(what: str) -> NotSupported:
    """For an engine that lacks this."""
    return NotSupported(f"This engine cannot {what}.")


class Inside:
    """What is under /v1/machines/{id}/ but the terminal."""

    def __init__(self, orchestrator: Orchestrator, closing: Closing) -> None:
        self._orchestrator, self._closing = orchestrator, closing

    async def logs(self, request: Request) -> Response:
        query = request.query_params
        machine = await parameters.the_machine(request, self._orchestrator)
        tail = parameters.number(query, "tail", 0, 1_000_000)
        follow = parameters.flag(query, "follow", default=False)
        timestamps = parameters.flag(query, "timestamps", default=False)
        engine = self._orchestrator.engine
        if not isinstance(engine, Logs):
            raise cannot("read what a worker wrote")
        lines = engine.logs(machine.id, tail=tail, follow=follow, timestamps=timestamps)
        if follow:
            await self._orchestrator.contact.heard()
            source = await _begun(lines)
        else:
            source = await self._asked(request, first_of(lines))
        return Streamed(source, self._closing, "text/plain; charset=utf-8", goes_on=follow)

    async def stats(self, request: Request) -> Response:
        machine = await parameters.the_machine(request, self._orchestrator)
        engine = self._orchestrator.engine
        if not isinstance(engine, Stats):
            raise cannot("measure a worker")
        used = await self._asked(request, engine.stats(machine.id))
        return replied(
            wire.Usage(
                cpu_percent=used.cpu_percent,
                cpu_seconds=used.cpu_seconds,
                memory_bytes=used.memory_bytes,
                memory_limit_bytes=used.memory_limit_bytes,
                processes=used.processes,
                received_bytes=used.received_bytes,
                sent_bytes=used.sent_bytes,
            )
        )

    async def environment(self, request: Request) -> Response:
        machine = await parameters.the_machine(request, self._orchestrator)
        engine = self._orchestrator.engine
        if not isinstance(engine, Environment):
            raise cannot("tell the environment of a worker")
        variables = []
        found = await self._asked(request, engine.environment(machine.id))
        for name, value in sorted(found.items()):
            shown = without_secrets(name, value)
            variables.append(wire.Variable(name=name, value=shown, hidden=shown != value))
        return replied(wire.Environment(variables=variables))

    async def exec(self, request: Request) -> Response:
        body = await parameters.body(request, wire.ExecBody)
        _check(body)
        machine = await parameters.the_machine_seen(request, self._orchestrator)
        engine = self._orchestrator.engine
        if not isinstance(engine, Exec):
            raise cannot("run a command in a worker")
        work = engine.exec(
            machine.id,
            body.command,
            stdin=body.stdin.encode(),
            env=body.env,
            user=body.user,
            workdir=body.workdir,
            timeout_s=body.timeout_seconds,
        )
        begun = asyncio.ensure_future(self._once_heard(work, body.timeout_seconds))
        done = await _unless_hung_up(request, begun)
        return replied(
            wire.ExecResult(
                exit_code=done.exit_code,
                stdout=done.stdout.decode(errors="replace"),
                stderr=done.stderr.decode(errors="replace"),
                truncated=done.truncated,
            )
        )

    async def read_file(self, request: Request) -> Response:
        path = parameters.file_path(request)
        machine = await parameters.the_machine(request, self._orchestrator)
        engine = self._orchestrator.engine
        if not isinstance(engine, Files):
            raise cannot("read files of a worker")
        if TAR in request.headers.get("accept", ""):
            archive = await self._asked(request, first_of(engine.read_files(machine.id, path)))
            return Streamed(archive, self._closing, TAR)
        content = await self._asked(request, single_file.single(engine.read_files(machine.id, path, follow=True)))
        if content is None:
            raise InvalidInput(f"{printable(path)} is no file: ask for it with `Accept: {TAR}`.")
        return Streamed(content, self._closing, "application/octet-stream")

    async def write_file(self, request: Request) -> Response:
        path = parameters.file_path(request)
        machine = await parameters.the_machine_seen(request, self._orchestrator)
        engine = self._orchestrator.engine
        if not isinstance(engine, Files):
            raise cannot("write files in a worker")
        if request.headers.get("content-type", "").partition(";")[0].strip() == TAR:
            sent = _Sent(request)
            await self._write(sent, engine.write_files(machine.id, path, sent.parts()))
            return Response(status_code=204)
        length = request.headers.get("content-length")
        if length is None:
            return problem(
                HTTPStatus.LENGTH_REQUIRED,
                "length_required",
                "The length is needed",
                f"Send a single file with its Content-Length, or an archive as {TAR}.",
            )
        if path.rpartition("/")[2] in {"", ".", ".."}:
            raise InvalidInput(f"path is {path[:40]!r}, which names no file. A folder is written as {TAR}.")
        sent = _Sent(request)
        await self._write(sent, self._write_one(engine, machine.id, path, int(length), sent))
        return Response(status_code=204)

    async def _write_one(self, engine: Files, machine_id: str, path: str, size: int, sent: _Sent) -> None:
        """A file, at the place to which links lead: unpacking alone would put it in the place of a link."""
        place = await self._orchestrator.contact.answer_of(engine.place_of(machine_id, path))
        folder, _, name = place.rpartition("/")
        await engine.write_files(machine_id, folder or "/", single_file.of_file(name, size, sent.parts()))

    async def _asked(self, request: Request, question: Coroutine[Any, Any, _T]) -> _T:
        """What the engine says, as far as it answers at all and the client waits for it."""
        return await _unless_hung_up(request, asyncio.ensure_future(self._orchestrator.contact.answer_of(question)))

    async def _write(self, sent: _Sent, work: Coroutine[Any, Any, None]) -> None:
        """Have the engine take what is sent. The client may take its time to send it, and the engine may not."""
        await _unless_hung_up(sent.request, asyncio.ensure_future(self._once_heard(work)), sent.all_there)

    async def _once_heard(self, work: Coroutine[Any, Any, _T], within_s: float = math.inf) -> _T:
        """What this returns or raises. It is begun if the engine answers by then, and has all its time from there."""
        try:
            await self._orchestrator.contact.heard(within_s)
        except BaseException:
            work.close()
            raise
        return await work


class _Sent:
    """The body of a request as it comes in. While it does, its end is also how one hears that the client has gone."""

    def __init__(self, request: Request) -> None:
        self.request, self.all_there = request, asyncio.Event()

    async def parts(self) -> AsyncGenerator[bytes, None]:
        async for part in self.request.stream():
            yield part
        self.all_there.set()


async def _begun(lines: AsyncIterator[bytes]) -> Held:
    """A follower's stream. It begins at once, though nothing may be written for hours."""
    first = asyncio.ensure_future(anext(lines, None))

    async def all_of_them() -> AsyncGenerator[bytes, None]:
        item = await first
        while item is not None:
            yield item
            item = await anext(lines, None)

    async def let_go() -> None:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        close = getattr(lines, "aclose", None)
        if close is not None:
            await close()

    try:
        await asyncio.wait({first}, timeout=0.25)
        if first.done():
            await first
    except BaseException:
        await let_go()
        raise
    return Held(all_of_them(), let_go)


async def _unless_hung_up(request: Request, work: asyncio.Future[_T], is_read: asyncio.Event | None = None) -> _T:
    """What this work gives. If the client goes, it is cancelled. Until `is_read` the work itself reads the request."""

    async def hung_up() -> None:
        if is_read is not None:
            await is_read.wait()
        await parameters.hang_up(request)

    leaving = asyncio.ensure_future(hung_up())
    ends: set[asyncio.Future[Any]] = {work, leaving}
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise asyncio.CancelledError("the client hung up")
        return work.result()
    finally:
        leaving.cancel()
        if not work.done():
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


def _check(body: wire.ExecBody) -> None:
    if not 1 <= len(body.command) <= 1000:
        raise InvalidInput(f"command has {len(body.command)} words, but must have 1 to 1000.")
    for word in body.command:
        parameters.fit_text(word, "command", 131_072)
    for name, value in body.env.items():
        _check_variable(name)
        parameters.fit_text(value, f"env {name}", 131_072)
    if not _USER.fullmatch(body.user):
        raise InvalidInput(f"user is {body.user[:40]!r}, but must be a name or number, as web or 1000:1000.")
    if parameters.fit_text(body.workdir, "workdir", 4096) and not body.workdir.startswith("/"):
        raise InvalidInput(f"workdir is {body.workdir[:40]!r}, but must be an absolute path in the worker.")
    parameters.within(body.timeout_seconds, "timeout_seconds", 0.001, LONGEST_EXEC_S)


def _check_variable(name: str) -> None:
    try:
        variable_name(name)
    except ValueError:
        said = f'env has the name {name[:40]!r}, but a name must not be empty, or have "=" or NUL in it.'
        raise InvalidInput(said) from None
