"""How much one client may ask: a token bucket for its requests, a window for its failed attempts. Time comes in as data.

What is kept is bounded: of more than 10,000 clients those that were seen last, since whoever was forgotten starts anew.
Times are seconds of any clock that never goes back. https://en.wikipedia.org/wiki/Token_bucket
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Generic, TypeVar

__all__ = ["Buckets", "Strikes", "client_of", "is_on_loopback"]

CLIENTS: Final = 10_000
STRIKES: Final = 10
WINDOW_S: Final = 60.0

_T = TypeVar("_T")


@lru_cache(maxsize=1024)
def client_of(address: str) -> str:
    """Who an address stands for: itself, and in IPv6 its /64, since one host may use all of that."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""  # a local socket: all that come by it are one
    if isinstance(ip, ipaddress.IPv4Address) or ip.is_loopback:
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip, 64), strict=False))


def is_on_loopback(client: str) -> bool:
    """Whether a client, as `client_of` names it, calls from this machine."""
    return client.startswith("127.") or client in {"::1", ""}


class Buckets:
    """Each client may ask `rate` times a second, and after a pause `2 * rate` times at once."""

    def __init__(self, rate: float, clients: int = CLIENTS) -> None:
        self._rate, self._burst = rate, max(1.0, 2 * rate)
        self._full_at = _Recent[list[float]](clients, lambda: [0.0])

    def take(self, client: str, now: float) -> float:
        """0.0 if this request may be made, else the seconds until one may.

        A bucket is one number: when it will be full again. A request moves that by one interval; it must not lie
        further ahead than a whole bucket takes to fill.
        """
        full_at = self._full_at[client]
        moved = max(full_at[0], now) + 1 / self._rate
        wait_s = moved - now - self._burst / self._rate
        if wait_s > 1e-9:  # what sums of floats are off by
            return wait_s
        full_at[0] = moved
        return 0.0


class Strikes:
    """Failed attempts: ten within a minute are one too few to be turned away."""

    def __init__(self, clients: int = CLIENTS) -> None:
        self._times = _Recent[deque[float]](clients, lambda: deque(maxlen=STRIKES))

    def add(self, client: str, now: float) -> float:
        """0.0 if this failed attempt counts as one of the ten, else the seconds until one will."""
        times = self._times[client]
        if len(times) == STRIKES and now - times[0] < WINDOW_S:
            return WINDOW_S - (now - times[0])
        times.append(now)
        return 0.0


class _Recent(Generic[_T]):
    """What is known of the clients that were seen last, at most so many."""

    def __init__(self, limit: int, new: Callable[[], _T]) -> None:
        self._limit, self._new = limit, new
        self._known: OrderedDict[str, _T] = OrderedDict()

    def __getitem__(self, client: str) -> _T:
        found = self._known.get(client)
        if found is None:
            found = self._known[client] = self._new()
            if len(self._known) > self._limit:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(client)
        return found

    def __len__(self) -> int:
        return len(self._known)
