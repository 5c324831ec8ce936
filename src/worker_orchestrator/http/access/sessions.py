"""Sessions of browsers that have logged in: a cookie and a key, which stand for the token only together.

A cookie ignores ports, so a browser gives it to every worker's page on localhost too, and sends it with every request that a
foreign page makes. The key is only in the reply to the login. The page keeps it in the storage of its own origin, which
includes the port, and sends it in a header: no other page knows it. Several tabs are one session with a key each.

Both are random, and kept in memory as digests: after a restart the token is asked for again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["COOKIE", "Lease", "Sessions", "session_key"]

COOKIE: Final = "orchestrator_session"
SESSIONS: Final = 1_000
KEYS: Final = 50
COOKIES: Final = 10
LASTS_S: Final = 12 * 3600.0
_KEY_IN_SOCKET: Final = b"key."
_BYTES: Final = 32

Headers = Mapping[bytes, bytes]


@dataclass(slots=True, eq=False)
class _Key:
    until: float
    ended: asyncio.Event = field(default_factory=asyncio.Event)


_Keys = OrderedDict[bytes, _Key]  # by digest


@dataclass(frozen=True, slots=True)
class Lease:
    """How long a request that a session began may go on."""

    _left_s: float
    _ended: asyncio.Event

    async def over(self) -> None:
        """Return when the session has ended: by the logout, or because its time is over."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), self._left_s)


class Sessions:
    """At most 1,000 sessions with 50 keys each; the latest are kept. `clock` counts seconds and never goes back.

    `name` tells this service from others: a cookie ignores ports, so the cookies of two services on one host must differ.
    """

    def __init__(self, clock: Callable[[], float], name: str = "") -> None:
        self._clock = clock
        self.cookie = f"{COOKIE}_{name}" if name else COOKIE
        self._sessions: OrderedDict[bytes, _Keys] = OrderedDict()  # by digest of the cookie

    def open(self, headers: Headers) -> tuple[str, str]:
        """Log in the caller with these headers (names in lower case). Returns the cookie's value and the key."""
        key = secrets.token_urlsafe(_BYTES)
        for cookie in self._cookies(headers):
            keys = self._sessions.get(_digest(cookie))
            if keys is not None and self._drop_old(keys):  # else the cookie is made up
                self._add(keys, key)
                return cookie.decode("latin-1"), key
        made = secrets.token_urlsafe(_BYTES)
        keys = self._sessions[_digest(made.encode())] = OrderedDict()
        self._add(keys, key)
        if len(self._sessions) > SESSIONS:
            _end(self._sessions.popitem(last=False)[1])
        return made, key

    def holds(self, headers: Headers) -> bool:
        """Whether these headers have a cookie of ours, and a key that belongs to it."""
        return self._find(headers) is not None

    def end(self, headers: Headers) -> None:
        """End the session with this cookie and key, for all its tabs."""
        match = self._find(headers)
        if match is not None:
            session, _ = match
            _end(self._sessions.pop(session))

    def lease(self, headers: Headers) -> Lease | None:
        """How long the session with this cookie and key may go on; None if there is none."""
        match = self._find(headers)
        if match is None:
            return None
        _, key = match
        return Lease(key.until - self._clock(), key.ended)

    def _find(self, headers: Headers) -> tuple[bytes, _Key] | None:
        """The digest of the session with this cookie and key, and the key; None if there is none."""
        key = session_key(headers)
        if not key:
            return None
        key_digest = _digest(key)
        for cookie in self._cookies(headers):
            session = _digest(cookie)
            for digest, known in self._drop_old(self._sessions.get(session, _Keys())).items():
                if hmac.compare_digest(key_digest, digest):
                    return session, known
        return None

    def _drop_old(self, keys: _Keys) -> _Keys:
        now = self._clock()
        while keys and next(iter(keys.values())).until <= now:
            keys.popitem(last=False)[1].ended.set()
        return keys

    def _add(self, keys: _Keys, key: str) -> None:
        keys[_digest(key.encode())] = _Key(self._clock() + LASTS_S)
        if len(keys) > KEYS:
            keys.popitem(last=False)[1].ended.set()

    def _cookies(self, headers: Headers) -> list[bytes]:
        """The values of our cookie. There may be several, since the page of a worker can set cookies as well."""
        pairs = (one.strip().partition(b"=") for one in headers.get(b"cookie", b"").split(b";"))
        return [value for name, _, value in pairs if name == self.cookie.encode() and value][:COOKIES]


def _end(keys: _Keys) -> None:
    for key in keys.values():
        key.ended.set()


def _digest(secret: bytes) -> bytes:
    """A digest of fixed length: the time of looking it up tells nothing of the secret."""
    return hashlib.sha256(secret).digest()


def session_key(headers: Headers) -> bytes:
    """The key, from the header; for a WebSocket, to which a page can give no headers, from the protocols that it offers."""
    in_header = headers.get(b"x-session-key", b"")
    if in_header:
        return in_header
    protocols = [one.strip() for one in headers.get(b"sec-websocket-protocol", b"").split(b",")]
    return next((one[len(_KEY_IN_SOCKET) :] for one in protocols if one.startswith(_KEY_IN_SOCKET)), b"")
