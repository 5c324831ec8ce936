"""How much one client may ask: a token bucket for its requests, windows for its failed attempts. Time comes in as data.

Memory is bounded: 10,000 clients are kept, those that called last. A client that was forgotten starts anew.
Times are seconds of any clock that never goes back. https://en.wikipedia.org/wiki/Token_bucket
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from worker_orchestrator.door.clients import client_of, is_on_loopback

__all__ = ["Buckets", "Guesses", "Strikes", "client_of", "is_on_loopback"]

CLIENTS: Final = 10_000
STRIKES: Final = 10
WINDOW_S: Final = 60.0
KNOWN_S: Final = 3600.0
"""So long after it sent the right secret, a caller is not counted with the strangers of its address."""
KNOWN_AGAIN_S: Final = 60.0
"""So often at most is it noted that a caller was right."""
LONGEST_WAY_BYTES: Final = 256

_T = TypeVar("_T")


class Buckets:
    """Each client may ask `rate` times a second, and after a pause `2 * rate` times at once (or `at_once` if it is more)."""

    def __init__(self, rate: float, clients: int = CLIENTS, *, at_once: float = 1.0) -> None:
        self._rate, self._burst = rate, max(at_once, 2 * rate)
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
    """Failed attempts: ten within a minute are allowed, and further ones are refused."""

    def __init__(self, clients: int = CLIENTS) -> None:
        self._times = _Recent[deque[float]](clients, lambda: deque(maxlen=STRIKES))

    def add(self, client: str, now: float) -> float:
        """0.0 if this failed attempt counts as one of the ten, else the seconds until one will."""
        times = self._times[client]
        if len(times) == STRIKES and now - times[0] < WINDOW_S:
            return WINDOW_S - (now - times[0])
        times.append(now)
        return 0.0


class Guesses:
    """Limits guesses of a secret: of each caller ten different wrong ones within a minute are checked, then none.

    Then not even the right one is checked: otherwise one could guess at any rate, and the answer would tell which guess is
    right. But a caller that guesses must not keep out one that knows the secret. So a caller that was right is known for an
    hour, by its client and its way (the header X-Forwarded-For, to which each proxy adds the address that it hears from),
    and is counted apart. All others of a client are counted as one, whatever way they claim. A secret that was wrong a
    moment ago is not a new guess, so a program with an old secret keeps no other one out.
    """

    def __init__(self, clients: int = CLIENTS) -> None:
        self._clients = clients
        self._wrong = _Recent[deque[tuple[float, bytes]]](clients, lambda: deque(maxlen=STRIKES))
        self._known: OrderedDict[tuple[str, bytes], float] = OrderedDict()  # since when

    def wait_s(self, client: str, way: bytes, guess: bytes, now: float) -> float:
        """0.0 if this guess (a digest) may be checked, else the seconds until one may."""
        if not len(self._wrong):
            return 0.0  # almost always the case
        guesses = self._wrong[self._counted_as(client, way, now)]
        if len(guesses) < STRIKES or now - guesses[0][0] >= WINDOW_S or self._is_known_wrong(guesses, guess, now):
            return 0.0
        return WINDOW_S - (now - guesses[0][0])

    def was_right(self, client: str, way: bytes, now: float) -> None:
        caller = client, way[-LONGEST_WAY_BYTES:]
        if now - self._known.get(caller, -KNOWN_S) < KNOWN_AGAIN_S:
            return
        self._known[caller] = now
        self._known.move_to_end(caller)
        if len(self._known) > self._clients:
            self._known.popitem(last=False)

    def was_wrong(self, client: str, way: bytes, guess: bytes, now: float) -> None:
        guesses = self._wrong[self._counted_as(client, way, now)]
        if not self._is_known_wrong(guesses, guess, now):
            guesses.append((now, guess))

    def _counted_as(self, client: str, way: bytes, now: float) -> str:
        way = way[-LONGEST_WAY_BYTES:]
        since = self._known.get((client, way))
        return client if since is None or now - since >= KNOWN_S else f"{client} by {way.decode('latin-1')}"

    @staticmethod
    def _is_known_wrong(guesses: deque[tuple[float, bytes]], guess: bytes, now: float) -> bool:
        return any(known == guess and now - time < WINDOW_S for time, known in guesses)


class _Recent(Generic[_T]):
    """What is known of the clients that called last, of at most `limit` clients."""

    def __init__(self, limit: int, new: Callable[[], _T]) -> None:
        self._limit, self._new = limit, new
        self._known: OrderedDict[str, _T] = OrderedDict()

    def __getitem__(self, client: str) -> _T:
        record = self._known.get(client)
        if record is None:
            record = self._known[client] = self._new()
            if len(self._known) > self._limit:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(client)
        return record

    def __len__(self) -> int:
        return len(self._known)
