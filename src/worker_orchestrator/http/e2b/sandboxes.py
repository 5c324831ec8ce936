"""E2B's REST API: sandboxes, each of which is a project with a machine.

What tells a sandbox from other projects is kept in the metadata of its assignment, under a key of its own. Projects that
came in by another door are no sandboxes here: a client that ends all that it lists must not end those.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.control.caller import is_visible, pool_of_caller, recorded, shown_project
from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core.lease import Terms
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.core.project import is_project_id, project_id
from worker_orchestrator.core.spec import DEFAULT_POOL
from worker_orchestrator.errors import ProjectHasNoMachine
from worker_orchestrator.http.e2b.access import Access
from worker_orchestrator.http.e2b.metrics import Metrics
from worker_orchestrator.http.e2b.names import MARK, Mark, Names, mark_of
from worker_orchestrator.http.e2b.processes import Processes
from worker_orchestrator.http.e2b.refusal import Refusal
from worker_orchestrator.http.e2b.variables import Variables
from worker_orchestrator.http.server.request_body import until_hang_up
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.engine_calls import EngineCalls
from worker_orchestrator.http.v1.projects import METADATA_ENTRIES, METADATA_KEY, METADATA_VALUE
from worker_orchestrator.http.v1.responses import MachineShape

__all__ = ["Sandboxes"]

ENVD: Final = "0.6.4"
"""The version of E2B's agent whose calls are understood here."""
LONGEST_S: Final = 365 * 86_400
_BASE: Final = "base"
"""The template that E2B's clients ask for if nobody names one."""
_PAGE: Final = 100


class New(msgspec.Struct):
    """What a client asks for. Everything but the first four is refused if it asks for more than nothing."""

    templateID: str = _BASE  # noqa: N815 # the name is E2B's
    timeout: int = 15
    metadata: dict[str, str] | None = None
    envVars: dict[str, str] | None = None  # noqa: N815 # as above
    secure: bool | None = None
    allow_internet_access: bool | None = None
    autoPause: bool | None = None  # noqa: N815 # as above
    autoResume: Any = None  # noqa: N815 # as above
    autoPauseMemory: Any = None  # noqa: N815 # as above
    network: Any = None
    mcp: Any = None
    iam: Any = None
    volumeMounts: Any = None  # noqa: N815 # as above


class Timeout(msgspec.Struct):
    timeout: int = 15


