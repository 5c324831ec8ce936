"""The sizes of the pool: what the settings say, and what somebody changed since, which is kept in the store and wins.

A restart must not undo what an operator did at three in the morning; a size that is given back (None) follows its setting
again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import structlog
from msgspec.structs import replace

from worker_orchestrator.core.machine import DEFAULT_POOL, Spec
from worker_orchestrator.errors import InvalidInput
from worker_orchestrator.store.store import Store

__all__ = ["Pools", "Sizes"]

_KEY: Final = f"pool.{DEFAULT_POOL}"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sizes:
    """`limit` is `max_machines`; `max_idle` None: no idle machine is too many."""

    min_idle: int
    max_idle: int | None
    limit: int

    def problem(self) -> str:
        """Why they cannot be; empty where they can."""
        if self.min_idle > self.limit:
            return f"min_idle is {self.min_idle}, but must be at most the limit, which is {self.limit}."
        if self.max_idle is not None and self.max_idle < self.min_idle:
            return f"max_idle is {self.max_idle}, but must be at least min_idle, which is {self.min_idle}."
        return ""


class Pools:
    """What the pool should be, with the changes of `store` over those of the settings."""

    def __init__(self, spec: Spec, store: Store, wall_ms: Callable[[], int]) -> None:
        pool = spec.pools[DEFAULT_POOL]
        self.configured = Sizes(pool.min_idle, pool.max_idle, spec.max_machines)
        self._store, self._wall_ms = store, wall_ms
        self._changes: dict[str, Any] = json.loads(store.meta().get(_KEY, "{}"))
        if self._changes:
            _log.info("pool sizes changed at run time are in force", pool=DEFAULT_POOL, **self._changes)
        problem = self._sizes(self._changes).problem()
        if problem:  # of a setting that is newer than the change
            _log.warning("changes of the pool are dropped", pool=DEFAULT_POOL, why=problem)
            self._changes = {"paused": True} if self._changes.get("paused") else {}

    def applied(self, spec: Spec) -> Spec:
        """The spec with the sizes that are in force."""
        sizes = self._sizes(self._changes)
        pool = replace(
            spec.pools[DEFAULT_POOL],
            min_idle=sizes.min_idle,
            max_idle=sizes.max_idle,
            paused=bool(self._changes.get("paused", False)),
        )
        return replace(spec, pools={**spec.pools, DEFAULT_POOL: pool}, max_machines=sizes.limit)

    def change(self, changes: Mapping[str, int | bool | None]) -> None:
        """Store some of `min_idle`, `max_idle`, `limit` (None: as the settings say) and `paused`.

        Raises InvalidInput, CommitFailed; nothing is changed then.
        """
        merged = {**self._changes, **changes}
        merged = {key: value for key, value in merged.items() if value is not None and value is not False}
        problem = self._sizes(merged).problem()
        if problem:
            raise InvalidInput(problem)
        self._store.commit((), {_KEY: json.dumps(merged)}, self._wall_ms())
        self._changes = merged
        _log.info("pool changed", pool=DEFAULT_POOL, **changes)

    def _sizes(self, changes: Mapping[str, Any]) -> Sizes:
        known = asdict(self.configured)
        return Sizes(**{key: changes.get(key, value) for key, value in known.items()})
