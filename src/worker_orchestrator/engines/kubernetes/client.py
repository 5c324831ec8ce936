"""Calls to one API server: JSON in and out, streams of lines, and WebSockets. It knows no pods.

Every call has a limit. A token that is refused is read again, once. If the server has too much to do, it says when to come
back (429), and nothing was carried out: that is waited for, as long as the call's limit allows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import msgspec
from yarl import URL

from worker_orchestrator.engines.kubernetes.calls import Refusal, refusal_of
from worker_orchestrator.engines.kubernetes.kubeconfig import Access

__all__ = ["CALL_LIMIT_S", "Client"]

CALL_LIMIT_S: Final = 20.0
CONNECT_LIMIT_S: Final = 5.0
BEGIN_LIMIT_S: Final = 10.0
"""For the beginning of a stream."""
_MOST_TRIES: Final = 4
_LONGEST_WAIT_S: Final = 5.0
_HEARTBEAT_S: Final = 20.0
_MERGE_PATCH: Final = "application/merge-patch+json"
_PARTS: Final = 4 * 1024 * 1024
"""A line of a watch is a whole pod."""
_ANYTHING: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder()

Params = Sequence[tuple[str, str]]


class Client:
    """One cluster. Made inside of an event loop."""

    def __init__(self, access: Access) -> None:
        self.access, self.namespace = access, access.namespace
        # No limit on connections: followers and terminals have theirs for as long as they last.
        connector = aiohttp.TCPConnector(limit=0, ssl=access.tls if access.tls is not None else False)
        self._session = aiohttp.ClientSession(connector=connector, read_bufsize=_PARTS, max_line_size=16_384)

    async def aclose(self) -> None:
        await self._session.close()

    def pods(self, name: str = "", part: str = "") -> str:
        """The path of our namespace's pods, of one of them, or of a part of that one."""
        return "/".join(filter(None, (f"/api/v1/namespaces/{self.namespace}/pods", name, part)))

    def leases(self, name: str = "") -> str:
        """The path of our namespace's Leases, or of one of them."""
        return "/".join(filter(None, (f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases", name)))

    async def call(
        self,
        method: str,
        path: str,
        params: Params = (),
        body: Any = None,
        *,
        limit_s: float = CALL_LIMIT_S,
        decoder: msgspec.json.Decoder[Any] = _ANYTHING,
    ) -> Any:
        """The JSON of the answer, as this decoder reads it. The body of a PATCH is a merge patch.

        Raises Refusal, aiohttp.ClientError, OSError, TimeoutError, EngineUnavailable.
        """
        async with asyncio.timeout(limit_s):
            data = None if body is None else msgspec.json.encode(body)
            response = await self._ask(method, path, params, data)
            async with response:
                return decoder.decode(await response.read())

    @asynccontextmanager
    async def stream(self, path: str, params: Params = ()) -> AsyncIterator[aiohttp.StreamReader]:
        """The bytes of the answer as they come, for as long as the caller reads. Raises as `call` does."""
        async with asyncio.timeout(BEGIN_LIMIT_S):
            response = await self._ask("GET", path, params, None)
        try:
            yield response.content
        finally:
            response.close()

    async def websocket(self, path: str, params: Params, protocols: Sequence[str]) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket that speaks one of these protocols. Raises as `call` does."""
        async with asyncio.timeout(BEGIN_LIMIT_S):
            for anew in (False, True):
                headers = {**await self._headers(anew=anew), "Accept": "*/*"}
                try:
                    socket: aiohttp.ClientWebSocketResponse = await self._session.ws_connect(
                        self._url(path, params), protocols=protocols, headers=headers,
                        heartbeat=_HEARTBEAT_S, max_msg_size=_PARTS, **self._ways(),
                    )  # fmt: skip
                except aiohttp.WSServerHandshakeError as error:
                    if error.status != HTTPStatus.UNAUTHORIZED or anew:
                        raise Refusal(error.status, message=error.message) from error
                else:
                    return socket
        raise AssertionError("the second try returns or raises")

    async def _ask(self, method: str, path: str, params: Params, data: bytes | None) -> aiohttp.ClientResponse:
        anew = False
        for tries in range(1, _MOST_TRIES + 1):
            headers = await self._headers(anew=anew)
            if data is not None:
                headers["Content-Type"] = _MERGE_PATCH if method == "PATCH" else "application/json"
            response = await self._session.request(
                method, self._url(path, params), headers=headers, data=data, allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_LIMIT_S), **self._ways(),
            )  # fmt: skip
            if response.status < HTTPStatus.MULTIPLE_CHOICES:
                return response
            async with response:
                refusal = refusal_of(response.status, response.headers, await response.read())
            if refusal.status == HTTPStatus.UNAUTHORIZED and not anew:
                anew = True
            elif refusal.status == HTTPStatus.TOO_MANY_REQUESTS and tries < _MOST_TRIES:
                wait_s = 1.0 if refusal.retry_after_s is None else refusal.retry_after_s
                await asyncio.sleep(min(wait_s, _LONGEST_WAIT_S))
            else:
                raise refusal
        raise Refusal(HTTPStatus.TOO_MANY_REQUESTS)

    def _url(self, path: str, params: Params) -> URL:
        query = f"?{urlencode(params)}" if params else ""
        return URL(f"{self.access.server}{path}{query}", encoded=True)

    def _ways(self) -> Mapping[str, Any]:
        ways: dict[str, Any] = {}
        if self.access.tls_name:
            ways["server_hostname"] = self.access.tls_name
        if self.access.proxy:
            ways["proxy"] = self.access.proxy
        return ways

    async def _headers(self, *, anew: bool) -> dict[str, str]:
        authorization = await self.access.credentials.authorization(anew=anew)
        headers = {"Accept": "application/json", "User-Agent": "worker-orchestrator"}
        return headers | ({"Authorization": authorization} if authorization else {})
