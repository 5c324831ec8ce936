"""Who has signed in with a browser: a cookie and a key, which stand for the token only together.

A cookie ignores ports, so a browser hands it to every worker's page on localhost too, and sends it along with whatever a
foreign page asks for. The key is in the reply to the login alone. The page keeps it in the storage of its own origin, port
included, and sends it in a header: no other page knows it. Several tabs are one session with a key each.

Both are random and kept as digests, in memory: a restart asks for the token again.
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
    """How long what a session began may go on."""

    _left_s: float
    _ended: asyncio.Event

    async def over(self) -> None:
        """Return when the session has ended: with the logout, or its time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), self._left_s)


class Sessions:
    """At most 1,000, with 50 keys each; those that began last are kept. `clock` counts seconds and never goes back.

    `name` is this service's: a cookie ignores ports, so those of two services on one host must differ.
    """

    def __init__(self, clock: Callable[[], float], name: str = "") -> None:
        self._clock = clock
        self.cookie = f"{COOKIE}_{name}" if name else COOKIE
        self._sessions: OrderedDict[bytes, _Keys] = OrderedDict()  # by digest of the cookie

    def open(self, headers: Headers) -> tuple[str, str]:
        """Sign in whoever sent these headers (names in lower case). Returns the cookie's value and the key."""
        key = secrets.token_urlsafe(_BYTES)
        for cookie in self._cookies(headers):
            keys = self._sessions.get(_digest(cookie))
            if keys is not None and self._drop_old(keys):  # else one that somebody made up
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
        return self._found(headers) is not None

    def end(self, headers: Headers) -> None:
        """End the session that these headers have cookie and key of, for all its tabs."""
        found = self._found(headers)
        if found is not None:
            _end(self._sessions.pop(found[0]))

    def lease(self, headers: Headers) -> Lease | None:
        """How long the session that these headers have cookie and key of may go on; None where there is none."""
        found = self._found(headers)
        return None if found is None else Lease(found[1].until - self._clock(), found[1].ended)

    def _found(self, headers: Headers) -> tuple[bytes, _Key] | None:
        """The session, by its digest, and its key."""
        key = session_key(headers)
        if not key:
            return None
        given = _digest(key)
        for cookie in self._cookies(headers):
            session = _digest(cookie)
            for digest, found in self._drop_old(self._sessions.get(session, _Keys())).items():
                if hmac.compare_digest(given, digest):
                    return session, found
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
        """Those of our name. There may be several: the page of a worker can set some as well."""
        pairs = (one.strip().partition(b"=") for one in headers.get(b"cookie", b"").split(b";"))
        return [value for name, _, value in pairs if name == self.cookie.encode() and value][:COOKIES]


def _end(keys: _Keys) -> None:
    for key in keys.values():
        key.ended.set()


def _digest(secret: bytes) -> bytes:
    """Of one length, whatever was sent; and what it is found by says nothing of it."""
    return hashlib.sha256(secret).digest()


def session_key(headers: Headers) -> bytes:
    """From the header, or for a WebSocket, which a page can give no headers, from the protocols that it names."""
    given = headers.get(b"x-session-key", b"")
    named = headers.get(b"sec-websocket-protocol", b"").split(b",") if not given else ()
    return next((one.strip()[len(_KEY_IN_SOCKET) :] for one in named if one.strip().startswith(_KEY_IN_SOCKET)), given)
