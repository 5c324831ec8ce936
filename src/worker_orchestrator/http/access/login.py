"""/login and /logout: a browser shows the token once, and is known by a session from then on.

No token is needed here, of course; who asks at all is judged as everywhere, and a wrong token counts as everywhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import ClassVar, Final

import msgspec

from worker_orchestrator.http.access.callers import Callers
from worker_orchestrator.http.reply import Header, Reply, failure

__all__ = ["Login"]

_ATTRIBUTES: Final = "HttpOnly; SameSite=Strict; Path=/"


class _Token(msgspec.Struct):
    token: str


class _State(msgspec.Struct):
    required: bool
    signed_in: bool


class _SignedIn(msgspec.Struct):
    key: str


class Login:
    """Opens and ends the sessions of these callers."""

    PATHS: ClassVar[frozenset[str]] = frozenset({"/login", "/logout"})
    BODY_LIMIT_BYTES: ClassVar[int] = 4096

    def __init__(self, callers: Callers) -> None:
        self._callers, self._cookie = callers, callers.sessions.cookie

    async def reply(
        self, method: str, path: str, address: str, headers: Mapping[bytes, bytes], body: Callable[[], Awaitable[bytes]]
    ) -> Reply:
        """The reply at one of `PATHS`. `body` reads it whole, `address` is the caller's."""
        match path.removesuffix("/"), method:
            case "/login", "GET" | "HEAD":
                needed = self._callers.need_token  # of a token in the header nothing is said: it could be guessed here
                return Reply(200, _State(needed, not needed or self._callers.sessions.holds(headers)))
            case "/login", "POST":
                return self._log_in(address, headers, await body())
            case "/logout", "POST":
                await body()
                self._callers.sessions.end(headers)
                return Reply(204, None, [(b"set-cookie", f"{self._cookie}=; {_ATTRIBUTES}; Max-Age=0".encode())])
            case "/login", _:
                return _not_allowed("GET, HEAD, POST", method)
            case _:
                return _not_allowed("POST", method)

    def _log_in(self, address: str, headers: Mapping[bytes, bytes], body: bytes) -> Reply:
        if not self._callers.need_token:
            return failure(
                409, "No token is required", "This service was started without one: there is nothing to log in to."
            )
        try:
            token = msgspec.json.decode(body, type=_Token).token.encode()
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return failure(400, "token is required", 'Send {"token": "…"}.')
        refusal = self._callers.token_refusal(address, headers, token)
        if refusal is not None:
            return refusal
        value, key = self._callers.sessions.open(headers)
        # For this session of the browser. Behind a TLS proxy it never goes out in the clear.
        secure = "; Secure" if headers.get(b"origin", b"").startswith(b"https:") else ""
        cookie: Header = (b"set-cookie", f"{self._cookie}={value}; {_ATTRIBUTES}{secure}".encode())
        return Reply(200, _SignedIn(key), [cookie])


def _not_allowed(allowed: str, method: str) -> Reply:
    if method == "OPTIONS":
        return Reply(204, None, [(b"allow", f"{allowed}, OPTIONS".encode())])
    return failure(
        HTTPStatus.METHOD_NOT_ALLOWED, "Method not allowed", f"Allowed here: {allowed}.", [(b"allow", allowed.encode())]
    )
