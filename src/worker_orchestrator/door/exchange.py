"""One request and its reply: to a worker and back, piece by piece, as fast as the slower side goes.

Up to the first byte for the client, whatever goes wrong is told in one clear sentence: 502 if the worker is at fault, 504 if
it is late, 408 if the client is. After it the connection is cut, so that no client takes half a reply for a whole one.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from worker_orchestrator.door.bodies import Body, chunk, last_chunk
from worker_orchestrator.door.forwarding import reply_to_client, request_to_worker
from worker_orchestrator.door.heads import (
    CHUNKED,
    REPLY_HEAD_LIMIT_BYTES,
    MalformedError,
    ReplyHead,
    RequestHead,
    read_reply,
)
from worker_orchestrator.door.messages import Route
from worker_orchestrator.door.stream import STALL_S, CutError, StalledError, Stream, TooLongError

__all__ = ["Exchange", "LateError", "NoReplyError", "WorkerError"]

FIRST_BYTE_S: Final = 300.0
"""So long a worker may think about a request, from the moment on at which it has all of it."""
HEAD_S: Final = 10.0
"""So long the head of a reply may take from its first byte on."""
BODY_S: Final = 300.0
"""So long a client may take for the next piece of a body."""
MOST_INTERIM: Final = 20


class WorkerError(Exception):
    """What the worker sent is no reply. The text says why, for people."""


class NoReplyError(Exception):
    """The worker ended the connection without a byte: nothing listens behind its port, or it did not want this request."""


class LateError(Exception):
    """Somebody took too long: the client (`status` is 408), or the worker (504). The text says with what, for people."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Exchange:
    """A request of `client` that goes to `worker`. `scheme` is that of the address that the client knows.

    `has_begun`: the client was sent something of the reply.
    """

    def __init__(self, client: Stream, head: RequestHead, worker: Stream, route: Route, scheme: str) -> None:
        self._client, self._head, self._worker, self._route, self._scheme = client, head, worker, route, scheme
        self._body = Body(client, head.length if head.length is not None else 0)
        self._upload: asyncio.Task[None] | None = None
        self._fault: MalformedError | LateError | None = None  # what is wrong with the body of the request, or late
        self._waits_since = client.now()  # for the worker, if it has all of the request
        self.has_begun = False
        self.is_reusable = False  # the worker's connection, afterwards

    async def run(self) -> bool:
        """Relay it. Returns whether the client's connection can be used for another request.

        Raises WorkerError, NoReplyError, LateError, MalformedError (of the request's body) unless `has_begun`; CutError if
        the client has gone, or has to be cut off.
        """
        authority = b"localhost:%d" % self._route.port if self._route.rewrites else b""
        head = request_to_worker(self._head, self._client.client, self._scheme, authority=authority)
        self._worker.write(head if self._head.length == CHUNKED else head + self._body.taken())
        if self._body.is_complete:
            self._watch_client()
        else:
            self._upload = asyncio.create_task(self._send_body())
        try:
            return await self._relay_reply()
        finally:
            self._client.on_end = self._client.on_loss = None
            if self._upload is not None and not self._upload.done():
                self._upload.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._upload

    def _watch_client(self) -> None:
        """It has sent its request. From now on its worker hears when it has gone. Raises CutError if it has.

        After a body a client may close its side and wait for the reply. Without one, nobody does that but who has gone.
        https://www.rfc-editor.org/rfc/rfc9112#section-9.6
        """
        if self._has_client_gone():
            raise CutError
        if self._head.length:
            self._client.on_loss = self._worker.abort
        else:
            self._client.on_end = self._worker.abort

    def _has_client_gone(self) -> bool:
        return self._client.is_lost or (self._client.has_ended and not self._head.length)

    # to the worker

    async def _send_body(self) -> None:
        """What goes wrong here ends the worker's connection, and with it the wait for the reply."""
        body, worker, is_chunked = self._body, self._worker, self._head.length == CHUNKED
        try:
            while True:
                async with asyncio.timeout(BODY_S):
                    data = await body.read()
                if not data:
                    break
                worker.write(chunk(data) if is_chunked else data)
                await worker.drain(self._client)
            if is_chunked:
                worker.write(last_chunk(body.trailers))
            self._waits_since = worker.now()
            self._watch_client()
        except (CutError, MalformedError, TimeoutError) as error:
            if not worker.has_ended or isinstance(error, StalledError):  # else it may have answered before it closed
                self._fault = _fault_of(error)
                worker.abort()

    # to the client

    async def _relay_reply(self) -> bool:
        reply = await self._final_head()
        if reply.status == 101:
            await self._tunnel(reply)
            return False
        request = self._head
        is_chunked = reply.length in {None, CHUNKED} and not request.is_old
        keep_alive = request.keep_alive and (reply.length not in {None, CHUNKED} or is_chunked) and self._is_sent()
        length = CHUNKED if is_chunked else None if reply.length == CHUNKED else reply.length
        await self._relay_body(
            reply_to_client(reply, request, length, keep_alive=keep_alive), reply, is_chunked=is_chunked
        )
        self.is_reusable = reply.keep_alive and reply.length is not None and self._is_sent()
        return keep_alive and self._is_sent()

    async def _relay_body(self, head: bytes, reply: ReplyHead, *, is_chunked: bool) -> None:
        """The head, and what has come of the body, go out in one piece: each write is a packet that wakes the client."""
        client, body, out, self.has_begun = self._client, Body(self._worker, reply.length), head, True
        try:
            data = body.taken()
            while True:
                if data:
                    out += chunk(data) if is_chunked else data
                if body.is_complete:
                    break
                client.write(out)
                out = b""
                if client.is_full:
                    await client.drain(self._worker)
                data = await body.read()
        except (CutError, MalformedError):
            client.write(out)
            client.abort()
            raise CutError from None
        client.write(out + last_chunk(body.trailers) if is_chunked else out)
        await client.drain()

    def _is_sent(self) -> bool:
        """Whether the worker has all of the request."""
        return self._upload is None or (self._upload.done() and self._body.is_complete)

    async def _final_head(self) -> ReplyHead:
        """The head of the reply; those before it (100, 103) go on at once."""
        for _ in range(MOST_INTERIM):
            reply = await self._next_head()
            if reply.status == 101 and not self._head.upgrade:
                raise WorkerError("It changes to a protocol that nobody asked for.")
            if reply.status >= 200 or reply.status == 101:
                return reply
            self._waits_since = self._worker.now()
            if not self._head.is_old:
                self._client.write(reply_to_client(reply, self._head, None, keep_alive=True))
        raise WorkerError("It sends one interim reply after the other.")

    async def _next_head(self) -> ReplyHead:
        worker = self._worker
        await self._first_byte()
        try:
            raw = worker.take_head(REPLY_HEAD_LIMIT_BYTES)
            if raw is None:
                async with asyncio.timeout(HEAD_S):
                    raw = await worker.read_head(REPLY_HEAD_LIMIT_BYTES)
        except TimeoutError:
            raise LateError(504, f"The head of its reply does not come to an end within {HEAD_S:g} s.") from None
        except TooLongError:
            raise WorkerError(f"Its head has more than {REPLY_HEAD_LIMIT_BYTES} bytes.") from None
        except CutError:
            raise self._fault or WorkerError("It ends within its head.") from None
        if raw is None:
            if self._has_client_gone():
                raise CutError  # nobody waits for it
            raise self._fault or NoReplyError
        try:
            return read_reply(raw, self._head.method)
        except MalformedError as error:
            raise WorkerError(str(error)) from None

    async def _first_byte(self) -> None:
        """Return when something of a reply has come, or nothing will. While the client sends, the worker is not late."""
        worker = self._worker
        while True:
            is_sending = self._upload is not None and not self._upload.done()
            left_s = FIRST_BYTE_S if is_sending else self._waits_since + FIRST_BYTE_S - worker.now()
            if left_s <= 0:
                raise LateError(504, f"It has not answered within {FIRST_BYTE_S:g} s.")
            with contextlib.suppress(TimeoutError):
                await worker.wait(left_s)
                return

    async def _tunnel(self, reply: ReplyHead) -> None:
        """Both sides speak another protocol from now on, such as WebSocket: bytes go on as they are."""
        client, worker = self._client, self._worker
        client.on_end = client.on_loss = None
        client.write(reply_to_client(reply, self._head, None, keep_alive=True))
        self.has_begun = True
        ways = [asyncio.create_task(_pour(client, worker)), asyncio.create_task(_pour(worker, client))]
        try:
            await asyncio.wait(ways)
        finally:
            for way in ways:
                way.cancel()
            worker.close()


def _fault_of(error: CutError | MalformedError | TimeoutError) -> MalformedError | LateError | None:
    """Whose fault it is that the body of a request did not arrive; None: nobody is there to hear it, or the worker ended."""
    if isinstance(error, MalformedError):
        return error
    if isinstance(error, StalledError):
        return LateError(504, f"It has taken nothing of the request for {STALL_S:g} s.")
    return (
        LateError(408, f"Nothing of the body has come for {BODY_S:g} s.") if isinstance(error, TimeoutError) else None
    )


async def _pour(source: Stream, sink: Stream) -> None:
    """Until the source ends, which the sink is told. If one side is lost, so is the other."""
    with contextlib.suppress(CutError):
        while data := await source.read():
            sink.write(data)
            await sink.drain(source)
        if not source.is_lost:
            sink.write_eof()
            return
    sink.abort()
    source.abort()
