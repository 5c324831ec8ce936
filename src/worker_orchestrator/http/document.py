"""The routes of the API document: exactly its paths, statuses and keys.

A request is a method, a path and what `Request` says of its headers; a route returns a `Reply` and knows nothing of ASGI.
Errors of the core become the document's statuses here, route by route, since the document gives the same error different
statuses on different routes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from worker_orchestrator import __version__
from worker_orchestrator.control.caller import CALLER, is_visible, pool_of_caller, recorded, shown, shown_project
from worker_orchestrator.control.deciding.seats import HangUp
from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.control.reading.views import MachineView
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.core.project import is_reserved, project_id
from worker_orchestrator.errors import (
    CommitFailed,
    EngineError,
    EngineRejected,
    InvalidProject,
    MachineFailed,
    MachineNotFound,
    NoMachineAvailable,
    PoolNotFound,
    ProjectHasNoMachine,
)
from worker_orchestrator.http.machine_url import SHORT_ID, url_start
from worker_orchestrator.http.reply import (
    RETRY_S,
    Reply,
    allowed_methods,
    encoded,
    failure,
    method_not_allowed,
    retry_after,
)
from worker_orchestrator.key_errors import KeyLimitReached
from worker_orchestrator.wire.document import (
    Assigned,
    Broken,
    Counts,
    Failure,
    Healthy,
    Listed,
    Listing,
    Message,
    decode_object,
)

__all__ = ["Document", "Request"]

_NO_MACHINE: Final = "Failed to create worker or no machines available"
_FAILED: Final = "The machine of this project failed"
"""Other words than those of a full pool, since asking again does not help."""
_LIMIT: Final = "The key has as many machines as it may have"
_DESTROY_FAILED: Final = "Failed to destroy container"
_BROKEN: Final = "Internal server error"
_FENCED: Final = (
    "This route supports neither If-Match nor generation, so nothing was done. "
    "Release with DELETE /v1/projects/{project}/machine, destroy with DELETE /v1/machines/{id}."
)


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `body` reads it whole, `hung_up` returns when the client has gone.

    `assign_refusal` is the reply if this request asks for a machine and may not have one; else None. `is_fenced`: the
    caller insists on a generation, which only /v1 supports.
    """

    method: str
    path: str
    assign_refusal: Reply | None
    body: Callable[[], Awaitable[bytes]]
    hung_up: HangUp
    is_fenced: bool = False


