"""The ASGI application: who may call, the route, the reply. Whatever goes wrong is answered without a trace.

The document's routes are a plain function call away: they are the ones that are asked thousands of times a second. /v1 has a
router; both stand behind the same rules of who may call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from worker_orchestrator.http import problems
from worker_orchestrator.http.access.callers import Callers, Kind
from worker_orchestrator.http.access.guard import Guard
from worker_orchestrator.http.access.login import Login
from worker_orchestrator.http.document import Document, Request
from worker_orchestrator.http.monitoring import Operating
from worker_orchestrator.http.pages import dashboard, docs, openapi
from worker_orchestrator.http.reply import Header, Reply, failure, fields_of
from worker_orchestrator.http.server.streamed_response import LEASE
from worker_orchestrator.telemetry.request_id import REQUEST_ID, fit, new_id

__all__ = ["App"]

BODY_LIMIT_BYTES: Final = 1024 * 1024
_DEFECT: Final = "This is a defect of the service; its log says more."

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Caller:
    """Whom nothing speaks against: a client's next request comes with the same headers, so it need not be judged again."""

    headers: Mapping[bytes, bytes]
    address: str
    request_id: str  # that it gives its requests; empty: none
    cors: str


class _BodyTooLargeError(Exception):
    pass


class _HungUpError(Exception):
    pass


