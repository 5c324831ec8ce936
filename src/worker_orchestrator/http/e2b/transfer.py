"""Files into and out of a sandbox, as E2B's agent takes and gives them."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import anyio.to_thread
import msgspec
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.extras import Exec, Files
from worker_orchestrator.errors import PathNotFound
from worker_orchestrator.http.e2b.access import Access
from worker_orchestrator.http.e2b.refusal import Refusal
from worker_orchestrator.http.e2b.users import User, Users
from worker_orchestrator.http.server.streamed_response import ServiceEnd, StreamedResponse
from worker_orchestrator.http.v1.engine_calls import EngineCalls, not_supported
from worker_orchestrator.http.v1.single_file import archive_of_file, file_in_archive

__all__ = ["Transfer"]

_PIECE_BYTES: Final = 256 * 1024
_IN_MEMORY_BYTES: Final = 1024 * 1024
_MOST_FILES: Final = 200
_PREPARE: Final = r"""
for each; do
  mkdir -p -- "${each%/*}/" || exit 1
  stat -L -c '%a %u %g' -- "$each" 2>/dev/null || echo new
done
"""
"""Makes the folder of each, and tells the mode and the owner of what is there already."""


@dataclass(frozen=True, slots=True)
class _As:
    """How a file is written: as it was, if it was there."""

    mode: int
    uid: int
    gid: int


class Transfer:
    """What is at /e2b/files."""

    def __init__(
        self, orchestrator: Orchestrator, calls: EngineCalls, access: Access, users: Users, end: ServiceEnd
    ) -> None:
        self._orchestrator, self._calls, self._access, self._users = orchestrator, calls, access, users
        self._end = end

    async def read(self, request: Request) -> Response:
        machine = await self._access.machine_of(request)
        given = request.query_params.get("path", "")
        own = given.startswith("/") and "\0" not in given
        path = given if own else (await self._users.of(request, machine)).path(given)
        items = self._orchestrator.uses.while_read(machine, self._files.read_files(machine.id, path, follow=True))
        try:
            content = await self._calls.ask(request, file_in_archive(items))
        except PathNotFound:
            raise Refusal(404, "not_found", f"The path {path!r} does not exist.") from None
        if content is None:
            raise Refusal.invalid(f"The path {path!r} is not a file.")
        return StreamedResponse(content, self._end, "application/octet-stream")

    async def write(self, request: Request) -> Response:
        machine = await self._access.machine_of(request)
        user = await self._users.of(request, machine)
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refusal.missing("compressed uploads")
        if any(name.startswith("x-metadata-") for name in request.headers):
            raise Refusal.missing("metadata of files")
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            return await self._write_form(request, machine, user)
        with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as held:
            async for part in request.stream():
                await anyio.to_thread.run_sync(held.write, part)
            path, size = user.path(request.query_params.get("path", "")), held.tell()
            held.seek(0)
            (written_as,) = await self._prepare(machine, user, [path])
            return _written([await self._write_one(machine, written_as, path, size, _pieces(held))])

    async def _write_form(self, request: Request, machine: Machine, user: User) -> Response:
        """A form of files. A path in the query is that of the only one; else each has its path for a name."""
        try:
            form = await request.form(max_files=_MOST_FILES, max_fields=10)
        except HTTPException as error:
            raise Refusal.invalid(f"The form cannot be read: {error.detail}") from None
        try:
            files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
            given = request.query_params.get("path")
            if not files:
                raise Refusal.invalid("The form has no file.")
            if given and len(files) > 1:
                raise Refusal.invalid("The form has several files, so leave path out: each is written at its name.")
            places = [(user.path(given or each.filename or ""), each) for each in files]
            prepared = await self._prepare(machine, user, [path for path, _ in places])
            return _written(
                [
                    await self._write_one(machine, written_as, path, each.size or 0, _pieces(each.file))
                    for (path, each), written_as in zip(places, prepared, strict=True)
                ]
            )
        finally:
            await form.close()

    async def _prepare(self, machine: Machine, user: User, paths: list[str]) -> list[_As]:
        engine = self._orchestrator.engine
        assert isinstance(engine, Exec), "its user was looked up"
        done = await engine.exec(machine.id, ["sh", "-c", _PREPARE, "sh", *paths], user=user.name, timeout_s=30)
        if done.exit_code != 0:
            raise Refusal.invalid(done.stderr.decode(errors="replace").strip()[:300] or "The folder could not be made.")
        told = [line.split() for line in done.stdout.decode().splitlines()]
        return [
            _As(int(one[0], 8), int(one[1]), int(one[2])) if one[1:] else _As(0o644, user.uid, user.gid) for one in told
        ]

    async def _write_one(
        self, machine: Machine, written_as: _As, path: str, size: int, content: AsyncIterator[bytes]
    ) -> dict[str, str]:
        """Write one file where links lead to."""
        place = await self._orchestrator.contact.answer_of(self._files.place_of(machine.id, path))
        folder, _, name = place.rpartition("/")
        if name in {"", ".", ".."}:
            raise Refusal.invalid(f"The path {path!r} must end in the name of a file.")
        owner = (written_as.uid, written_as.gid)
        archive = archive_of_file(name, size, content, mode=written_as.mode, owner=owner)
        work = self._calls.when_reachable(self._files.write_files(machine.id, folder or "/", archive))
        await self._orchestrator.uses.during(machine, work)
        return {"name": path.rpartition("/")[2], "type": "file", "path": path}

    @property
    def _files(self) -> Files:
        engine = self._calls.engine
        if not isinstance(engine, Files):
            raise not_supported("copy files of a worker")
        return engine


async def _pieces(held: Any) -> AsyncIterator[bytes]:
    """What was held in memory, or on disk, from its beginning."""
    while piece := await anyio.to_thread.run_sync(held.read, _PIECE_BYTES):
        yield piece


def _written(entries: list[dict[str, str]]) -> Response:
    return Response(msgspec.json.encode(entries), media_type="application/json")
