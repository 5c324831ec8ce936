"""Keeps the machine of a `with` block alive while the block runs, where a deadline limits how long its project has it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import msgspec

from worker_orchestrator.client.call_steps import Pause, Steps
from worker_orchestrator.client.retries import Service
from worker_orchestrator.errors import GenerationMismatch, MachineNotFound, OrchestratorError
from worker_orchestrator.wire.v1 import Machine

__all__ = ["keep_alive", "one_try"]

PARTS: Final = 3
"""So many keepalives are sent in the shortest deadline that they put off: two may be lost."""
LONGEST_PAUSE_S: Final = 5.0
SHORTEST_CALL_S: Final = 1.0

_log = logging.getLogger("worker_orchestrator.client")


def keep_alive(machine: Machine, keep: Callable[[], Steps[None]]) -> Steps[None] | None:
    """Steps that never end while this machine is its project's, and send `keep` in time.

    None if nothing that a keepalive puts off ends its time.

    While the service is away they try again. Once the project has lost the machine they end, with a warning in the log.
    """
    limit_s = _limit_s(machine)
    return None if limit_s is None else _keep_for_ever(machine, limit_s / PARTS, keep)


def _limit_s(machine: Machine) -> float | None:
    """How long it may go without a keepalive; None for as long as it likes."""
    lease = machine.lease
    limits = [] if lease is None else [lease.ttl, lease.idle_timeout, lease.confirm_within]
    return min((limit for limit in limits if limit is not None), default=None)


def _keep_for_ever(machine: Machine, interval_s: float, keep: Callable[[], Steps[None]]) -> Steps[None]:
    pause_s, is_away = interval_s, False
    while True:
        yield Pause(pause_s)
        try:
            yield from keep()
        except (MachineNotFound, GenerationMismatch) as error:
            _log.warning("machine %s of project %s is kept no longer: %s", machine.id, machine.project, error)
            return
        except OrchestratorError as error:
            if not is_away:
                _log.warning(
                    "machine %s of project %s cannot be kept now, and is tried again: %s",
                    machine.id,
                    machine.project,
                    error,
                )
            pause_s, is_away = min(interval_s / PARTS, LONGEST_PAUSE_S), True
        else:
            pause_s, is_away = interval_s, False


def one_try(service: Service, machine: Machine) -> Service:
    """The same service, for calls that are tried once: what follows them is the next keepalive."""
    longest_s = max((_limit_s(machine) or 0.0) / PARTS, SHORTEST_CALL_S)
    return msgspec.structs.replace(service, retries=0, timeout_s=min(service.timeout_s, longest_s))
