"""The sizes of the pools: what the settings say, and what was changed at run time, which is stored and wins.

A restart must not undo what an operator changed in an emergency. A size that is reset (None) follows its setting again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import structlog
from msgspec.structs import replace

from worker_orchestrator.core.spec import PoolSpec, Spec
from worker_orchestrator.errors import InvalidInput
from worker_orchestrator.store.store import Store

__all__ = ["PoolSizes", "Sizes"]

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


class PoolSizes:
    """What each pool should be, with the changes of `store` over the settings. `configured` is what the settings say."""

    def __init__(self, spec: Spec, store: Store, wall_ms: Callable[[], int]) -> None:
        self._store, self._wall_ms = store, wall_ms
        self.configured = {
            name: Sizes(pool.min_idle, pool.max_idle, spec.max_machines) for name, pool in spec.pools.items()
        }
        meta = store.meta()
        self._changes = {name: self._usable(name, json.loads(meta.get(_key(name), "{}"))) for name in spec.pools}

    def _usable(self, name: str, changes: dict[str, Any]) -> dict[str, Any]:
        """What is left of stored changes beside the settings of today, which may be newer."""
        if changes:
            _log.info("pool sizes changed at run time are in force", pool=name, **changes)
        problem = self._sizes(name, changes).problem()
        if not problem:
            return changes
        _log.warning("changes of the pool are dropped", pool=name, why=problem)
        return {"paused": True} if changes.get("paused") else {}

    def applied(self, spec: Spec) -> Spec:
        """The spec with the sizes that are in force. `limit` is of the fleet, so the smallest one of all pools holds."""
        pools = {name: self._applied_to(name, pool) for name, pool in spec.pools.items()}
        limit = min(self._sizes(name, self._changes[name]).limit for name in spec.pools)
        return replace(spec, pools=pools, max_machines=limit)

    def _applied_to(self, name: str, pool: PoolSpec) -> PoolSpec:
        changes = self._changes[name]
        sizes = self._sizes(name, changes)
        paused = bool(changes.get("paused", False))
        return replace(pool, min_idle=sizes.min_idle, max_idle=sizes.max_idle, paused=paused)

    def change(self, name: str, changes: Mapping[str, int | bool | None]) -> None:
        """Store some of `min_idle`, `max_idle`, `limit` (None: as the settings say) and `paused` of this pool.

        Raises InvalidInput, CommitFailed; nothing is changed then.
        """
        merged = {**self._changes[name], **changes}
        merged = {key: value for key, value in merged.items() if value is not None and value is not False}
        problem = self._sizes(name, merged).problem()
        if problem:
            raise InvalidInput(problem)
        self._store.commit((), {_key(name): json.dumps(merged)}, self._wall_ms())
        self._changes[name] = merged
        _log.info("pool changed", pool=name, **changes)

    def _sizes(self, name: str, changes: Mapping[str, Any]) -> Sizes:
        known = asdict(self.configured[name])
        return Sizes(**{key: changes.get(key, value) for key, value in known.items()})


def _key(pool: str) -> str:
    return f"pool.{pool}"
