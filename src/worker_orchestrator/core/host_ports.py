"""Which host port a new machine gets: the next one after the last one given, wrapping around.

A port that becomes free is thereby given again as late as possible, so an old URL of one project does not show the worker of
the next.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.spec import Spec

__all__ = ["next_port", "no_port_left", "take_port"]


def next_port(last_given: int | None, first: int, last: int, is_taken: Callable[[int], bool]) -> int | None:
    """The next port of `first`..`last` (both included) after `last_given` that is free; None when all are taken."""
    assert 0 < first <= last <= 65535, f"no port range: {first}..{last}"
    ports = range(first, last + 1)
    given = 0 if last_given is None or last_given not in ports else ports.index(last_given) + 1
    for port in chain(ports[given:], ports[:given]):
        if not is_taken(port):
            return port
    return None


def take_port(fleet: Fleet, spec: Spec, now: float) -> int | None:
    """The next free host port, which counts as given from now on; None if all are taken."""
    assert spec.first_port is not None, "the engine plans its addresses itself"
    fleet.refused_ports = {port: until for port, until in fleet.refused_ports.items() if until > now}
    port = next_port(fleet.last_port, spec.first_port, spec.last_port, fleet.is_port_taken)
    if port is not None:
        fleet.last_port = port
    return port


def no_port_left(spec: Spec) -> str:
    """The sentence for people that the range of host ports is used up."""
    return (
        f"No host port from {spec.first_port} to {spec.last_port} is free. Free some, or serve with a wider range "
        "(--first-port, --last-port)."
    )
