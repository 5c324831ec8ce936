"""One connection of a client: request after request, each to where its host leads."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from dataclasses import replace
from typing import Final

from worker_orchestrator.door import pages
from worker_orchestrator.door.admission import redirect, shown_by, without_link
from worker_orchestrator.door.clients import client_of
from worker_orchestrator.door.connections import Connections
from worker_orchestrator.door.exchange import Exchange, LateError, NoReplyError, WorkerError
from worker_orchestrator.door.heads import HEAD_LIMIT_BYTES, MalformedError, RequestHead, read_request
from worker_orchestrator.door.messages import Config, Kind, Route, Shown
from worker_orchestrator.door.pages import Said
from worker_orchestrator.door.purpose import is_beside, is_prefetch, is_visit, wants_page
from worker_orchestrator.door.refusals import Refusals
from worker_orchestrator.door.routes import GoneError, Routes
from worker_orchestrator.door.stream import CutError, Stream, TooLongError
from worker_orchestrator.door.workers import Workers

__all__ = ["Visitor"]

HEAD_S: Final = 10.0
REST_S: Final = 75.0
"""So long a connection is kept between two requests: longer than nginx keeps one, which is a minute."""
HOLD_S: Final = 5.0
"""So long a program's request waits for a machine that is on its way; a page looks again by itself."""
HOLD_PAUSES_S: Final = (0.05, 0.1, 0.2, 0.4)
"""Between two questions whether the machine is there; the last one again and again."""
MOST_HELD: Final = 200
"""Requests that wait so, of all visitors."""
MOST_BLANK_LINES: Final = 4
"""So many before a request are ignored. https://www.rfc-editor.org/rfc/rfc9112#section-2.2"""
_AGAIN: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})
"""What may be sent once more if a connection that rested turns out to be closed."""
_READING: Final = frozenset({b"GET", b"HEAD"})
_NO_METHODS: Final = frozenset({b"CONNECT", b"TRACE"})
_TOO_LONG: Final = f"The request line and the fields may have {HEAD_LIMIT_BYTES} bytes at most."
_IN_ADVANCE: Final = Said(503, "Not fetched in advance", "A preview is shown to who visits it.", "prefetch")
_ELSEWHERE: Final = Said(421, "Another host", "Ask for this host on another connection.", "misdirected")
_TOO_OFTEN: Final = Said(
    429,
    "Too often",
    "Too many requests from this address lead to no worker. Try again in a second.",
    "too_many_requests",
    1,
)
_NO_WORD: Final = Said(503, "No answer", "The service does not say where this leads. Try again.", "no_route", 1)


