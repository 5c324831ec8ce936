"""The ASGI application: who may call, the route, the reply. Errors of any kind are answered, and never with a traceback.

The routes of the API document are one function call away, since they are called thousands of times a second. /v1 has a
router. The same rules of who may call hold for both.
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

from worker_orchestrator.control.caller import CALLER
from worker_orchestrator.errors import OutcomeUnknown
from worker_orchestrator.http.access.callers import Callers, Kind
from worker_orchestrator.http.access.guard import Guard
from worker_orchestrator.http.access.keyed import admit
from worker_orchestrator.http.access.login import Login
from worker_orchestrator.http.document import Document, Request
from worker_orchestrator.http.e2b.access import PREFIX as E2B
from worker_orchestrator.http.e2b.access import as_bearer, is_of_sandbox
from worker_orchestrator.http.edge_errors import failed, refused
from worker_orchestrator.http.monitoring import Monitoring
from worker_orchestrator.http.pages import dashboard, docs, openapi
from worker_orchestrator.http.pages.assets import AssetReply
from worker_orchestrator.http.previews.traefik import CHECK
from worker_orchestrator.http.problems import DEFECT
from worker_orchestrator.http.reply import EVERY, Header, Reply, failure, fields_of
from worker_orchestrator.http.server import limits
from worker_orchestrator.http.server.request_body import BodyTooLargeError, HungUpError, RequestBody
from worker_orchestrator.telemetry.request_id import REQUEST_ID, fit, new_id

__all__ = ["App"]

_E2B_NAME: Final = E2B.strip("/")
_STOPPING: Final = (
    "The service is stopping, and did not wait to see what came of this. Look, or ask again, when it runs."
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Caller:
    """A caller who passed all checks: if its next request has the same headers, they need not be checked again."""

    headers: Mapping[bytes, bytes]
    address: str
    request_id: str  # that the caller gives its requests; empty: none
    cors: str  # header fields of each reply


class App:
    """The API document's routes and /v1, behind the rules of who may call.

    `on_defect` is called with each assertion that failed: the process must not go on. `root_path` is as in the settings.
    `e2b` is what is behind /e2b; None if that door is closed.
    """

    def __init__(  # noqa: PLR0913 # what is behind the edge
        self,
        document: Document,
        v1: ASGIApp,
        monitoring: Monitoring,
        guard: Guard,
        callers: Callers,
        on_defect: Callable[[BaseException], None],
        root_path: str = "",
        *,
        e2b: ASGIApp | None = None,
    ) -> None:
        self._document, self._v1, self._e2b, self._monitoring = document, v1, e2b, monitoring
        self._guard, self._callers, self._on_defect = guard, callers, on_defect
        self._login = Login(callers, root_path)
        self._last_caller = _Caller({}, "", "", "")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return  # uvicorn goes on without it
        headers = dict(scope["headers"])
        request_id = _request_id(headers) or new_id()
        REQUEST_ID.set(request_id)
        CALLER.set(None)
        path: str = scope["path"]
        is_v1, is_e2b = path.startswith("/v1/"), self._e2b is not None and path.startswith(E2B)
        if is_e2b:
            headers = as_bearer(path, headers)
        if scope["type"] == "websocket":
            await self._open_socket(scope, receive, send, headers)
            return
        cors: list[Header] = [(b"x-request-id", request_id.encode())]
        reply = self._probe_reply(scope, headers) if path in Monitoring.PROBES else self._refusal(scope, headers)
        if reply is None:
            cors += [*self._guard.cors(headers), *([(b"vary", b"Accept")] if path == "/" else ())]
            asset = self._asset(scope["method"], path, headers)
            reply = self._early_reply(scope, headers, is_file=asset is not None)
            if asset is not None and reply is None:  # it holds no secret, and a browser cannot send a token to see it
                await _send_asset(scope["method"], asset, cors, send)
                return
        if is_v1 or is_e2b:
            refusal = None if reply is None else reply if reply.status == 204 else refused(reply, is_e2b=is_e2b)
            await self._answer_v1(scope, receive, _with(send, cors), refusal)
            return
        if reply is None:
            reply = self._monitoring.reply(scope["method"], path)
        if reply is None:
            try:
                reply = await self._answer(scope, headers, receive)
            except HungUpError:
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

        `answered` is called with the header fields that every reply has and the reply, perhaps before this returns. If the
        request takes more than that, or may be refused, this returns False and has done nothing: then the application must
        be called. `name` is a project id, `headers` are never changed, and the request must have no body.
        """
        if self._e2b is not None and name == _E2B_NAME:
            return False  # /e2b/ is below that door, /e2b a project, and here they look the same
        caller = self._last_caller
        if headers is not caller.headers or address != caller.address:
            if not self._guard.lets_pass(headers) or not self._callers.are_free(address, headers):
                return False
            caller = _Caller(headers, address, _request_id(headers), fields_of(self._guard.cors(headers)))
            if not self._callers.need_token and self._guard.is_no_browser(headers):
                self._last_caller = caller  # else: a session may end, an origin may become a worker's
        request_id = caller.request_id or new_id()
        answer = partial(answered, f"x-request-id: {request_id}\r\n{caller.cors}")
        token = REQUEST_ID.set(request_id)
        try:
            return self._document.at_once(method, name, answer)
        except Exception as error:  # noqa: BLE001 # as in `_answer`
            self._defect(error, f"/{name}")
            asyncio.get_running_loop().call_soon(answer, failure(500, "Internal server error", DEFECT))
            return True
        finally:
            REQUEST_ID.reset(token)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> Reply | None:
        is_dashboard = scope["method"] == "GET" and dashboard.is_page(scope["path"], headers)
        return self._guard.page_refusal(headers) if is_dashboard else self._guard.refusal(headers)

    def _early_reply(self, scope: Scope, headers: dict[bytes, bytes], *, is_file: bool = False) -> Reply | None:
        """The reply that needs no route: to a browser's preflight, which has no token, and to a caller who is refused."""
        if b"access-control-request-method" in headers and scope.get("method") == "OPTIONS":
            return Reply(204)
        if scope["path"] == CHECK:  # which looks for a proof itself
            return self._callers.too_often(_address(scope), Kind.CHECK)
        if is_file or _is_login(scope["path"]):
            return self._callers.too_often(_address(scope), Kind.PAGE)
        if self._e2b is not None and is_of_sandbox(scope["path"]):
            return self._callers.too_often(_address(scope), Kind.CALL)  # the sandbox has a token of its own
        return admit(self._callers, scope, headers, _address(scope))

    def _probe_reply(self, scope: Scope, headers: dict[bytes, bytes]) -> Reply:
        """A caller who uses a foreign host name, or has no token, is told no more than a load balancer needs."""

        def may_call() -> bool:
            return self._guard.refusal(headers) is None and self._callers.are_known(_address(scope), headers)

        refusal = self._callers.too_often(_address(scope), Kind.PROBE)
        return refusal or self._monitoring.probe(scope["method"], scope["path"], may_call)

    async def _answer(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Reply:
        method, path = scope["method"], scope["path"]
        is_login = _is_login(path)
        body = RequestBody(receive, limits.LOGIN_BODY_LIMIT_BYTES if is_login else limits.BODY_LIMIT_BYTES)
        try:
            if is_login:
                return await self._login.reply(method, path, _address(scope), headers, body.read)
            is_fenced = _is_fenced(headers, scope["query_string"])
            request = Request(method, path, self._guard.assign_refusal(headers), body.read, body.hung_up, is_fenced)
            return await self._document.answer(request)
        except BodyTooLargeError:
            return limits.body_too_large(body.limit_bytes)
        except asyncio.CancelledError:
            if body.is_closed:
                raise HungUpError from None
            return failure(503, "Service unavailable", _STOPPING)  # nobody else ends a request
        except HungUpError:
            raise
        except Exception as error:  # noqa: BLE001 # the outermost edge: a defect is answered and logged, and may end the process
            self._defect(error, scope["path"])
            return failure(500, "Internal server error", DEFECT)

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

        async def send_noted(message: MutableMapping[str, Any]) -> None:
            nonlocal began
            began = True
            await send(message)

        scope["path"] = scope["path"].removesuffix("/")
        hung_up = False

        async def receive_noted() -> MutableMapping[str, Any]:
            nonlocal hung_up
            message = await receive()
            hung_up = hung_up or message["type"] == "http.disconnect"
            return message

        try:
            app = self._e2b if self._e2b is not None and scope["path"].startswith(E2B) else self._v1
            await (refusal or app)(scope, receive_noted, send_noted)
        except asyncio.CancelledError:  # as in `_answer`
            if began and not hung_up:
                raise
            if not hung_up:
                await failed(OutcomeUnknown(_STOPPING), is_e2b=self._is_e2b(scope))(scope, receive, send)
        except Exception as error:  # noqa: BLE001 # as in `_answer`
            self._defect(error, scope["path"])
            if not began:
                broken = failure(500, "Internal server error", DEFECT)
                await refused(broken, is_e2b=self._is_e2b(scope))(scope, receive, send)

    def _is_e2b(self, scope: Scope) -> bool:
        return self._e2b is not None and scope["path"].startswith(E2B)

    async def _open_socket(self, scope: Scope, receive: Receive, send: Send, headers: dict[bytes, bytes]) -> None:
        """A browser lets a page of another site open a WebSocket without a preflight, so the same rules hold here."""
        refusal = self._guard.refusal(headers) or self._early_reply(scope, headers)
        try:
            if refusal is not None:
                socket = WebSocket(scope, receive, send)
                await socket.receive()
                await socket.send_denial_response(refused(refusal, is_e2b=False))
                return
            await self._v1(scope, receive, send)
        except Exception as error:  # noqa: BLE001 # as in `_answer`
            self._defect(error, scope["path"])

    # the description of the API with its page, and the dashboard

    @staticmethod
    def _asset(method: str, path: str, headers: dict[bytes, bytes]) -> AssetReply | None:
        if method not in {"GET", "HEAD"}:
            return None
        if path.startswith(("/docs", "/openapi.json")):
            asset = openapi.description() if path.removesuffix("/") == "/openapi.json" else docs.page(path)
        else:
            asset = dashboard.file(path, headers)
        return None if asset is None else asset.reply(headers)


def _request_id(headers: Mapping[bytes, bytes]) -> str:
    """The id that the caller gave this request; empty if there is none, or it is not fit for a log line."""
    return fit(headers.get(b"x-request-id", b"").decode("latin-1"))


def _is_fenced(headers: Mapping[bytes, bytes], query: bytes) -> bool:
    """Whether the caller insists on a generation of the machine, which only /v1 supports."""
    in_query = any(field.partition(b"=")[0].lower() == b"generation" for field in query.split(b"&"))
    return in_query or headers.get(b"if-match", b"*").strip() != b"*"


def _address(scope: Scope) -> str:
    return scope["client"][0] if scope["client"] else ""


def _is_login(path: str) -> bool:
    return path.removesuffix("/") in Login.PATHS


def _with(send: Send, headers: list[Header]) -> Send:
    """Sends with these headers, and those of every reply."""

    async def send_with_headers(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *EVERY, *headers]
        await send(message)

    return send_with_headers


async def _send_asset(method: str, asset: AssetReply, cors: list[Header], send: Send) -> None:
    await send({"type": "http.response.start", "status": asset.status, "headers": [*asset.headers, *cors]})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else asset.body})


async def _send(method: str, reply: Reply, cors: list[Header], send: Send) -> None:
    body = reply.encoded()
    await send({"type": "http.response.start", "status": int(reply.status), "headers": reply.head(body, cors)})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
