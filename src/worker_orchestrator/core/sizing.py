"""How many machines a pool is short of, and which of its machines are surplus."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from msgspec.structs import replace

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.host_ports import take_port
from worker_orchestrator.core.machine import Cause, Machine, State
from worker_orchestrator.core.reasons import NEW, OUTDATED, SURPLUS, UNKNOWN_POOL
from worker_orchestrator.core.spec import PoolSpec, Spec
from worker_orchestrator.core.waiting_line import serve_line

__all__ = ["new_machine", "resize"]


def resize(fleet: Fleet, spec: Spec, now: float, new_id: Callable[[], str]) -> None:
    """Record the machines that are missing and retire the surplus. It needs no listing, so a command may call it at once."""
    if not fleet.pool_names <= spec.pools.keys():
        _retire_unknown(fleet, spec, now)
    for name, wanted in spec.pools.items():
        line = fleet.pool(name).line
        if line:
            serve_line(fleet, spec, name, now)
        if line and fleet.leaving(name):
            _make_room(fleet, spec, name)
        if wanted.template is None or wanted.paused:
            continue
        if _has_right_size(fleet, wanted, name, wanted.template, len(line), spec.max_machines):
            continue
        _retire_surplus(fleet, spec, name, wanted.template, now)
        for _ in range(_count_missing(fleet, spec, name, wanted.template, now)):
            if new_machine(fleet, spec, name, wanted.template, new_id(), now) is None:
                _make_room(fleet, spec, name)
                break


def new_machine(fleet: Fleet, spec: Spec, pool: str, template: str, machine_id: str, now: float) -> Machine | None:
    """Record a machine that is to be created; None if no host port is free."""
    port = None
    if spec.first_port is not None:
        port = take_port(fleet, spec, now)
        fleet.pool(pool).out_of_ports = port is None
        if port is None:
            return None
    assert fleet.slots_held < spec.max_machines, f"{fleet.slots_held} machines of {spec.max_machines}"
    machine = Machine(machine_id, pool, template, State.STARTING, port, reason=NEW)
    fleet.apply(None, machine, Cause.CREATED, now)
    return machine


def _has_right_size(  # all of it is at hand where this is called, after every assign and release
    fleet: Fleet, wanted: PoolSpec, name: str, template: str, waiting: int, max_machines: int
) -> bool:
    """Whether no machine is missing or surplus: a quick check, since that is so after almost every assign or release.

    `waiting`: how many projects wait for a machine.
    """
    idle = len(fleet.idle(name, template))
    if fleet.has_stale(name, template) or (wanted.max_idle is not None and idle > wanted.max_idle):
        return False
    if fleet.ailing:
        idle -= _count_ailing(fleet, name, template)
    enough = idle + len(fleet.coming(name, template)) >= wanted.min_idle + waiting
    return enough or fleet.slots_held >= max_machines


def _count_missing(fleet: Fleet, spec: Spec, name: str, template: str, now: float) -> int:
    """How many machines to begin now: what is wanted and who waits, less the idle machines and those on their way."""
    room = spec.max_machines - fleet.slots_held
    if room <= 0:
        return 0
    pool, wanted = fleet.pool(name), spec.pool(name)
    idle, coming = fleet.idle(name, template), fleet.coming(name, template)
    missing = wanted.min_idle + len(pool.line) - len(idle) + _count_ailing(fleet, name, template) - len(coming)
    if next(fleet.stale(name, template), None) is not None:
        missing = max(len(pool.line), 1) - len(coming)  # replaced one by one, unless projects wait
    brake = fleet.brake_in_force(name, template)
    if brake is not None:
        missing = min(missing, 1 - len(coming)) if brake.until <= now else 0
    return max(0, min(missing, room))


def _count_ailing(fleet: Fleet, name: str, template: str) -> int:
    """How many idle machines cannot serve now. While no project waits they are not replaced, since they may soon recover."""
    return sum(one in fleet.idle(name, template) for one in fleet.ailing) if fleet.pool(name).line else 0


def _retire_surplus(fleet: Fleet, spec: Spec, name: str, template: str, now: float) -> None:
    """Retire what exceeds `max_idle`, and as many machines of older templates as new ones have taken their place."""
    wanted, idle = spec.pool(name), fleet.idle(name, template)
    surplus = 0 if wanted.max_idle is None else len(idle) - wanted.max_idle
    for machine_id in list(islice(idle, max(0, surplus))):
        _retire_machine(fleet, machine_id, SURPLUS, now)
    stale = list(fleet.stale(name, template))
    if not stale:
        return
    keep = max(0, wanted.min_idle - len(idle)) if fleet.has_come_up(name, template) else len(stale)
    if keep >= len(stale) and _must_break_first(fleet, spec, name, template, now):
        keep = len(stale) - 1
    for machine_id in stale[: max(0, len(stale) - keep)]:
        _retire_machine(fleet, machine_id, OUTDATED, now)


def _retire_unknown(fleet: Fleet, spec: Spec, now: float) -> None:
    """Let the idle machines go whose pools the settings do not name."""
    for name in sorted(fleet.pool_names - spec.pools.keys()):
        for machine_id in list(fleet.stale(name, None)):
            _retire_machine(fleet, machine_id, UNKNOWN_POOL, now)


def _retire_machine(fleet: Fleet, machine_id: str, reason: str, now: float) -> None:
    machine = fleet.machines[machine_id]
    fleet.apply(machine, replace(machine, state=State.STOPPING, reason=reason), Cause.RETIRED, now)


def _must_break_first(fleet: Fleet, spec: Spec, name: str, template: str, now: float) -> bool:
    """Whether `max_machines` leaves no room for a replacement that is due, so that an old machine must go first.

    Not for an image that does not come up: that would cost what works. A cause outside is found to be mended by a try alone.
    """
    under_way = fleet.coming(name, template) or fleet.leaving(name)
    brake, obstacle = fleet.image_brake(name, template), fleet.obstacle(name, template)
    is_braked = (brake is not None and brake.is_on) or (obstacle is not None and obstacle.until > now)
    return fleet.slots_held >= spec.max_machines and not under_way and not is_braked


def _make_room(fleet: Fleet, spec: Spec, name: str) -> None:
    """If projects wait for a slot or a port, give as many of the stopping workers as are needed no more time to end."""
    pool, leaving = fleet.pool(name), fleet.leaving(name)
    if fleet.slots_held < spec.max_machines and not pool.out_of_ports:
        return
    slow = [machine_id for machine_id in leaving if fleet.watches[machine_id].ends_gently]
    coming = len(fleet.coming(name, spec.pool(name).template)) + len(leaving) - len(slow)
    for machine_id in slow[: max(0, len(pool.line) - coming)]:
        fleet.hurry(machine_id)
