"""Which host ports a new machine gets: the next ones after the last one given, wrapping around.

An old URL of one project must not show the worker of the next. So a port that a project had is not given within a minute
after its machine has left it, unless no other one is free; then that which was left first is. (A restart of the service
forgets which those are, and goes on with the next ones after the last one given.)
"""

from __future__ import annotations

from collections.abc import Callable, Container
from itertools import chain
from typing import Final

from msgspec.structs import replace

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.core.spec import Spec

__all__ = ["move_ports", "next_port", "no_port_left", "take_ports"]

PORT_REFUSED_S: Final = 60.0
PORT_LEFT_S: Final = 60.0


def next_port(last_given: int | None, first: int, last: int, is_taken: Callable[[int], bool]) -> int | None:
    """The next port of `first`..`last` (both included) after `last_given` that is free; None when all are taken."""
    assert 0 < first <= last <= 65535, f"no port range: {first}..{last}"
    ports = range(first, last + 1)
    given = 0 if last_given is None or last_given not in ports else ports.index(last_given) + 1
    for port in chain(ports[given:], ports[:given]):
        if not is_taken(port):
            return port
    return None


def take_ports(fleet: Fleet, spec: Spec, count: int, now: float) -> tuple[int, ...] | None:
    """The next free host ports, so many, which count as given from now on; None, and none is given, if fewer are free."""
    assert spec.first_port is not None, "the engine plans its addresses itself"
    fleet.refused_ports = {port: until for port, until in fleet.refused_ports.items() if until > now}
    fleet.left_ports = {port: at for port, at in fleet.left_ports.items() if at > now - PORT_LEFT_S}
    taken, last_given = dict[int, None](), fleet.last_port
    while len(taken) < count:
        last_given = _next_unless_left(fleet, range(spec.first_port, spec.last_port + 1), last_given, taken)
        if last_given is None:
            return None
        taken[last_given] = None
    fleet.last_port = last_given
    return tuple(taken)


def _next_unless_left(fleet: Fleet, ports: range, last_given: int | None, taken: Container[int]) -> int | None:
    """As `next_port`, without those that are `taken` besides. Those that a project had a moment ago come last."""

    def is_taken(port: int) -> bool:
        return port in taken or fleet.is_port_taken(port)

    port = next_port(last_given, ports[0], ports[-1], lambda port: port in fleet.left_ports or is_taken(port))
    if port is not None:
        return port
    return next((port for port in fleet.left_ports if port in ports and not is_taken(port)), None)


def move_ports(fleet: Fleet, spec: Spec, machine: Machine, taken: int | None, now: float) -> Machine | None:
    """The machine with another host port in place of the one that is `taken`; None if there are not enough free ones.

    If it is unknown which one another process has, the machine leaves all of its own. What it leaves is not given to anybody
    for a minute.
    """
    own = machine.host_ports
    left = {taken} if taken in own else set(own)
    fleet.refused_ports.update((port, now + PORT_REFUSED_S) for port in own if port in left)
    fresh = take_ports(fleet, spec, len(left), now)
    if fresh is None:
        return None
    following = iter(fresh)
    ports = [next(following) if port in left else port for port in own]
    named = tuple((name, port) for (name, _), port in zip(machine.ports, ports, strict=False))
    return replace(machine, port=ports[0], ports=named)


def no_port_left(spec: Spec, count: int = 1) -> str:
    """The sentence for people that the range of host ports is used up, for a machine that needs so many."""
    place = f"from {spec.first_port} to {spec.last_port}"
    way_out = "Free some, or serve with a wider range (--first-port, --last-port)."
    if count == 1:
        return f"No host port {place} is free. {way_out}"
    return f"A machine of this pool needs {count} host ports, and fewer are free {place}. {way_out}"
