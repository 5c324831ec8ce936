"""The ASGI application: who may call, the route, the reply. Whatever goes wrong is answered in JSON, without a trace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import structlog

from worker_orchestrator.http.callers import Callers
from worker_orchestrator.http.document import Document, Request
from worker_orchestrator.http.guard import Guard
from worker_orchestrator.http.reply import Header, Reply, failure

__all__ = ["App"]

BODY_LIMIT_BYTES: Final = 1024 * 1024

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = structlog.get_logger(__name__)


class _BodyTooLargeError(Exception):
    pass


class _HungUpError(Exception):
    pass


class App:
    """A document behind the rules of who may call. `on_defect` gets assertions that failed: the process must not go on."""

    def __init__(
        self, document: Document, guard: Guard, callers: Callers, on_defect: Callable[[BaseException], None]
    ) -> None:
        self._document, self._guard, self._callers, self._on_defect = document, guard, callers, on_defect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # no lifespan, no WebSocket: the server goes on, or refuses, by itself
        headers = dict(scope["headers"])
        reply = self._guard.refusal(headers)
        cors: list[Header] = []
        if reply is None:
            cors = self._guard.cors(headers)
            reply = self._at_once(scope, headers)
        if reply is None:
            try:
                reply = await self._answer(scope, headers, receive)
            except _HungUpError:
                return
        await _send(scope["method"], reply, cors, send)

    def _at_once(self, scope: Scope, headers: dict[bytes, bytes]) -> Reply | None:
        """The reply that needs no route: to a browser's preflight, which carries no token, and to whom we do not serve."""
        if b"access-control-request-method" in headers and scope["method"] == "OPTIONS":
            return Reply(204)
        return self._callers.refusal(scope["client"][0] if scope["client"] else "", headers)

    async def _answer(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Reply:
        body = _Body(receive)
        request = Request(scope["method"], scope["path"], self._guard.assign_refusal(headers), body.read, body.hung_up)
        try:
            return await self._document.answer(request)
        except _BodyTooLargeError:
            return failure(413, "Request body too large", f"At most {BODY_LIMIT_BYTES} bytes are read.")
        except asyncio.CancelledError:
            if body.is_closed:
                raise _HungUpError from None
            raise
        except _HungUpError:
            raise
        except Exception as error:  # noqa: BLE001 # the outermost edge: a defect is answered, logged and, if need be, fatal
            _log.exception("defect", path=scope["path"])
            if isinstance(error, AssertionError):
                self._on_defect(error)
            return failure(500, "Internal server error", "This is a defect of the service; its log says more.")


class _Body:
    """What comes in after the head: the body, then nothing until the client hangs up."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.is_closed = False

    async def read(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.is_closed = True
                raise _HungUpError
            part = message.get("body", b"")
            size += len(part)
            if size > BODY_LIMIT_BYTES:
                raise _BodyTooLargeError
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    async def hung_up(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.is_closed = True


async def _send(method: str, reply: Reply, cors: list[Header], send: Send) -> None:
    body = reply.encoded()
    headers: list[Header] = [
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *cors,
        *reply.headers,
    ]
    if reply.status != 204:
        headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": int(reply.status), "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