class Sandboxes:
    """What is under /e2b/sandboxes and /e2b/v2/sandboxes. `domain`: below it are previews; empty: there are none."""

    def __init__(
        self,
        orchestrator: Orchestrator,
        shape: MachineShape,
        access: Access,
        processes: Processes,
        variables: Variables,
        names: Names,
        domain: str,
    ) -> None:
        self._orchestrator, self._shape, self._access = orchestrator, shape, access
        self._processes, self._variables, self._names, self._domain = processes, variables, names, domain
        self._metrics = Metrics(EngineCalls(orchestrator))

    async def create(self, request: Request) -> Response:
        new = await parameters.body(request, New, optional=New())
        _refuse_more(new)
        pool, metadata = self._pool(new.templateID), new.metadata or {}
        name = _project(self._names, metadata.get("externalId"), request.headers.get("idempotency-key"))
        project = project_id(recorded(name))
        mark = self._mark_for(project, new.templateID)
        assigned = await self._orchestrator.assign_machine(
            project,
            pool,
            lambda: until_hang_up(request.receive),
            metadata=_metadata({**metadata, MARK: msgspec.json.encode(mark).decode()}),
            terms=Terms(ttl=_timeout(new.timeout)),
            for_commands=True,
        )
        try:
            if assigned.is_new or new.envVars:
                await self._variables.keep(assigned.machine, new.envVars or {})
        except BaseException:
            if assigned.is_new:
                await self._orchestrator.destroy(assigned.machine.id, assigned.machine.generation)
            raise
        return _json(self._created(request, assigned.machine), 201)

    async def connect(self, request: Request) -> Response:
        """Make sure that it runs, and let it live so long from now on, if that is longer than it would."""
        asked = await parameters.body(request, Timeout, optional=Timeout())
        machine = await self._machine(request)
        if machine.state is State.SLEEPING:
            machine = await self._orchestrator.sleepers.wake(str(machine.project), machine.generation)
        shown = self._shape.of(await self._orchestrator.record(machine))
        ends = None if shown.lease is None else shown.lease.expires_at
        limit_s = _timeout(asked.timeout)
        if ends is None or (ends - datetime.now(UTC)).total_seconds() < limit_s:
            machine = await self._orchestrator.leases.keep_alive(
                str(machine.project), Terms(ttl=limit_s), machine.generation
            )
        return _json(self._created(request, machine), 200)

    async def set_timeout(self, request: Request) -> Response:
        asked = await parameters.body(request, Timeout, optional=Timeout())
        machine = await self._machine(request)
        terms = Terms(ttl=_timeout(asked.timeout))
        await self._orchestrator.leases.keep_alive(str(machine.project), terms, machine.generation)
        return Response(status_code=204)

    async def show(self, request: Request) -> Response:
        machine = await self._machine(request)
        token, domain = self._access.token_of(machine), self._domain_for(request)
        detail = {**await self._listed(machine), "envdAccessToken": token, "domain": domain}
        return _json(detail, 200)

    async def metrics(self, request: Request) -> Response:
        return await self._metrics.of(request, await self._machine(request))

    async def end(self, request: Request) -> Response:
        machine = await self._machine(request)
        await self._processes.end_of(machine)
        await self._orchestrator.destroy(machine.id, machine.generation)
        self._variables.forget(machine)
        return Response(status_code=204)

    async def list(self, request: Request) -> Response:
        """Those that run, the newest first; 100 at a time."""
        query = request.query_params
        wanted = dict(parse_qsl(query.get("metadata", ""), keep_blank_values=True))
        states = {state for one in query.getlist("state") for state in one.split(",")} or {"running"}
        limit, after = parameters.number(query, "limit", 1, 1000) or _PAGE, query.get("nextToken", "")
        found = [
            (str(mark.since).zfill(16) + str(shown_project(machine.project)), machine)
            for machine in filter(is_visible, self._orchestrator.fleet.machines.values())
            if (mark := mark_of(machine)) is not None and wanted.items() <= _metadata_of(machine).items()
        ]
        found = sorted(found, reverse=query.get("order", "desc") != "asc") if "running" in states else []
        names = [name for name, _ in found]
        begin = names.index(after) + 1 if after in names else 0
        page = found[begin : begin + min(limit, _PAGE)]
        response = _json([await self._listed(machine) for _, machine in page], 200)
        if begin + len(page) < len(found):
            response.headers["x-next-token"] = page[-1][0]
        return response

    def _mark_for(self, project: str, template: str) -> Mark:
        """What makes this project a sandbox; if it is one already, it stays as it was. Raises Refusal."""
        present = self._orchestrator.fleet.of_project(project)
        if present is None or present.gone:
            return Mark(template, int(time.time() * 1000))
        mark = mark_of(present)
        if mark is None:
            raise Refusal(
                409,
                "failed_precondition",
                f"The project {shown_project(project)} has a machine that it got by another door, so it is "
                "no sandbox. Choose another metadata.externalId, or release it first.",
            )
        return mark

    def _pool(self, template: str) -> str:
        pools = self._orchestrator.spec.pools
        named = None if template == _BASE and _BASE not in pools else template
        name = pool_of_caller(named, has_machine=False) or DEFAULT_POOL
        if name not in pools:
            known = ", ".join(sorted(pools))
            raise Refusal(
                404, "not_found", f"There is no template {template[:60]!r}: templates are pools here: {known}."
            )
        if not pools[name].recycle:
            raise Refusal(
                409,
                "failed_precondition",
                f"The pool {name} gives released machines to the next project as they are, with what runs in them, and a "
                "sandbox must be new. Start the service with --on-release recycle, or set on_release in that pool.",
            )
        return name

    async def _machine(self, request: Request) -> Machine:
        """The machine of the sandbox in the path. Raises Refusal."""
        name = request.path_params["sandbox"]
        try:
            machine = await self._orchestrator.machine_of(recorded(name))
        except ProjectHasNoMachine:
            machine = None
        if machine is None or mark_of(machine) is None:
            raise Refusal(404, "not_found", f"There is no sandbox {name[:128]!r}. It has ended, or never was.")
        return machine

    def _created(self, request: Request, machine: Machine) -> dict[str, Any]:
        mark = mark_of(machine)
        return {
            "sandboxID": shown_project(machine.project),
            "templateID": machine.pool if mark is None else mark.template,
            "clientID": "worker-orchestrator",
            "envdVersion": ENVD,
            "envdAccessToken": self._access.token_of(machine),
            "domain": self._domain_for(request),
        }

    def _domain_for(self, request: Request) -> str | None:
        """The domain in `get_host`. None: the client knows it, since it came by a proxy for `api.DOMAIN`."""
        return None if request.headers.get("x-forwarded-host", "").startswith("api.") else self._domain or None

    async def _listed(self, machine: Machine) -> dict[str, Any]:
        """As E2B lists it. What nobody measures here is 0."""
        shown = self._shape.of(await self._orchestrator.record(machine))
        mark = mark_of(machine) or Mark(machine.pool, 0)
        since = datetime.fromtimestamp(mark.since / 1000, UTC)
        ends = None if shown.lease is None else shown.lease.expires_at
        return {
            "sandboxID": shown_project(machine.project),
            "templateID": mark.template,
            "clientID": "worker-orchestrator",
            "startedAt": since,
            "endAt": ends or datetime.fromtimestamp(since.timestamp() + LONGEST_S, UTC),
            "cpuCount": 0,
            "memoryMB": 0,
            "diskSizeMB": 0,
            "metadata": _metadata_of(machine),
            "state": "running",
            "envdVersion": ENVD,
        }


