"""Which host port a new machine gets: the next one after the last one given, wrapping around.

A freed port is thereby given again last, so that a dead project's stale URL does not show the next tenant.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

__all__ = ["next_port"]


def next_port(last_given: int | None, first: int, last: int, is_taken: Callable[[int], bool]) -> int | None:
    """The next port of `first`..`last` (both included) after `last_given` that is free; None when all are taken."""
    assert 0 < first <= last <= 65535, f"no port range: {first}..{last}"
    ports = range(first, last + 1)
    given = 0 if last_given is None or last_given not in ports else ports.index(last_given) + 1
    for port in chain(ports[given:], ports[:given]):
        if not is_taken(port):
            return port
    return None
