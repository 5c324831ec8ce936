"""How many machines a pool is short of, and which it has too many."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from msgspec.structs import replace

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.host_ports import take_port
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.core.spec import Spec
from worker_orchestrator.core.waiting_line import serve_line

__all__ = ["new_machine", "resize"]


_STALE = "made of an older image or setting"


def resize(fleet: Fleet, spec: Spec, now: float, new_id: Callable[[], str]) -> None:
    """Record the machines that are missing and let surplus go. Needs no listing, so a command may call it at once."""
    for name in fleet.pools_with_idle() - spec.pools.keys():
        for machine_id in list(fleet.stale(name, None)):
            _let_go(fleet, machine_id, "of a pool that the settings do not name", now)
    for name, wanted in spec.pools.items():
        serve_line(fleet, spec, name, now)
        if fleet.pool(name).line and fleet.leaving(name):
            _make_room(fleet, spec, name)
        if wanted.template is None or wanted.paused or _is_right(fleet, spec, name, wanted.template):
            continue
        _retire(fleet, spec, name, wanted.template, now)
        for _ in range(_missing(fleet, spec, name, wanted.template, now)):
            if new_machine(fleet, spec, name, wanted.template, new_id(), now) is None:
                _make_room(fleet, spec, name)
                break


def new_machine(  # a machine is made of these
    fleet: Fleet, spec: Spec, pool: str, template: str, machine_id: str, now: float
) -> Machine | None:
    """Record a machine that is to be created; None where no host port is free."""
    port = None
    if spec.first_port is not None:
        port = take_port(fleet, spec, now)
        fleet.pool(pool).out_of_ports = port is None
        if port is None:
            return None
    assert fleet.held < spec.max_machines, f"{fleet.held} machines of {spec.max_machines}"
    machine = Machine(machine_id, pool, template, State.STARTING, port, reason="new")
    fleet.apply(None, machine, Cause.CREATED, now)
    return machine


def _is_right(fleet: Fleet, spec: Spec, name: str, template: str) -> bool:
    """Whether this pool has neither too many nor too few, which is seen at a glance after almost every assign or release."""
    wanted, idle = spec.pool(name), len(fleet.idle(name, template))
    if fleet.has_stale(name, template) or (wanted.max_idle is not None and idle > wanted.max_idle):
        return False
    if fleet.ailing:
        idle -= _held_up(fleet, name, template)
    enough = idle + len(fleet.coming(name, template)) >= wanted.min_idle + len(fleet.pool(name).line)
    return enough or fleet.held >= spec.max_machines


def _missing(fleet: Fleet, spec: Spec, name: str, template: str, now: float) -> int:
    """How many machines to begin now. Those on their way count, and so do those who wait."""
    room = spec.max_machines - fleet.held
    if room <= 0:
        return 0
    pool, wanted = fleet.pool(name), spec.pool(name)
    idle, coming = fleet.idle(name, template), fleet.coming(name, template)
    missing = wanted.min_idle + len(pool.line) - len(idle) + _held_up(fleet, name, template) - len(coming)
    if next(fleet.stale(name, template), None) is not None:
        missing = max(len(pool.line), 1) - len(coming)  # one by one, unless people wait
    hold = fleet.hold(name, template)
    if hold is not None:
        missing = min(missing, 1 - len(coming)) if hold.until <= now else 0
    return max(0, min(missing, room))


def _held_up(fleet: Fleet, name: str, template: str) -> int:
    """Idle machines that can serve nobody now. As long as nobody waits, one that may be well in a moment is not replaced."""
    return sum(one in fleet.idle(name, template) for one in fleet.ailing) if fleet.pool(name).line else 0


def _retire(fleet: Fleet, spec: Spec, name: str, template: str, now: float) -> None:
    """Let go what is more than `max_idle`, and old machines as far as new ones took their place."""
    wanted, idle = spec.pool(name), fleet.idle(name, template)
    surplus = 0 if wanted.max_idle is None else len(idle) - wanted.max_idle
    for machine_id in list(islice(idle, max(0, surplus))):
        _let_go(fleet, machine_id, "more idle machines than max_idle", now)
    stale = list(fleet.stale(name, template))
    if not stale:
        return
    keep = max(0, wanted.min_idle - len(idle)) if fleet.has_come_up(name, template) else len(stale)
    if keep >= len(stale) and _must_break_first(fleet, spec, name, template):
        keep = len(stale) - 1
    for machine_id in stale[: max(0, len(stale) - keep)]:
        _let_go(fleet, machine_id, _STALE, now)


def _let_go(fleet: Fleet, machine_id: str, reason: str, now: float) -> None:
    machine = fleet.machines[machine_id]
    fleet.apply(machine, replace(machine, state=State.STOPPING, reason=reason), Cause.RETIRED, now)


def _must_break_first(fleet: Fleet, spec: Spec, name: str, template: str) -> bool:
    """Whether `max_machines` leaves no room for a replacement that is due: then one old machine makes room."""
    under_way = fleet.coming(name, template) or fleet.leaving(name)
    is_held = fleet.hold(name, template) is not None
    return fleet.held >= spec.max_machines and not under_way and not is_held


def _make_room(fleet: Fleet, spec: Spec, name: str) -> None:
    """Nobody who waits for a slot or a port waits for a worker that takes its time to end."""
    pool, leaving = fleet.pool(name), fleet.leaving(name)
    if fleet.held < spec.max_machines and not pool.out_of_ports:
        return
    slow = [machine_id for machine_id in leaving if fleet.watches[machine_id].held]
    coming = len(fleet.coming(name, spec.pool(name).template)) + len(leaving) - len(slow)
    for machine_id in slow[: max(0, len(pool.line) - coming)]:
        fleet.hurry(machine_id)
