"""Which callers are let in: those with the token, a key, or a session that began with the token, as often as they may call.

A token is compared in constant time, and is part of no reply, log line or repr. After ten different wrong tokens within a
minute no further token of that caller is checked, right or wrong: otherwise one could guess at any rate, and the answer
would tell which guess is right. A caller that was right within the last hour is counted apart from the strangers of its
address, so that they cannot keep it out. A caller that sends no token does not guess: that never counts, and it is always
told what to send. Keys of the store are checked as the token is. Cookie and key of a session are random and too long to be
guessed, so the right ones are always let in.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final

from worker_orchestrator.control.keys import PREFIX, Keys
from worker_orchestrator.core.key import Key
from worker_orchestrator.http.access.sessions import Sessions, session_key
from worker_orchestrator.http.access.throttle import (
    Buckets,
    Guesses,
    Strikes,
    client_of,
    is_on_loopback,
)
from worker_orchestrator.http.reply import Reply, failure, retry_after
from worker_orchestrator.http.server.streamed_response import Lease

__all__ = ["DEFAULT_RATE", "Callers", "Kind"]

DEFAULT_RATE: Final = 100.0
"""Requests a second for each client that is not on this machine."""
_SCHEME: Final = b"bearer "
_WAY: Final = b"x-forwarded-for"
_FILES_AT_ONCE: Final = 200
"""A page consists of many small files, and a browser asks for all of them at once."""


class Kind(Enum):
    """The kinds of requests. Each has a rate of its own, so that what strangers may ask for uses up nothing of the calls."""

    CALL = "call"
    PAGE = "page"
    """The files of the pages, and the login."""
    PROBE = "probe"
    CHECK = "check"
    """What Traefik asks of each visitor."""


class Callers:
    """`token`: empty if none is required. `rate`: requests a second; 0: unlimited; None: DEFAULT_RATE beyond loopback.

    `clock` counts seconds and never goes back. `name` tells the sessions of this service from those of others on its host.
    `keys` are those of callers beside the operator. They are checked without a token as well: a caller that sends one wants
    to be no more than its key allows.
    """

    def __init__(
        self, token: str, rate: float | None, clock: Callable[[], float], name: str = "", keys: Keys | None = None
    ) -> None:
        self.keys = keys
        self._digest = hashlib.sha256(token.encode()).digest() if token else None
        self._counts_loopback = rate is not None
        self._is_open = not token and rate is None
        self._buckets = _buckets(DEFAULT_RATE if rate is None else rate)
        self._guesses, self._of_visitors, self._strikes, self._clock = Guesses(), Guesses(), Strikes(), clock
        self.sessions = Sessions(clock, name)

    @property
    def need_token(self) -> bool:
        return self._digest is not None

    def refusal(self, address: str, headers: Mapping[bytes, bytes]) -> Reply | None:
        """The reply to a caller (IP address, headers with names in lower case) that may not call; None if it may."""
        return self._unknown_caller(address, headers) or self.too_often(address, Kind.CALL)

    def are_free(self, address: str, headers: Mapping[bytes, bytes]) -> bool:
        """Whether this caller may call without being counted. If not, nothing is counted by this question either."""
        if b"authorization" in headers and _is_key(headers):
            return False  # what it may is looked at
        if self._is_open and address.startswith("127."):
            return True  # almost all callers: their address need not even be parsed
        client = client_of(address)
        if self._counts(client):
            return False
        if self._digest is None:
            return True
        token = _bearer(headers)
        return self._is_right(client, headers, token, self._guesses) is True if token else self.sessions.holds(headers)

    def are_known(self, address: str, headers: Mapping[bytes, bytes]) -> bool:
        """Whether these headers are the operator's: with the token, or the cookie and the key of a session."""
        return self._unknown_caller(address, headers) is None and self.key(headers) is None

    def key(self, headers: Mapping[bytes, bytes]) -> Key | None:
        """The key of a caller that `refusal` lets pass; None for the operator."""
        token = _bearer(headers)
        if self.keys is None or not token.startswith(PREFIX) or self._is_token(_digest(token)):
            return None
        key = self.keys.find(token)
        if key is not None:
            self.keys.note_used(key.name)
        return key

    def proof(self, headers: Mapping[bytes, bytes]) -> str:
        """The token or the key with which a caller came that `refusal` lets pass; empty if it came with neither."""
        token = _bearer(headers)
        is_key = self.keys is not None and self.keys.find(token) is not None
        return token.decode("latin-1") if is_key or self._is_token(_digest(token)) else ""

    def lease_of_key(self, key: Key, machine: str) -> Lease | None:
        """How long a caller with this key may go on with what is about this machine (empty: about none)."""
        return None if self.keys is None else self.keys.lease(key, machine)

    def token_refusal(
        self, address: str, headers: Mapping[bytes, bytes], token: bytes, *, takes_keys: bool = False
    ) -> Reply | None:
        """The reply to a wrong token, which counts against its sender; None if it is right. `takes_keys`: a key is, too."""
        client = client_of(address)
        verdict = self._is_right(client, headers, token, self._guesses, takes_keys=takes_keys)
        if verdict is True:
            return None
        if verdict is False:
            self._guesses.was_wrong(client, _way(headers), _digest(token), self._clock())
            return self._wrong_credentials(client)
        return failure(
            429,
            "Too many wrong tokens",
            f"Too many wrong tokens came from this address. No token from it is checked for {_seconds(verdict)}, not even "
            "the right one.",
            retry_after(verdict),
        )

    def is_right_of_visitor(self, address: str, token: bytes, way: bytes = b"") -> bool:
        """Whether a visitor of a preview has the token. `way`: its X-Forwarded-For, if `address` is that of a proxy.

        Wrong ones count apart from those of callers: the page of a project can send them too, from the address of whoever
        looks at it, and behind a proxy all visitors have one address, which may be that of a caller.
        """
        client, guesses = client_of(address), self._of_visitors
        verdict = self._is_right(client, {_WAY: way}, token, guesses)
        if verdict is False:
            guesses.was_wrong(client, way, _digest(token), self._clock())
        return verdict is True

    def lease(self, headers: Mapping[bytes, bytes]) -> Lease | None:
        """How long a caller with a session may go on; None for one with the token, or if none is required."""
        return None if self._digest is None else self.sessions.lease(headers)

    def too_often(self, address: str, kind: Kind) -> Reply | None:
        """The reply to one request too many from this IP address; None if this request may be made."""
        client = client_of(address)
        if not self._counts(client):
            return None
        wait_s = self._buckets[kind].take(client, self._clock())
        if not wait_s:
            return None
        return failure(
            429,
            "Too many requests",
            f"Too many requests came from this address, more than --rate-limit of the service allows. Try again in "
            f"{_seconds(wait_s)}.",
            retry_after(wait_s),
        )

    def _counts(self, client: str) -> bool:
        return bool(self._buckets) and (self._counts_loopback or not is_on_loopback(client))

    def _unknown_caller(self, address: str, headers: Mapping[bytes, bytes]) -> Reply | None:
        token = _bearer(headers)
        if self.keys is not None and token.startswith(PREFIX):
            return self.token_refusal(address, headers, token, takes_keys=True)
        if self._digest is None or self.sessions.holds(headers):
            return None
        if token:
            return self.token_refusal(address, headers, token)
        return self._wrong_credentials(client_of(address)) if _have_credentials(headers) else _token_required()

    def _is_right(
        self, client: str, headers: Mapping[bytes, bytes], token: bytes, guesses: Guesses, *, takes_keys: bool = False
    ) -> bool | float:
        """Whether this is the token, or a key where it `takes_keys`; if too many were wrong, the seconds till the next."""
        digest, way, now = _digest(token), _way(headers), self._clock()
        wait_s = guesses.wait_s(client, way, digest, now)
        if wait_s:
            return wait_s
        is_key = takes_keys and self.keys is not None and self.keys.find(token) is not None
        if not self._is_token(digest) and not is_key:
            return False
        guesses.was_right(client, way, now)
        return True

    def _is_token(self, digest: bytes) -> bool:
        return self._digest is not None and hmac.compare_digest(digest, self._digest)

    def _wrong_credentials(self, client: str) -> Reply:
        """The reply to a token or a session that is wrong."""
        wait_s = self._strikes.add(client, self._clock())
        if wait_s:
            return failure(
                429,
                "Too many wrong tokens",
                f"Send the right token. The next wrong one is checked in {_seconds(wait_s)}.",
                retry_after(wait_s),
            )
        return _token_required()