class App:
    """A document and /v1 behind the rules of who may call.

    `on_defect` gets assertions that failed: the process must not go on.
    """

    def __init__(
        self,
        document: Document,
        v1: ASGIApp,
        operating: Operating,
        guard: Guard,
        callers: Callers,
        on_defect: Callable[[BaseException], None],
    ) -> None:
        self._document, self._v1, self._operating = document, v1, operating
        self._guard, self._callers, self._login, self._on_defect = guard, callers, Login(callers), on_defect
        self._last_caller = _Caller({}, "", "", "")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return  # the server goes on by itself
        headers = dict(scope["headers"])
        request_id = _given_id(headers) or new_id()
        REQUEST_ID.set(request_id)
        path: str = scope["path"]
        is_v1 = path.startswith("/v1/")
        if scope["type"] == "websocket":
            await self._open_socket(scope, receive, send, headers)
            return
        cors: list[Header] = [(b"x-request-id", request_id.encode())]
        reply = self._probed(scope, headers) if path in Operating.PROBES else self._guard.refusal(headers)
        if reply is None:
            cors += [*self._guard.cors(headers), *([(b"vary", b"Accept")] if path == "/" else ())]
            served = self._asset(scope["method"], path, headers)
            reply = self._at_once(scope, headers, is_file=served is not None)
            if served is not None and reply is None:  # it holds no secret, and a browser cannot send a token to see it
                await _send_asset(scope["method"], served, cors, send)
                return
        if is_v1:
            refusal = None if reply is None else reply if reply.status == 204 else problems.of_reply(reply)
            await self._answer_v1(scope, receive, _with(send, cors), refusal)
            return
        if reply is None:
            reply = self._operating.reply(scope["method"], path)
        if reply is None:
            try:
                reply = await self._answer(scope, headers, receive)
            except _HungUpError:
                return
        await _send(scope["method"], reply, cors, send)

    def at_once(
        self,
        method: str,
        name: str,
        address: str,
        headers: dict[bytes, bytes],
        answered: Callable[[str, Reply], None],
    ) -> bool:
        """Answer an assign or a release that waits for nothing but the store, without a task: the way of almost all of them.

        `answered` gets the fields that every reply has and the reply, perhaps before this returns. False, and nothing is
        done, where it takes more or something speaks against it: then the application must be called. `name` is a project
        id, `headers` never change, and the request must have no body.
        """
        caller = self._last_caller
        if headers is not caller.headers or address != caller.address:
            if not self._guard.lets_pass(headers) or not self._callers.are_free(address, headers):
                return False
            caller = _Caller(headers, address, _given_id(headers), fields_of(self._guard.cors(headers)))
            if not self._callers.need_token and self._guard.is_no_browser(headers):
                self._last_caller = caller  # else a session may end, or an origin become that of a worker's page
        request_id = caller.request_id or new_id()
        answer = partial(answered, f"x-request-id: {request_id}\r\n{caller.cors}")
        token = REQUEST_ID.set(request_id)
        try:
            return self._document.at_once(method, name, answer)
        except Exception as error:  # noqa: BLE001 # as in `_answer`
            self._defect(error, f"/{name}")
            asyncio.get_running_loop().call_soon(answer, failure(500, "Internal server error", _DEFECT))
            return True
        finally:
            REQUEST_ID.reset(token)

    def _at_once(self, scope: Scope, headers: dict[bytes, bytes], *, is_file: bool = False) -> Reply | None:
        """The reply that needs no route: to a browser's preflight, which carries no token, and to whom we do not serve."""
        if b"access-control-request-method" in headers and scope.get("method") == "OPTIONS":
            return Reply(204)
        if is_file or _is_login(scope["path"]):
            return self._callers.too_often(_address(scope), Kind.PAGE)
        refusal = self._callers.refusal(_address(scope), headers)
        if refusal is None:
            scope[LEASE] = self._callers.lease(headers)
        return refusal

    def _probed(self, scope: Scope, headers: dict[bytes, bytes]) -> Reply:
        """Who asks by a name that is not ours, or without the token, hears no more than a load balancer needs."""

        def may_call() -> bool:
            return self._guard.refusal(headers) is None and self._callers.are_known(_address(scope), headers)

        often = self._callers.too_often(_address(scope), Kind.PROBE)
        return often or self._operating.probe(scope["method"], scope["path"], may_call)

    async def _answer(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Reply:
        method, path = scope["method"], scope["path"]
        is_login = _is_login(path)
        body = _Body(receive, Login.BODY_LIMIT_BYTES if is_login else BODY_LIMIT_BYTES)
        try:
            if is_login:
                return await self._login.reply(method, path, _address(scope), headers, body.read)
            is_fenced = _is_fenced(headers, scope["query_string"])
            request = Request(method, path, self._guard.assign_refusal(headers), body.read, body.hung_up, is_fenced)
            return await self._document.answer(request)
        except _BodyTooLargeError:
            return failure(413, "Request body too large", f"At most {body.limit_bytes} bytes are read.")
        except asyncio.CancelledError:
            if body.is_closed:
                raise _HungUpError from None
            raise
        except _HungUpError:
            raise
        except Exception as error:  # noqa: BLE001 # the outermost edge: a defect is answered, logged and, if need be, fatal
            self._defect(error, scope["path"])
            return failure(500, "Internal server error", _DEFECT)

    def _defect(self, error: Exception, path: str) -> None:
        _log.exception("defect", path=path)
        if isinstance(error, AssertionError):
            self._on_defect(error)

    # /v1

    async def _answer_v1(self, scope: Scope, receive: Receive, send: Send, refusal: Reply | Response | None) -> None:
        if isinstance(refusal, Reply):
            await send({"type": "http.response.start", "status": refusal.status, "headers": refusal.headers})
            await send({"type": "http.response.body", "body": b""})
            return
        began = False

        async def told(message: MutableMapping[str, Any]) -> None:
            nonlocal began
            began = True
            await send(message)

        scope["path"] = scope["path"].removesuffix("/")
        hung_up = False

        async def received() -> MutableMapping[str, Any]:
            nonlocal hung_up
            message = await receive()
            hung_up = hung_up or message["type"] == "http.disconnect"
            return message

        try:
            await (self._v1 if refusal is None else refusal)(scope, received, told)
        except asyncio.CancelledError:
            if not hung_up:
                raise
        except Exception as error:  # noqa: BLE001 # as in `_answer`
            self._defect(error, scope["path"])
            if not began:
                broken = problems.problem(500, "internal_error", "Internal server error", _DEFECT)
                await broken(scope, receive, send)

    async def _open_socket(self, scope: Scope, receive: Receive, send: Send, headers: dict[bytes, bytes]) -> None:
        """A page of another site may open a WebSocket without asking anybody, so the same rules hold."""
        refusal = self._guard.refusal(headers) or self._at_once(scope, headers)
        try:
            if refusal is not None:
                socket = WebSocket(scope, receive, send)
                await socket.receive()
                await socket.send_denial_response(problems.of_reply(refusal))
                return
            await self._v1(scope, receive, send)
        except Exception as error:  # noqa: BLE001 # as in `_answer`
            self._defect(error, scope["path"])

    # the description of the API with its page, and the dashboard

    @staticmethod
    def _asset(method: str, path: str, headers: dict[bytes, bytes]) -> docs.Served | None:
        if method not in {"GET", "HEAD"}:
            return None
        if path.startswith(("/docs", "/openapi.json")):
            asset = openapi.description() if path.removesuffix("/") == "/openapi.json" else docs.page(path)
        else:
            asset = dashboard.file(path, headers)
        return None if asset is None else asset.served(headers)


def _given_id(headers: Mapping[bytes, bytes]) -> str:
    """The id that the request bears; empty where it is not fit for a log line."""
    return fit(headers.get(b"x-request-id", b"").decode("latin-1"))


def _is_fenced(headers: Mapping[bytes, bytes], query: bytes) -> bool:
    """Whether this is meant for a machine of one generation only."""
    named = any(field.partition(b"=")[0].lower() == b"generation" for field in query.split(b"&"))
    return named or headers.get(b"if-match", b"*").strip() != b"*"


def _address(scope: Scope) -> str:
    return scope["client"][0] if scope["client"] else ""


def _is_login(path: str) -> bool:
    return path.removesuffix("/") in Login.PATHS


class _Body:
    """What comes in after the head: the body, then nothing until the client hangs up."""

    def __init__(self, receive: Receive, limit_bytes: int) -> None:
        self._receive, self.limit_bytes = receive, limit_bytes
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
            if size > self.limit_bytes:
                raise _BodyTooLargeError
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    async def hung_up(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.is_closed = True


def _with(send: Send, headers: list[Header]) -> Send:
    """Sends with these headers, and those that every reply has."""

    async def sent(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            always = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
            message["headers"] = [*message.get("headers", ()), *always, *headers]
        await send(message)

    return sent


async def _send_asset(method: str, served: docs.Served, cors: list[Header], send: Send) -> None:
    await send({"type": "http.response.start", "status": served.status, "headers": [*served.headers, *cors]})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else served.body})


async def _send(method: str, reply: Reply, cors: list[Header], send: Send) -> None:
    body = reply.encoded()
    await send({"type": "http.response.start", "status": int(reply.status), "headers": reply.head(body, cors)})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
