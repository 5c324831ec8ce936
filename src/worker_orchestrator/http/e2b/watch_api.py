"""The calls about watches of E2B's agent: a stream of events, and watchers whose events are fetched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.core.machine import Machine
from worker_orchestrator.http.e2b import connect
from worker_orchestrator.http.e2b.access import Access
from worker_orchestrator.http.e2b.fan import KEEPALIVE_S
from worker_orchestrator.http.e2b.filesystem import DEEPEST
from worker_orchestrator.http.e2b.looking import Place
from worker_orchestrator.http.e2b.messages import WatcherRequest, WatchRequest
from worker_orchestrator.http.e2b.refusal import Refusal
from worker_orchestrator.http.e2b.users import Users
from worker_orchestrator.http.e2b.watches import Watch, Watches
from worker_orchestrator.http.server.streamed_response import ClosableStream, ServiceEnd, StreamedResponse
from worker_orchestrator.http.v1 import parameters

__all__ = ["WatchApi"]

LONGEST_S: Final = 30 * 86_400.0


class WatchApi:
    """WatchDir, CreateWatcher, GetWatcherEvents and RemoveWatcher of `filesystem.Filesystem`."""

    def __init__(self, access: Access, users: Users, watches: Watches, end: ServiceEnd) -> None:
        self._access, self._users, self._watches, self._end = access, users, watches, end

    async def watch(self, request: Request) -> Response:
        machine = await self._access.machine_of(request)
        asked = await connect.streamed_message(request, WatchRequest)
        limit_s = connect.timeout_s(request)
        name, watch = await self._watches.watch(await self._place(request, machine, asked))

        async def end() -> None:
            await self._watches.end(machine, name)

        told = _told(watch, LONGEST_S if limit_s is None else min(limit_s, LONGEST_S))
        return StreamedResponse(ClosableStream(connect.closed(told), end), self._end, connect.STREAM)

    async def create(self, request: Request) -> Response:
        machine = await self._access.machine_of(request)
        asked = await connect.unary(request, WatchRequest)
        return connect.reply({"watcherId": await self._watches.watcher(await self._place(request, machine, asked))})

    async def events(self, request: Request) -> Response:
        machine = await self._access.machine_of(request)
        asked = await connect.unary(request, WatcherRequest)
        return connect.reply({"events": await self._watches.find(machine, asked.watcherId).events()})

    async def remove(self, request: Request) -> Response:
        machine = await self._access.machine_of(request)
        asked = await connect.unary(request, WatcherRequest)
        self._watches.find(machine, asked.watcherId)
        await self._watches.end(machine, asked.watcherId)
        return connect.reply({})

    async def _place(self, request: Request, machine: Machine, asked: WatchRequest) -> Place:
        parameters.insist_on_running(machine)
        user = await self._users.of(request, machine)
        depth = DEEPEST if asked.recursive else 1
        return Place(machine, user.name, user.path(asked.path), depth, links=asked.includeEntry)


async def _told(watch: Watch, limit_s: float) -> AsyncIterator[dict[str, Any]]:
    """That it has begun, what changes, and after long silence that it goes on, since proxies cut silent connections."""
    loop = asyncio.get_running_loop()
    ends_at, told_at = loop.time() + limit_s, loop.time()
    yield {"start": {}}
    while True:
        await asyncio.sleep(min(watch.rest_s, max(0.0, ends_at - loop.time())))
        if loop.time() >= ends_at:
            raise Refusal(504, "deadline_exceeded", f"The time of this watch, {limit_s:g} s, is up.")
        news = await watch.news()
        for event in news:
            yield {"filesystem": event}
        if not news and loop.time() >= told_at + KEEPALIVE_S:
            yield {"keepalive": {}}
        elif not news:
            continue
        told_at = loop.time()
