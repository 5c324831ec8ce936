"""Which callers are let in: those with the token, as often as they may.

A token is compared in constant time, and stands in no reply, log line or repr. A wrong one costs its sender nothing but
patience: after ten within a minute further wrong ones from that address are put off, the right one never is.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Callable, Mapping
from typing import Final

from worker_orchestrator.http.reply import Reply, failure, retry_after
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
        self._buckets = None if rate == 0 else Buckets(DEFAULT_RATE if rate is None else rate)
        self._strikes, self._clock = Strikes(), clock

    def refusal(self, address: str, headers: Mapping[bytes, bytes]) -> Reply | None:
        """Why this caller (its IP address, its headers with names in lower case) is turned away; None if it may go on."""
        client = client_of(address)
        if self._digest is not None and not self._is_right(headers.get(b"authorization", b"")):
            return self._unknown(client)
        if self._buckets is None or not (self._counts_loopback or not is_on_loopback(client)):
            return None
        wait_s = self._buckets.take(client, self._clock())
        if not wait_s:
            return None
        return failure(429, "Too many requests", f"Ask again in {_seconds(wait_s)}.", retry_after(wait_s))

    def _is_right(self, authorization: bytes) -> bool:
        scheme, token = authorization[: len(_SCHEME)], authorization[len(_SCHEME) :].strip()
        digest = hashlib.sha256(token).digest()  # of one length, whatever was sent
        return scheme.lower() == _SCHEME and hmac.compare_digest(digest, self._digest or b"")

    def _unknown(self, client: str) -> Reply:
        wait_s = self._strikes.add(client, self._clock())
        if wait_s:
            return failure(
                429,
                "Too many wrong tokens",
                f"Send the right token; a wrong one is looked at again in {_seconds(wait_s)}.",
                retry_after(wait_s),
            )
        return failure(
            401,
            "Token required",
            "The token is missing or wrong. Send the header `Authorization: Bearer TOKEN` with the token that this service "
            "was started with.",
            [(b"www-authenticate", b"Bearer")],
        )


def _seconds(seconds: float) -> str:
    return f"{max(1, math.ceil(seconds))} s"
