"""Whether a machine has what its project gave it, and if not, why and what to do: for people."""

from __future__ import annotations

from typing import Final

from worker_orchestrator.core.configuration import Stage
from worker_orchestrator.core.machine import Machine

__all__ = ["configured_in_words"]

_FAILED: Final = "It is not configured."
"""With this begins what is recorded of a machine whose set-up failed, with the reason behind it."""


def configured_in_words(machine: Machine) -> str:
    """In whole sentences, of a machine that a project has and whose pool takes values."""
    configuration = machine.configuration
    again = f"`orchestrator assign {machine.project}` with --env, --secret or --files configures it."
    if configuration is None:
        return f"It is not configured: no assign brought values so far. {again}"
    match configuration.stage:
        case Stage.DONE:
            return f"It is configured{_took(configuration.took_ms)}."
        case Stage.WRITING:
            return f"It is not configured: its values are being written, its hook runs, or that was cut short. {again}"
        case Stage.LOST:
            return (
                "It is not configured any more: its values were in memory, and its container has stopped since. They are "
                f"stored nowhere else. {again}"
            )
        case Stage.FAILED:
            why = machine.reason if machine.reason.startswith(_FAILED) else f"{_FAILED} Setting it up failed."
            return f"{why} {again}"


def _took(ms: int | None) -> str:
    return "" if ms is None else f" (that took {ms} ms)"
