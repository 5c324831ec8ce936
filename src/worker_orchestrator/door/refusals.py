"""How often one client may ask for what leads to no worker.

What a worker serves is not limited here: a page of a server for development loads a thousand files at once, and behind a
proxy all visitors have one address. It costs the service nothing either, which is asked once in a while. But each request
that leads to no worker is a question that the service answers, beside its assigns.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

__all__ = ["Refusals"]

RATE: Final = 100.0
"""Such requests of one client in a second."""
AT_ONCE: Final = 400
"""And so many after a pause: all that a page loads while its machine is on its way."""
CLIENTS: Final = 10_000


class Refusals:
    """A token bucket for each of the last clients. Times are seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self._full_at: OrderedDict[str, float] = OrderedDict()  # when the bucket of a client is full again

    def are_too_many(self, client: str, now: float) -> bool:
        """Whether the next question of this client has to wait."""
        return self._full_at.get(client, 0.0) + 1 / RATE - now > AT_ONCE / RATE

    def add(self, client: str, now: float) -> None:
        """A question of this client led to no worker."""
        self._full_at[client] = max(self._full_at.get(client, 0.0), now) + 1 / RATE
        self._full_at.move_to_end(client)
        if len(self._full_at) > CLIENTS:
            self._full_at.popitem(last=False)
