"""One connection of a client: request after request, each to where its host leads."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import Final

from worker_orchestrator.door import pages
from worker_orchestrator.door.admission import redirect, shown_by, without_link
from worker_orchestrator.door.exchange import Exchange, NoReplyError, WorkerError
from worker_orchestrator.door.heads import HEAD_LIMIT_BYTES, MalformedError, RequestHead, read_request
from worker_orchestrator.door.messages import Kind, Route
from worker_orchestrator.door.pages import Said
from worker_orchestrator.door.purpose import is_prefetch, is_visit
from worker_orchestrator.door.routes import GoneError, Routes
from worker_orchestrator.door.stream import CutError, Stream, TooLongError
from worker_orchestrator.door.workers import Workers

__all__ = ["Visitor"]

HEAD_S: Final = 10.0
REST_S: Final = 60.0
"""So long a connection is kept between two requests."""
_AGAIN: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})
"""What may be sent once more if a connection that rested turns out to be closed."""
_READING: Final = frozenset({b"GET", b"HEAD"})
_NO_METHODS: Final = frozenset({b"CONNECT", b"TRACE"})
_TOO_LONG: Final = f"The request line and the fields may have {HEAD_LIMIT_BYTES} bytes at most."
_IN_ADVANCE: Final = Said(503, "Not fetched in advance", "A preview is shown to who visits it.", "prefetch")
_ELSEWHERE: Final = Said(421, "Another host", "Ask for this host on another connection.", "misdirected")
_NO_WORD: Final = Said(503, "No answer", "The service does not say where this leads. Try again.", "no_route", 1)


class Visitor:
    """Answers what comes on `stream`. `domain` is what all hosts of previews end with, with a dot before it.

    `scheme` is that of the addresses of previews, `root_path` that under which the dashboard is.
    """

    def __init__(
        self,
        stream: Stream,
        routes: Routes,
        workers: Workers,
        domain: str,
        scheme: str = "http",
        root_path: str = "",
    ) -> None:
        self._stream, self._routes, self._workers = stream, routes, workers
        self._domain, self._scheme, self._root_path = domain, scheme, root_path

    async def run(self) -> None:
        """Until the connection ends."""
        try:
            while await self._answer_next():
                pass
            await self._stream.linger()
        except CutError:
            self._stream.abort()
        finally:
            self._stream.close()

    async def _answer_next(self) -> bool:
        """Answer one request. Returns whether another may follow. Raises CutError."""
        stream = self._stream
        try:
            raw = stream.take_head(HEAD_LIMIT_BYTES) or await self._awaited_head()
            if raw is None:
                return False
            head = read_request(raw.lstrip(b"\r\n") if raw.startswith(b"\r\n") else raw)
        except TimeoutError:
            return False
        except TooLongError:
            return await self._say(pages.malformed(_TOO_LONG, 431), None)
        except MalformedError as error:
            return await self._say(pages.malformed(str(error)), None)
        if head.method in _NO_METHODS:
            return await self._say(pages.malformed(f"{head.method.decode()} is not relayed.", 405), head)
        return await self._lead(head)

    async def _awaited_head(self) -> bytes | None:
        """The next head; None if the connection ends first. Raises TimeoutError."""
        if self._stream.is_clean:
            async with asyncio.timeout(REST_S):
                await self._stream.wait()
        async with asyncio.timeout(HEAD_S):
            return await self._stream.read_head(HEAD_LIMIT_BYTES)

    async def _lead(self, head: RequestHead) -> bool:
        host = head.host.decode("ascii").lower().partition(":")[0].rstrip(".")
        if not host.endswith(self._domain):
            return await self._say(_ELSEWHERE, None)
        if is_prefetch(head):
            return await self._say(_IN_ADVANCE, head)
        shown = shown_by(head, self._stream.client)
        try:
            route = await self._routes.find(host, shown, visits=is_visit(head))
        except TimeoutError:
            return await self._say(_NO_WORD, head)
        if shown.link and head.method in _READING and route.kind is not Kind.REFUSED:
            self._stream.write(redirect(head, route.cookie))
            return False
        head = replace(head, target=without_link(head.target)) if shown.link else head
        if route.kind is not Kind.WORKER:
            return await self._say(pages.about(route, self._dashboard(head)), head)
        try:
            return await self._relay(head, route)
        except WorkerError as error:
            return await self._say(pages.bad_gateway(route.project, str(error)), head)
        except NoReplyError:
            return await self._say(pages.no_answer(route.project), head)
        except MalformedError as error:
            return await self._say(pages.malformed(str(error)), None)

    async def _relay(self, head: RequestHead, route: Route) -> bool:
        """Raises WorkerError, NoReplyError, CutError, MalformedError."""
        rested = self._workers.take(route) if head.length is None and head.method in _AGAIN else None
        if rested is not None:
            with contextlib.suppress(NoReplyError):
                return await self._exchange(head, route, rested)
        try:
            worker = await self._workers.connect(route)
        except (OSError, TimeoutError):
            raise NoReplyError from None
        return await self._exchange(head, route, worker)

    async def _exchange(self, head: RequestHead, route: Route, worker: Stream) -> bool:
        exchange, is_over = Exchange(self._stream, head, worker, route, self._scheme), False

        def end() -> None:
            worker.abort()
            if exchange.has_begun:
                self._stream.abort()

        ending = None if route.ends_in_s is None else asyncio.get_running_loop().call_later(route.ends_in_s, end)
        try:
            with self._routes.using(route.key, end):
                goes_on = await exchange.run()
                is_over = exchange.is_reusable
        except GoneError:
            raise NoReplyError from None
        else:
            return goes_on
        finally:
            if ending is not None:
                ending.cancel()
            if is_over and self._routes.holds(route.key):
                self._workers.keep(route, worker)
            else:
                worker.abort()

    async def _say(self, said: Said, head: RequestHead | None) -> bool:
        """Say this in the place of a worker. Returns whether the connection goes on."""
        goes_on = head is not None and head.keep_alive and head.length in {None, 0}
        self._stream.write(pages.as_reply(said, head, keep_alive=goes_on))
        await self._stream.drain()
        return goes_on

    def _dashboard(self, head: RequestHead) -> str:
        """Its address, if it is beside the previews; else empty: a domain of previews, or a proxy, may be anywhere."""
        _, colon, port = head.host.decode().partition(":")
        if (self._domain, self._scheme) != (".localhost", "http"):
            return ""
        return f"http://localhost{colon}{port}{self._root_path}/"