class Visitor:
    """Answers what comes on `stream`. `connections` are told whether this one rests."""

    held = 0  # requests of all visitors that wait for a machine

    def __init__(
        self,
        stream: Stream,
        routes: Routes,
        workers: Workers,
        connections: Connections,
        refusals: Refusals,
        config: Config,
    ) -> None:
        self._stream, self._routes, self._workers = stream, routes, workers
        self._connections, self._refusals = connections, refusals
        self._config, self._end_of_hosts = config, f".{config.domain}"

    async def run(self) -> None:
        """Until the connection ends."""
        try:
            while await self._answer_next():
                self._connections.rest(self)
            await self._stream.linger()
        except CutError:
            self._stream.abort()
        finally:
            self._stream.close()

    def give_way(self) -> None:
        """Close now: it rests, and others need its place."""
        self._stream.abort()

    async def _answer_next(self) -> bool:
        """Answer one request. Returns whether another may follow. Raises CutError."""
        try:
            raw = await self._next_head()
            if raw is None:
                return False
            self._connections.begin(self)
            head = read_request(raw)
        except LateError as error:
            return await self._say(pages.late("", error.status, str(error)), None)
        except TooLongError:
            return await self._say(pages.malformed(_TOO_LONG, 431), None)
        except MalformedError as error:
            return await self._say(pages.malformed(str(error)), None)
        if head.method in _NO_METHODS:
            return await self._say(pages.malformed(f"{head.method.decode()} is not relayed.", 405), head)
        return await self._lead(head)

    async def _next_head(self) -> bytes | None:
        """The next head; None if the connection ends first, or rests for too long.

        Raises LateError, TooLongError, CutError.
        """
        stream = self._stream
        stream.skip_blank_lines(MOST_BLANK_LINES)
        head = stream.take_head(HEAD_LIMIT_BYTES)
        if head is not None:
            return head
        try:
            await stream.wait_for_more_than_blank_lines(MOST_BLANK_LINES, REST_S)
        except TimeoutError:
            return None
        head = stream.take_head(HEAD_LIMIT_BYTES)
        if head is not None:
            return head
        try:
            async with asyncio.timeout(HEAD_S):
                return await stream.read_head(HEAD_LIMIT_BYTES)
        except TimeoutError:
            raise LateError(408, f"Its head did not come to an end within {HEAD_S:g} s.") from None

    async def _lead(self, head: RequestHead) -> bool:
        host = head.host.decode("ascii").lower().partition(":")[0].rstrip(".")
        if not host.endswith(self._end_of_hosts):
            return await self._say(_ELSEWHERE, None)
        if is_prefetch(head):
            return await self._say(_IN_ADVANCE, head)
        shown = shown_by(head, self._stream.client)
        client = client_of(self._stream.client)
        if not self._routes.leads(host, shown) and self._refusals.are_too_many(client, self._stream.now()):
            return await self._say(_TOO_OFTEN, head)
        try:
            route = await self._found(head, host, shown)
        except TimeoutError:
            return await self._say(_NO_WORD, head)
        if shown.link and head.method in _READING and route.kind is not Kind.REFUSED:
            self._stream.write(redirect(head, route.cookie))
            return False
        head = replace(head, target=without_link(head.target)) if shown.link else head
        if route.kind is Kind.WORKER:
            return await self._reply_of_worker(head, route, host, shown)
        self._refusals.add(client, self._stream.now())
        return await self._say(pages.about(route, self._dashboard(head)), head)

    async def _found(self, head: RequestHead, host: str, shown: Shown) -> Route:
        """Where it leads. A program waits a while for a machine that is on its way. Raises TimeoutError, CutError."""
        visits, stream = is_visit(head), self._stream
        route = await self._routes.find(host, shown, visits=visits, is_beside=is_beside(head))
        if route.kind is not Kind.COMING or not visits or wants_page(head) or Visitor.held >= MOST_HELD:
            return route
        pauses, ends_at = itertools.chain(HOLD_PAUSES_S, itertools.repeat(HOLD_PAUSES_S[-1])), stream.now() + HOLD_S
        Visitor.held += 1
        try:
            while True:
                await asyncio.sleep(next(pauses))
                if stream.is_lost or (stream.has_ended and not head.length):
                    raise CutError
                route = await self._routes.find(host, shown, visits=visits)
                if route.kind is not Kind.COMING or stream.now() >= ends_at:
                    return route
        finally:
            Visitor.held -= 1

    async def _reply_of_worker(self, head: RequestHead, route: Route, host: str, shown: Shown) -> bool:
        try:
            return await self._relay(head, route, host, shown)
        except WorkerError as error:
            return await self._say(pages.bad_gateway(route.project, str(error)), head)
        except NoReplyError:
            return await self._say(pages.no_answer(route.project), head)
        except LateError as error:
            return await self._say(pages.late(route.project, error.status, str(error)), head)
        except MalformedError as error:
            return await self._say(pages.malformed(str(error)), None)

    async def _relay(self, head: RequestHead, route: Route, host: str, shown: Shown) -> bool:
        """Raises WorkerError, NoReplyError, LateError, CutError, MalformedError."""
        rested = self._workers.take(route) if head.length is None and head.method in _AGAIN else None
        if rested is not None:
            with contextlib.suppress(NoReplyError):
                return await self._exchange(head, route, rested, (host, shown))
            route = await self._still(route, host, shown)
        try:
            worker = await self._workers.connect(route)
        except TimeoutError:
            raise LateError(504, "It takes no connection on this port.") from None
        except OSError:
            raise NoReplyError from None
        return await self._exchange(head, route, worker, (host, shown))

    async def _still(self, route: Route, host: str, shown: Shown) -> Route:
        """The route as it is now: what ended may have been ended by us, and not have rested for too long.

        Raises NoReplyError if it leads there no more.
        """
        with contextlib.suppress(TimeoutError):
            route = await self._routes.find(host, shown, visits=False)
            if route.kind is Kind.WORKER:
                return route
        raise NoReplyError

    async def _exchange(self, head: RequestHead, route: Route, worker: Stream, who: tuple[str, Shown]) -> bool:
        exchange, is_over = Exchange(self._stream, head, worker, route, self._config.scheme), False

        def end() -> None:
            worker.abort()
            if exchange.has_begun:
                self._stream.abort()

        try:
            with self._routes.using(route, *who, end):
                goes_on = await exchange.run()
                is_over = exchange.is_reusable
        except GoneError:
            raise NoReplyError from None
        else:
            return goes_on
        finally:
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
        if (self._config.domain, self._config.scheme) != ("localhost", "http"):
            return ""
        return f"http://localhost{colon}{port}{self._config.root_path}/"
