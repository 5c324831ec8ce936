"""What comes back from the world: the one union that the parts of `world/` report, and the type of the function they tell.

The parts of `world/` know the engine and no fleet. Each gets the same function when it is made, and calls it with one of
these; `control/reactions.py` says what each of them means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from worker_orchestrator.core.action import Action, Outcome
from worker_orchestrator.core.instance import Verdict

__all__ = [
    "Ended",
    "EngineChanged",
    "EventsStopped",
    "Lost",
    "Probed",
    "Report",
    "Settled",
    "Shown",
    "Silent",
    "Tell",
    "TemplateFound",
]


@dataclass(frozen=True, slots=True)
class Settled:
    """The engine was asked for an action, and this is how that ended, after `took_s` seconds."""

    action: Action
    outcome: Outcome
    took_s: float


@dataclass(frozen=True, slots=True)
class Probed:
    """A worker was probed."""

    verdict: Verdict


@dataclass(frozen=True, slots=True)
class TemplateFound:
    """The engine was asked what it would run now in this pool. `template` or `problem` is empty: that says why nothing."""

    pool: str
    template: str
    problem: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The engine's stream of events says that this instance serves no longer, or again.

    `is_certain`: a run of it has ended, whatever a listing shows of it afterwards.
    """

    machine_id: str
    is_certain: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """A listing that begins now shows what became of an instance that was reported as ended."""

    machine_id: str


@dataclass(frozen=True, slots=True)
class EngineChanged:
    """The engine's stream of events is open, or something changed at the engine; perhaps its templates as well."""

    templates: bool = True


@dataclass(frozen=True, slots=True)
class EventsStopped:
    """The engine's stream of events ended or could not be opened: until the next one, nobody tells of ends."""


@dataclass(frozen=True, slots=True)
class Silent:
    """The engine did not answer a ping."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The engine has been silent for so long that waiting for it makes no sense."""


Report = Settled | Probed | TemplateFound | Ended | Shown | EngineChanged | EventsStopped | Silent | Lost
Tell = Callable[[Report], None]