def _buckets(rate: float) -> dict[Kind, Buckets]:
    """By kind of request; empty if the rate is unlimited."""
    return {kind: Buckets(rate, at_once=_FILES_AT_ONCE if kind is Kind.PAGE else 1.0) for kind in Kind} if rate else {}


def _digest(token: bytes) -> bytes:
    """A digest of fixed length, whatever was sent."""
    return hashlib.sha256(token).digest()


def _bearer(headers: Mapping[bytes, bytes]) -> bytes:
    """The token in these headers; empty if there is none."""
    authorization = headers.get(b"authorization", b"")
    is_bearer = authorization[: len(_SCHEME)].lower() == _SCHEME
    return authorization[len(_SCHEME) :].strip() if is_bearer else b""


def _is_key(headers: Mapping[bytes, bytes]) -> bool:
    return _bearer(headers).startswith(PREFIX)


def _way(headers: Mapping[bytes, bytes]) -> bytes:
    return headers.get(_WAY, b"")


def _have_credentials(headers: Mapping[bytes, bytes]) -> bool:
    """Whether these headers have anything that could let a caller in. A cookie alone does not: browsers send it always."""
    return bool(headers.get(b"authorization", b"").strip() or session_key(headers))


def _token_required() -> Reply:
    return failure(
        401,
        "Token required",
        "The token is missing or wrong. Send the header `Authorization: Bearer TOKEN` with the token that this service "
        "was started with, or with a key of it.",
        [(b"www-authenticate", b"Bearer")],
    )


def _seconds(seconds: float) -> str:
    return f"{max(1, math.ceil(seconds))} s"
