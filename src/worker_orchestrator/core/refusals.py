"""Why a project gets no machine now, in words: because of its own machine, its pool, or the pool that it asked for."""

from __future__ import annotations

import math

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.lease import Terms
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.core.reasons import WOKEN, WOKEN_EARLY, sentence
from worker_orchestrator.core.sleep import has_room_to_wake
from worker_orchestrator.core.spec import Spec
from worker_orchestrator.core.wanted import all_awake, held_back, paused
from worker_orchestrator.errors import (
    HostPortTaken,
    InvalidInput,
    MachineFailed,
    NoMachineAvailable,
    NotRunning,
    OtherPool,
    PoolNotFound,
)

__all__ = [
    "insist_on_room",
    "insist_on_terms",
    "machine_ailing",
    "machine_asleep",
    "machine_failed",
    "machine_restarting",
    "not_configurable",
    "other_pool",
    "pool_not_found",
    "pool_refusal",
    "why_none_came",
]


AILING_RETRY_S = 10.0


def machine_failed(spec: Spec, machine: Machine) -> MachineFailed:
    """For the project of a machine that failed for good: waiting does not help."""
    failed = f"The machine {machine.id} of this project failed. {sentence(machine.reason)}"
    if not spec.restarts_in_place:
        return MachineFailed(f"{failed} Release or destroy it to get a new one.")
    return MachineFailed(
        f"{failed} Its files are kept: repair them with `orchestrator cp` and run `orchestrator restart {machine.project}`, "
        "or release or destroy the machine to get a new one."
    )


def machine_restarting(fleet: Fleet, machine: Machine, now: float) -> NoMachineAvailable:
    """For the project of a machine that is being restarted and does not serve yet: how far it is, and what to do."""
    watch = fleet.watches[machine.id]
    if watch.restart_acknowledged:
        so_far = f": {watch.missed_why}" if watch.missed_why else ""
        return NoMachineAvailable(
            sentence(f"The machine {machine.id} of this project was restarted and does not answer yet{so_far}")
        )
    left_s = max(0, math.ceil(watch.not_before - now))
    why = sentence(machine.reason)
    if watch.port_is_taken:
        return HostPortTaken(
            f"The machine {machine.id} of this project cannot be started now. {why} Its files are kept. The next try is in "
            f"{left_s} s, or at once with `orchestrator wake {machine.project}`.",
            retry_after_s=float(max(1, left_s)),
        )
    if machine.reason in {WOKEN, WOKEN_EARLY}:
        return NoMachineAvailable(f"The machine {machine.id} of this project is being woken. Ask again in a moment.")
    if not left_s:
        return NoMachineAvailable(f"The machine {machine.id} of this project is being restarted. {why}")
    return NoMachineAvailable(
        f"The machine {machine.id} of this project will be restarted in {left_s} s. {why} Its files are kept: repair them "
        f"with `orchestrator cp`, and run `orchestrator restart {machine.project}` to restart it at once.",
        retry_after_s=left_s,
    )


def machine_asleep(spec: Spec, machine: Machine) -> NoMachineAvailable:
    """For the project of a machine that sleeps and cannot be woken now, because too many others are awake."""
    return NoMachineAvailable(
        f"The machine {machine.id} of this project sleeps, with its files, and cannot be woken now. {all_awake(spec)}"
    )


def not_configurable(machine: Machine) -> NotRunning:
    """For a project that would configure its machine while that does not serve."""
    return NotRunning(
        f"{machine.id} does not serve, and only a machine that serves can be configured. {sentence(machine.reason)} "
        "Nothing was written."
    )


def insist_on_room(fleet: Fleet, spec: Spec, machine: Machine) -> None:
    """Raises NoMachineAvailable if this machine sleeps, and there is no room to start it."""
    if machine.state is State.SLEEPING and not has_room_to_wake(fleet, spec, machine):
        raise machine_asleep(spec, machine)


def machine_ailing(fleet: Fleet, machine: Machine) -> NoMachineAvailable:
    """For the project of a machine that has not ended but cannot serve: its address would lead nowhere."""
    return NoMachineAvailable(
        f"The machine {machine.id} of this project cannot serve now. {sentence(fleet.ailing[machine.id])} The project keeps "
        "it with its files.",
        retry_after_s=AILING_RETRY_S,
    )


def insist_on_terms(spec: Spec, pool: str, terms: Terms) -> None:
    """Raises InvalidInput if a project asks to have a machine for longer than the operator lets anybody have one, or for a
    deadline that the engine cannot keep.
    """
    if (terms.idle_timeout or terms.confirm_within) and not spec.sees_use:
        raise InvalidInput(
            "This engine cannot tell whether a machine is used, so it keeps neither idle_timeout nor confirm_within. Ask "
            "for a ttl."
        )
    ours = spec.pool(pool).terms
    most = None if ours is None else ours.max_age
    if most is not None and terms.max_age is not None and (terms.max_age == 0 or terms.max_age > most):
        asked = f"{terms.max_age:.15g} seconds" if terms.max_age else "0, which is no limit"
        raise InvalidInput(
            f"max_age is {asked}, but the pool {pool} lets nobody have a machine for more than {most:.15g} seconds."
        )


def pool_refusal(fleet: Fleet, spec: Spec, pool: str, now: float) -> NoMachineAvailable | None:
    """Why no machine can come in this pool; None if waiting makes sense."""
    wanted = spec.pool(pool)
    if pool in spec.pools and fleet.has_reserve(pool):
        return None  # that comes also where nothing can be started
    if wanted.template is None:
        return None if wanted.pending else NoMachineAvailable(wanted.problem, retry_after_s=10.0)
    if wanted.paused and not fleet.coming(pool, wanted.template):
        return NoMachineAvailable(paused(pool), retry_after_s=10.0)
    brake = fleet.brake_in_force(pool, wanted.template)
    if brake is None or brake.until <= now or fleet.coming(pool, wanted.template):
        return None
    return NoMachineAvailable(brake.explanation(), retry_after_s=brake.until - now)


def why_none_came(fleet: Fleet, spec: Spec, pool: str) -> str:
    """Why no machine came for a project that waited, in words; empty if nothing is known."""
    holds = held_back(fleet, spec, pool)
    return holds[0].why if holds else ""


def pool_not_found(spec: Spec, name: str) -> PoolNotFound:
    """For those who name a pool that does not exist."""
    return PoolNotFound(f"There is no pool {name}. The pools are: {', '.join(spec.pools)}.")


def other_pool(project: str, has: str, asked: str, machine: Machine | None) -> OtherPool:
    """For a project that asks for a machine of one pool, and has one of another pool or waits for one (None)."""
    if machine is None:
        what, first = f"waits for a machine of the pool {has}", "Let that request end first"
    else:
        what, first = f"has the machine {machine.id} of the pool {has}", "Release it first"
    return OtherPool(
        f"The project {project} {what}, not of {asked}. {first}, or ask without naming a pool.", has=has, asked=asked
    )