def _refuse_more(new: New) -> None:
    """Raises Refusal for the first option that this service would have to ignore."""
    asked = {
        "pausing a sandbox at its end (autoPause)": new.autoPause,
        "resuming a sandbox by itself (autoResume)": isinstance(new.autoResume, dict) and new.autoResume.get("enabled"),
        "rules of the network for one sandbox (network): set `outbound` of its pool": new.network,
        "the MCP gateway of E2B (mcp)": new.mcp,
        "identities for workloads (iam)": new.iam,
        "volumes (volumeMounts)": new.volumeMounts,
        "sandboxes without an access token (secure=False)": new.secure is False,
        "a switch for the internet (allow_internet_access): set `outbound` of its pool": new.allow_internet_access
        is False,
    }
    for what, is_asked in asked.items():
        if is_asked:
            raise Refusal.missing(what)


def _project(names: Names, external: str | None, idempotency: str | None) -> str:
    """The project of a new sandbox: the one that its metadata names, the same for the same key, else a name of its own."""
    if external is not None:
        if not is_project_id(external):
            raise Refusal.invalid(f"metadata.externalId is {external[:60]!r}, which is no project id.")
        return external
    return names.new(idempotency or "")


def _timeout(seconds: int) -> float:
    if not 0 <= seconds <= LONGEST_S:
        raise Refusal.invalid(f"timeout is {seconds}, but must be from 0 to {LONGEST_S} seconds.")
    return float(max(1, seconds))


def _metadata(entries: dict[str, str]) -> str:
    """These entries, the mark among them, as JSON. Raises Refusal."""
    is_long = any(len(key) > METADATA_KEY or len(value) > METADATA_VALUE for key, value in entries.items())
    if len(entries) > METADATA_ENTRIES + 1 or is_long:
        raise Refusal.invalid(
            f"metadata may have {METADATA_ENTRIES} entries, with keys of {METADATA_KEY} and values of {METADATA_VALUE} "
            "characters at most."
        )
    return json.dumps(entries, sort_keys=True, ensure_ascii=True)


def _metadata_of(machine: Machine) -> dict[str, str]:
    """What the client gave."""
    entries: dict[str, str] = json.loads(machine.metadata) if machine.metadata else {}
    return {key: value for key, value in entries.items() if key != MARK}


def _json(body: object, status: int) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