class Document:
    """The document's API over one orchestrator. `advertise_host` is the host in the URLs of machines."""

    def __init__(self, orchestrator: Orchestrator, advertise_host: str) -> None:
        self._orchestrator, self._short_way = orchestrator, orchestrator.short_way
        self._host = advertise_host
        self._listed_views: list[MachineView] | None = None
        self._listing = b""  # of these views, encoded: while nothing changes, the orchestrator returns the same list
        self._url_start = url_start(advertise_host)
        self._elsewhere = orchestrator.elsewhere

    async def answer(self, request: Request) -> Reply:
        """The reply to a request whose caller may call. One trailing slash changes nothing."""
        reply = await self._answer(request)
        if CALLER.get() is not None and isinstance(reply.body, Failure):
            return replace(reply, body=replace(reply.body, message=shown(reply.body.message)))
        return reply

    async def _answer(self, request: Request) -> Reply:
        if request.is_fenced and request.method in {"DELETE", "POST"}:
            return failure(400, "No generation here", _FENCED)
        match request.path.removesuffix("/").split("/"):
            case [""]:
                return (
                    _only("GET", request, await _index())
                    if request.method != "OPTIONS"
                    else allowed_methods("GET, HEAD")
                )
            case ["", "health"]:
                return await self._read(request, self._health)
            case ["", "machines", "list"]:
                return await self._read(request, self._list)
            case ["", "destroy"]:
                return await self._destroy(request) if request.method == "POST" else _not_allowed(request, "POST")
            case ["", name] if is_reserved(name):
                return failure(404, "Not found", f"{name!r} is a reserved name and cannot be a project id.")
            case ["", name] if name:
                return await self._project(request, name)
            case _:
                return failure(404, "Not found", f"There is nothing at {request.path[:200]}.")

    def at_once(self, method: str, name: str, answered: Callable[[Reply], None]) -> bool:
        """Assign or release if that waits for nothing but the store: then `answered` gets the reply, perhaps at once.

        `name` is a project id. If it takes more than that, or is refused, this returns False and has changed nothing.
        """
        if method == "GET":
            return self._short_way.assign(name, None, lambda outcome: answered(self._assign_reply(outcome)))
        return self._short_way.release(name, lambda failure: answered(self._release_reply(name, failure)))

    def _assign_reply(self, outcome: Machine | BaseException) -> Reply:
        return self._assigned(outcome) if isinstance(outcome, Machine) else _not_stored(503, _NO_MACHINE, outcome)

    def _release_reply(self, name: str, failure: BaseException | None) -> Reply:
        if failure is None:
            return Reply(200, Message(f"Machine {name} released"))
        return _not_stored(500, _BROKEN, failure)

    async def _read(self, request: Request, read: Callable[[], Awaitable[Reply]]) -> Reply:
        if request.method not in {"GET", "HEAD"}:
            return _not_allowed(request, "GET, HEAD")
        try:
            return await read()
        except CommitFailed as error:
            return _not_stored(503, _BROKEN, error)

    async def _project(self, request: Request, name: str) -> Reply:
        match request.method:
            case "GET":
                return await self._assign(request, name)
            case "HEAD":
                return await self._read(request, lambda: self._peek(name))
            case "DELETE":
                return await self._release(name)
            case _:
                return _not_allowed(request, "GET, HEAD, DELETE")

    async def _assign(self, request: Request, name: str) -> Reply:
        if request.assign_refusal is not None:
            return request.assign_refusal
        try:
            project, pool = project_id(name), None
            if CALLER.get() is not None:
                project = project_id(recorded(project))
                has_machine = self._orchestrator.fleet.of_project(project) is not None
                pool = pool_of_caller(None, has_machine=has_machine)
            machine = await self._orchestrator.assign(project, pool, request.hung_up)
        except InvalidProject as error:
            return failure(400, "Invalid project id", error.message)
        except KeyLimitReached as error:
            return failure(429, _LIMIT, error.message)
        except PoolNotFound as error:  # that of its key
            return failure(503, _NO_MACHINE, error.message)
        except NoMachineAvailable as error:
            return failure(503, _NO_MACHINE, error.message, retry_after(error.retry_after_s))
        except MachineFailed as error:
            return failure(503, _FAILED, error.message)
        except CommitFailed as error:
            return _not_stored(503, _NO_MACHINE, error)
        return self._assigned(machine)

    async def _peek(self, name: str) -> Reply:
        """HEAD: the reply of GET to a project that has a machine. It never assigns one."""
        try:
            machine = await self._orchestrator.machine_of(recorded(name))
        except MachineNotFound:
            machine = None
        if machine is None or machine.state is not State.READY or self._orchestrator.fleet.is_doubted(machine):
            return failure(404, "Machine not found")
        return self._assigned(machine)

    async def _release(self, name: str) -> Reply:
        try:
            await self._orchestrator.release(name if CALLER.get() is None else await self._own(name))
        except MachineNotFound:
            return failure(404, "Machine not found")
        except CommitFailed as error:
            return self._release_reply(name, error)
        return self._release_reply(name, None)

    async def _own(self, name: str) -> str:
        """The id of the machine that this caller names by its id, its project or its container. Raises MachineNotFound."""
        try:
            return (await self._orchestrator.machine_of(recorded(name))).id
        except ProjectHasNoMachine:
            return (await self._own_machine(name)).id

    async def _own_machine(self, name: str) -> Machine:
        """The machine with this id, or in this container, if there is one for this caller. Raises MachineNotFound."""
        machine = await self._orchestrator.machine_named(name)
        if not is_visible(machine):
            raise MachineNotFound(f"There is no machine {name}.")
        return machine

    async def _destroy(self, request: Request) -> Reply:
        body = decode_object(await request.body())
        name = None if body is None else body.get("containerId")
        if not isinstance(name, str) or not name:
            return failure(400, "containerId is required")
        try:
            if CALLER.get() is None:
                await self._orchestrator.destroy(name)
            else:
                own = await self._own_machine(name)
                await self._orchestrator.destroy(own.id, own.generation)
        except (MachineNotFound, EngineRejected) as error:
            return failure(500, _DESTROY_FAILED, error.message)
        except (EngineError, CommitFailed) as error:
            return failure(500, _DESTROY_FAILED, error.message, retry_after(RETRY_S))
        return Reply(200, Message(f"Container {name} destroyed successfully"))

    async def _health(self) -> Reply:
        health = await self._orchestrator.health()
        if not health.connected:
            return Reply(503, Broken("error", "disconnected", "Docker connection failed"))
        if CALLER.get() is not None:
            own = sum(map(is_visible, self._orchestrator.fleet.machines.values()))
            return Reply(200, Healthy("ok", "connected", Counts(own, 0, own)))
        return Reply(200, Healthy("ok", "connected", Counts(health.idle + health.used, health.idle, health.used)))

    async def _list(self) -> Reply:
        views = await self._orchestrator.machines()
        if CALLER.get() is not None:
            return Reply(200, encoded(Listing([self._listed(view) for view in views if is_visible(view.machine)])))
        if views is not self._listed_views:
            self._listed_views, self._listing = views, encoded(Listing([self._listed(view) for view in views]))
        return Reply(200, self._listing)

    def _assigned(self, machine: Machine) -> Reply:
        host, start = self._host, self._url_start
        if machine.id in self._elsewhere:
            host = self._elsewhere[machine.id]
            start = url_start(host)
        return Reply(200, encoded(Assigned(host, machine.port, f"{start}{machine.port}", machine.id)))

    def _listed(self, view: MachineView) -> Listed:
        machine, instance = view.machine, view.instance
        host = (instance.host if instance is not None else "") or self._host
        return Listed(
            id=machine.id,
            containerId=instance.native_id[:SHORT_ID] if instance is not None else "",
            ip=(instance.address if instance is not None else None) or host,
            port=machine.port,
            isUsed=machine.project is not None,
            assignedProject=shown_project(machine.project),
            url=f"{url_start(host)}{machine.port}",
        )


def _not_stored(status: int, error: str, cause: BaseException) -> Reply:
    """The reply to a change that was not stored. If a defect is the cause, the process is about to stop."""
    if isinstance(cause, CommitFailed):
        return failure(status, error, cause.message, retry_after(RETRY_S))
    return failure(500, _BROKEN, "The service is stopping, because its database may differ from its memory.")


async def _index() -> Reply:
    links = {
        "service": "worker-orchestrator",
        "version": __version__,
        "assign": "GET /{projectId}",
        "release": "DELETE /{projectId}",
        "destroy": "POST /destroy",
        "health": "GET /health",
        "machines": "GET /machines/list",
    }
    return Reply(200, links)


def _only(method: str, request: Request, reply: Reply) -> Reply:
    return reply if request.method in {method, "HEAD"} else _not_allowed(request, f"{method}, HEAD")


def _not_allowed(request: Request, allowed: str) -> Reply:
    return allowed_methods(allowed) if request.method == "OPTIONS" else method_not_allowed(allowed)
