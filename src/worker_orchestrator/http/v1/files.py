"""Files of a worker: one file as it is, or a folder as a tar archive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from http import HTTPStatus
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.archive import printable
from worker_orchestrator.engines.extras import Files
from worker_orchestrator.errors import InvalidInput
from worker_orchestrator.http.problems import problem
from worker_orchestrator.http.server.streamed_response import ServiceEnd, StreamedResponse, with_first_item
from worker_orchestrator.http.v1 import parameters, single_file
from worker_orchestrator.http.v1.engine_calls import EngineCalls, not_supported

__all__ = ["WorkerFiles"]

TAR: Final = "application/x-tar"


class WorkerFiles:
    """What is under /v1/machines/{id}/files."""

    def __init__(self, orchestrator: Orchestrator, calls: EngineCalls, service_end: ServiceEnd) -> None:
        self._orchestrator, self._calls, self._service_end = orchestrator, calls, service_end

    async def read(self, request: Request) -> Response:
        path = parameters.file_path(request)
        machine = await parameters.path_machine(request, self._orchestrator)
        engine = self._calls.engine
        if not isinstance(engine, Files):
            raise not_supported("read files of a worker")
        is_archive = TAR in request.headers.get("accept", "")
        items = self._orchestrator.uses.while_read(machine, engine.read_files(machine.id, path, follow=not is_archive))
        if is_archive:
            return StreamedResponse(await self._calls.ask(request, with_first_item(items)), self._service_end, TAR)
        content = await self._calls.ask(request, single_file.file_in_archive(items))
        if content is None:
            raise InvalidInput(f"{printable(path)} is not a file. To read it as an archive, send `Accept: {TAR}`.")
        return StreamedResponse(content, self._service_end, "application/octet-stream")

    async def write(self, request: Request) -> Response:
        path = parameters.file_path(request)
        machine = await parameters.path_machine_if_match(request, self._orchestrator)
        engine = self._calls.engine
        if not isinstance(engine, Files):
            raise not_supported("write files in a worker")
        if request.headers.get("content-type", "").partition(";")[0].strip() == TAR:
            upload = _Upload(request)
            await self._write(upload, machine, engine.write_files(machine.id, path, upload.parts()))
            return Response(status_code=204)
        length = request.headers.get("content-length")
        if length is None:
            return problem(
                HTTPStatus.LENGTH_REQUIRED,
                "length_required",
                "Content-Length is required",
                f"Send a single file with its Content-Length, or an archive with `Content-Type: {TAR}`.",
            )
        if path.rpartition("/")[2] in {"", ".", ".."}:
            raise InvalidInput(
                f"path is {path[:40]!r}, but must end in the name of a file. To write a folder, send `Content-Type: {TAR}`."
            )
        upload = _Upload(request)
        await self._write(upload, machine, self._write_one(engine, machine.id, path, int(length), upload))
        return Response(status_code=204)

    async def _write_one(self, engine: Files, machine_id: str, path: str, size: int, upload: _Upload) -> None:
        """Write one file where links lead to: unpacking alone would replace the last link."""
        place = await self._orchestrator.contact.answer_of(engine.place_of(machine_id, path))
        folder, _, name = place.rpartition("/")
        await engine.write_files(machine_id, folder or "/", single_file.archive_of_file(name, size, upload.parts()))

    async def _write(self, upload: _Upload, machine: Machine, work: Coroutine[Any, Any, None]) -> None:
        """Let the engine take what the client sends. The client may take its time; the engine may not."""
        used = self._orchestrator.uses.during(machine, self._calls.when_reachable(work))
        await self._calls.unless_hung_up(upload.request, used, upload.all_read)


class _Upload:
    """The body of a request as it comes in. While it is read, its end is also how we hear that the client has gone."""

    def __init__(self, request: Request) -> None:
        self.request, self.all_read = request, asyncio.Event()

    async def parts(self) -> AsyncGenerator[bytes, None]:
        async for part in self.request.stream():
            yield part
        self.all_read.set()
