"""What changed between two readings of the settings, and what of that a running service can take over.

It is shown before it is applied. Values of secrets and of the workers' environment are never shown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from worker_orchestrator.settings.pool import PoolSettings
from worker_orchestrator.settings.settings import Settings, settings
from worker_orchestrator.settings.showing import HIDDEN, as_json, as_text

__all__ = ["TAKEN_OVER", "Change", "Difference", "difference"]

TAKEN_OVER: Final = frozenset({"max_machines", "assign_timeout", "activity_interval"})
"""The settings of the service that it takes over while it runs. All others need a restart; those of pools do not."""


@dataclass(frozen=True, slots=True)
class Change:
    """A setting whose value changed, with both values for people. `holds`: the size that was set in its stead at run time,
    and that goes on to hold.
    """

    name: str
    old: str
    new: str
    needs_restart: bool = False
    holds: int | None = None

    def __str__(self) -> str:
        """Such as "memory: 512m -> 1g"."""
        restart = " (needs a restart of the service)" if self.needs_restart else ""
        holds = "" if self.holds is None else f" (`orchestrator scale` has set {self.holds}, which goes on to hold)"
        return f"{self.name}: {self.old} -> {self.new}{restart}{holds}"


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed: the service's own settings, and which pools are new, gone, or have other settings.

    `digest` stands for both readings, so that what is applied can be what was shown; empty if nobody asks for that.
    """

    service: tuple[Change, ...] = ()
    added: Mapping[str, PoolSettings] = field(default_factory=dict)
    vanished: tuple[str, ...] = ()
    changed: Mapping[str, tuple[Change, ...]] = field(default_factory=dict)
    digest: str = ""

    def __bool__(self) -> bool:
        return bool(self.service or self.added or self.vanished or self.changed)

    @property
    def needs_restart(self) -> tuple[Change, ...]:
        """What a running service does not take over."""
        return tuple(change for change in self.service if change.needs_restart)

    def lines(self) -> list[str]:
        """One line for each change, in the order in which a reader wants them: pools first."""
        return [
            *(f"+ pool {name}: image {pool.image}, min_idle {pool.min_idle}" for name, pool in self.added.items()),
            *(f"- pool {name}" for name in self.vanished),
            *(f"~ pool {name}, {change}" for name, changes in self.changed.items() for change in changes),
            *(f"~ {change}" for change in self.service),
        ]


def difference(old: Settings, new: Settings) -> Difference:
    """What changed from `old` to `new`."""
    before, after = old.pools, new.pools
    changes = {name: tuple(_of_pool(before[name], after[name])) for name in after if name in before}
    return Difference(
        tuple(_of_service(old, new)),
        {name: pool for name, pool in after.items() if name not in before},
        tuple(name for name in before if name not in after),
        {name: changed for name, changed in changes.items() if changed},
    )


def _of_service(old: Settings, new: Settings) -> Iterator[Change]:
    for setting in settings():
        if setting.inherited is not None and setting.name != "max_machines":
            continue  # a pool's
        before, after = getattr(old, setting.name), getattr(new, setting.name)
        if before == after:
            continue
        restart = setting.name not in TAKEN_OVER
        old_text, new_text = (as_text(as_json(setting.name, value, secret=setting.secret)) for value in (before, after))
        yield Change(setting.name, old_text, new_text, restart)


def _of_pool(old: PoolSettings, new: PoolSettings) -> Iterator[Change]:
    for each in dataclasses.fields(PoolSettings):
        before, after = getattr(old, each.name), getattr(new, each.name)
        if each.name == "env":
            yield from _of_environment(before, after)
        elif before != after:
            yield Change(each.name, as_text(as_json(each.name, before)), as_text(as_json(each.name, after)))


def _of_environment(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Change]:
    """One change for each variable, whose values may be secrets."""
    for name in dict.fromkeys([*old, *new]):
        if old.get(name) == new.get(name):
            continue
        after = "-" if name not in new else "(hidden, changed)" if name in old else HIDDEN
        yield Change(f"env {name}", HIDDEN if name in old else "-", after)
