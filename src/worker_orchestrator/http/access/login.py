"""/login and /logout: a browser sends the token once, and is known by a session from then on.

These two paths need no token. Otherwise the rules of all paths hold: of host and origin, of rate, and of wrong tokens.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import ClassVar, Final

import msgspec

from worker_orchestrator.http.access.callers import Callers
from worker_orchestrator.http.reply import Header, Reply, allowed_methods, failure, method_not_allowed

__all__ = ["Login"]

_ATTRIBUTES: Final = "HttpOnly; SameSite=Strict; Path="


class _Token(msgspec.Struct):
    token: str


class _State(msgspec.Struct):
    required: bool
    signed_in: bool


class _SignedIn(msgspec.Struct):
    key: str


class Login:
    """Begins and ends the sessions of these callers. `root_path` is the path under which a proxy shows the service.

    No other program of the same host gets the cookie then. Nor does the service itself at paths that do not begin with it.
    """

    PATHS: ClassVar[frozenset[str]] = frozenset({"/login", "/logout"})

    def __init__(self, callers: Callers, root_path: str = "") -> None:
        self._callers, self._cookie = callers, callers.sessions.cookie
        self._attributes = f"{_ATTRIBUTES}{root_path or '/'}"

    async def reply(
        self, method: str, path: str, address: str, headers: Mapping[bytes, bytes], body: Callable[[], Awaitable[bytes]]
    ) -> Reply:
        """The reply at one of `PATHS`. `body` reads it whole, `address` is the caller's."""
        match path.removesuffix("/"), method:
            case "/login", "GET" | "HEAD":
                # Whether a token in the header is right is not told: it could be guessed here.
                needed = self._callers.need_token
                return Reply(200, _State(needed, not needed or self._callers.sessions.holds(headers)))
            case "/login", "POST":
                return self._log_in(address, headers, await body())
            case "/logout", "POST":
                await body()
                self._callers.sessions.end(headers)
                return Reply(204, None, [(b"set-cookie", f"{self._cookie}=; {self._attributes}; Max-Age=0".encode())])
            case "/login", _:
                return _not_allowed("GET, HEAD, POST", method)
            case _:
                return _not_allowed("POST", method)

    def _log_in(self, address: str, headers: Mapping[bytes, bytes], body: bytes) -> Reply:
        if not self._callers.need_token:
            return failure(
                409, "No token is required", "This service was started without a token. Use it without logging in."
            )
        try:
            token = msgspec.json.decode(body, type=_Token).token.encode()
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return failure(400, "token is required", 'Send {"token": "…"}.')
        refusal = self._callers.token_refusal(address, headers, token)
        if refusal is not None:
            return refusal
        value, key = self._callers.sessions.open(headers)
        # The cookie lasts as long as the browser's session. Behind a TLS proxy it is never sent unencrypted.
        secure = "; Secure" if headers.get(b"origin", b"").startswith(b"https:") else ""
        cookie: Header = (b"set-cookie", f"{self._cookie}={value}; {self._attributes}{secure}".encode())
        return Reply(200, _SignedIn(key), [cookie])


def _not_allowed(allowed: str, method: str) -> Reply:
    return allowed_methods(allowed) if method == "OPTIONS" else method_not_allowed(allowed)
