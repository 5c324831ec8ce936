"""Why a project gets no machine now, in words: because of its own machine, or because its pool has none for it."""

from __future__ import annotations

import math

from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.host_ports import no_port_left
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.core.reasons import sentence
from worker_orchestrator.core.spec import Spec
from worker_orchestrator.errors import MachineFailed, NoMachineAvailable

__all__ = ["machine_ailing", "machine_failed", "machine_restarting", "pool_refusal", "why_none_came"]


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
    if not left_s:
        return NoMachineAvailable(f"The machine {machine.id} of this project is being restarted. {why}")
    return NoMachineAvailable(
        f"The machine {machine.id} of this project will be restarted in {left_s} s. {why} Its files are kept: repair them "
        f"with `orchestrator cp`, and run `orchestrator restart {machine.project}` to restart it at once.",
        retry_after_s=left_s,
    )


def machine_ailing(fleet: Fleet, machine: Machine) -> NoMachineAvailable:
    """For the project of a machine that has not ended but cannot serve: its address would lead nowhere."""
    return NoMachineAvailable(
        f"The machine {machine.id} of this project cannot serve now. {sentence(fleet.ailing[machine.id])} The project keeps "
        "it with its files.",
        retry_after_s=AILING_RETRY_S,
    )


def pool_refusal(fleet: Fleet, spec: Spec, pool: str, now: float) -> NoMachineAvailable | None:
    """Why no machine can come in this pool; None if waiting makes sense."""
    wanted = spec.pool(pool)
    if wanted.template is None:
        return None if wanted.pending else NoMachineAvailable(wanted.problem, retry_after_s=10.0)
    if wanted.paused and not fleet.coming(pool, wanted.template):
        return NoMachineAvailable(_paused(pool), retry_after_s=10.0)
    brake = fleet.brake_in_force(pool, wanted.template)
    if brake is None or brake.until <= now or fleet.coming(pool, wanted.template):
        return None
    return NoMachineAvailable(brake.explanation(), retry_after_s=brake.until - now)


def why_none_came(fleet: Fleet, spec: Spec, pool: str) -> str:
    """Why no machine came for a project that waited, in words; empty if nothing is known."""
    wanted = spec.pool(pool)
    if wanted.template is None:
        return wanted.problem
    brake = fleet.brake_in_force(pool, wanted.template)
    if brake is not None:
        return brake.explanation()
    if wanted.paused:
        return _paused(pool)
    if fleet.slots_held >= spec.max_machines:
        return (
            f"All {spec.max_machines} machines (max_machines) are in use. Release one, or allow more with "
            "`orchestrator scale --limit N`."
        )
    if fleet.pool(pool).out_of_ports:
        return no_port_left(spec)
    return ""


def _paused(pool: str) -> str:
    return f"No machine is idle, and the pool {pool} is paused. Run `orchestrator resume` to start machines again."
