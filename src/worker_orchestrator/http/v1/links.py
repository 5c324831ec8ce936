"""POST /v1/projects/{project}/links: a URL by which the preview of a project can be seen for a while."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.control.caller import shown_project
from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core import commands
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.door.admission import PARAMETER
from worker_orchestrator.errors import InvalidInput, NotSupported
from worker_orchestrator.http.previews.links import LONGEST_S, Links
from worker_orchestrator.http.previews.urls import PreviewUrls
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.responses import tagged_response, when
from worker_orchestrator.wire import v1 as wire

__all__ = ["PreviewLinks"]

USUAL_S: Final = 3600.0


class PreviewLinks:
    """`is_by_link` says whether previews of a pool need one, by its name. `wall_s` is the time in seconds since 1970."""

    def __init__(
        self,
        orchestrator: Orchestrator,
        urls: PreviewUrls,
        links: Links,
        is_by_link: Callable[[str], bool],
        wall_s: Callable[[], float],
    ) -> None:
        self._orchestrator, self.urls, self._links = orchestrator, urls, links
        self._is_by_link, self._wall_s = is_by_link, wall_s

    async def make(self, request: Request) -> Response:
        project = parameters.path_project(request)
        body = await parameters.body(request, wire.LinkBody, optional=wire.LinkBody())
        lasts_s = USUAL_S if body.seconds is None else body.seconds
        parameters.check_range(lasts_s, "seconds", 1, LONGEST_S)
        machine = await self._orchestrator.machine_of(project)
        for generation in parameters.generations(request):
            commands.check_generation(machine, generation)
        url = self.urls.of(project, _port(machine, body.port))
        if url is None:
            raise NotSupported(
                f"{project} has no preview address here: previews are off, or the name of the port is too long for one. "
                "Use the URL of the machine."
            )
        ends_at = None
        if self._is_by_link(machine.pool):
            ends_at = int(self._wall_s() + lasts_s)
            url = f"{url}?{PARAMETER}={self._links.sign(machine, ends_at)}"
        link = wire.Link(
            project=shown_project(project) or project,
            machine=machine.id,
            generation=machine.generation,
            url=url,
            expires_at=None if ends_at is None else when(ends_at * 1000),
        )
        return tagged_response(link, machine.generation, 201)


def _port(machine: Machine, name: str | None) -> str:
    known: Mapping[str, int] = dict(machine.ports)
    if name is None or name in known:
        return name or ""
    allowed = f"must be one of {', '.join(known)}" if known else "its pool gives names to none"
    raise InvalidInput(f"port is {name[:40]!r}, but {allowed}.")
