"""Whether a machine has what its project gave it, and if not, why and what to do: for people."""

from __future__ import annotations

from worker_orchestrator.core.configuration import Stage
from worker_orchestrator.core.machine import Machine

__all__ = ["configured_in_words"]


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
            ended = (
                "" if configuration.exit_code is None else f": the hook ended with exit code {configuration.exit_code}"
            )
            return f"It is not configured, because setting it up failed{_took(configuration.took_ms)}{ended}. {again}"


def _took(ms: int | None) -> str:
    return "" if ms is None else f" (that took {ms} ms)"
