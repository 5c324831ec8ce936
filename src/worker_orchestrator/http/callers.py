"""Which callers are let in: those with the token, or a session that began with it, as often as they may.

A token is compared in constant time, and stands in no reply, log line or repr. A wrong one costs its sender nothing but
patience: after ten within a minute further wrong ones from that address are put off, the right one never is. Whoever sends
none guesses nothing: that never counts, and always hears what to send.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Callable, Mapping
from typing import Final

from worker_orchestrator.http.reply import Reply, failure, retry_after
from worker_orchestrator.http.sessions import Sessions, session_key
from worker_orchestrator.http.throttle import Buckets, Strikes, client_of, is_on_loopback

__all__ = ["DEFAULT_RATE", "Callers"]

DEFAULT_RATE: Final = 100.0
"""Requests a second for each client that is not on this machine."""
_SCHEME: Final = b"bearer "


class Callers:
    """`token`: what they must know; empty: nothing. `rate`: requests a second; 0: any; None: DEFAULT_RATE beyond loopback.

    `clock` counts seconds and never goes back.
    """

    def __init__(self, token: str, rate: float | None, clock: Callable[[], float]) -> None:
        self._digest = hashlib.sha256(token.encode()).digest() if token else None
        self._counts_loopback = rate is not None
        self._is_open = not token and rate is None
        self._buckets = None if rate == 0 else Buckets(DEFAULT_RATE if rate is None else rate)
        self._strikes, self._clock = Strikes(), clock
        self.sessions = Sessions(clock)

    @property
    def need_token(self) -> bool:
        return self._digest is not None

    def refusal(self, address: str, headers: Mapping[bytes, bytes]) -> Reply | None:
        """Why this caller (its IP address, its headers with names in lower case) is turned away; None if it may go on."""
        if not self.are_known(headers):
            return self.wrong(address) if _are_a_try(headers) else _token_required()
        return self.too_often(address)

    def are_free(self, address: str, headers: Mapping[bytes, bytes]) -> bool:
        """Whether this caller may go on without being counted. Asking costs it nothing."""
        if self._is_open and address.startswith("127."):
            return True  # almost all: not even who they are needs to be known
        return not self._counts(client_of(address)) and self.are_known(headers)

    def are_known(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether these headers let a caller in: with the token, or the cookie and the key of a session."""
        return self._digest is None or self._is_bearer(headers) or self.sessions.holds(headers)

    def is_token(self, token: bytes) -> bool:
        digest = hashlib.sha256(token).digest()  # of one length, whatever was sent
        return self._digest is not None and hmac.compare_digest(digest, self._digest)

    def too_often(self, address: str) -> Reply | None:
        """The reply to one request too many from this IP address; None if it may be made."""
        client = client_of(address)
        if self._buckets is None or not self._counts(client):
            return None
        wait_s = self._buckets.take(client, self._clock())
        if not wait_s:
            return None
        return failure(
            429,
            "Too many requests",
            f"Too many requests came from this address, more than --rate-limit of the service allows: ask again in "
            f"{_seconds(wait_s)}.",
            retry_after(wait_s),
        )

    def _counts(self, client: str) -> bool:
        return self._buckets is not None and (self._counts_loopback or not is_on_loopback(client))

    def _is_bearer(self, headers: Mapping[bytes, bytes]) -> bool:
        authorization = headers.get(b"authorization", b"")
        scheme, token = authorization[: len(_SCHEME)], authorization[len(_SCHEME) :].strip()
        return self.is_token(token) and scheme.lower() == _SCHEME

    def wrong(self, address: str) -> Reply:
        """The reply to a token or a session that is wrong, which counts against its sender."""
        wait_s = self._strikes.add(client_of(address), self._clock())
        if wait_s:
            return failure(
                429,
                "Too many wrong tokens",
                f"Send the right token; a wrong one is looked at again in {_seconds(wait_s)}.",
                retry_after(wait_s),
            )
        return _token_required()


def _are_a_try(headers: Mapping[bytes, bytes]) -> bool:
    """Whether these headers bring anything that could let a caller in. A cookie alone goes along with any page's request."""
    return bool(headers.get(b"authorization", b"").strip() or session_key(headers))


def _token_required() -> Reply:
    return failure(
        401,
        "Token required",
        "The token is missing or wrong. Send the header `Authorization: Bearer TOKEN` with the token that this service "
        "was started with.",
        [(b"www-authenticate", b"Bearer")],
    )


def _seconds(seconds: float) -> str:
    return f"{max(1, math.ceil(seconds))} s"
