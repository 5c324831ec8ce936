"""The sizes of the pools: what the settings say, and what was changed at run time, which is stored and wins.

A restart must not undo what an operator changed in an emergency. A size that is reset (None) follows its setting again.

While a clock window of a pool is open, its `min_idle` counts if it is the higher one, and its `max_idle` stands in for the
pool's. What was changed at run time takes the place of the settings' sizes, and not of the windows.

`limit` is that of the whole fleet: whichever pool a caller names with it, it is one number, stored once. Earlier versions
stored it with a pool; then the smallest one holds, as it did there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from msgspec.structs import replace

from worker_orchestrator.core.spec import PoolSpec, Spec
from worker_orchestrator.core.windows import SizesInForce, Window, sizes_at
from worker_orchestrator.errors import InvalidInput
from worker_orchestrator.store.store import Store

__all__ = ["PoolSizes", "Sizes"]

_log = structlog.get_logger(__name__)

_FLEET: Final = "fleet"
_LIMIT: Final = "limit"
_Changes = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of one pool, and `limit`, which is `max_machines` of the fleet.

    `max_idle` None: no idle machine is too many. `max_machines` None: the pool has no limit of its own.
    """

    min_idle: int
    max_idle: int | None
    limit: int
    max_machines: int | None = None

    def problem(self) -> str:
        """Why they cannot be; empty where they can."""
        if self.min_idle > self.limit:
            return f"min_idle is {self.min_idle}, but must be at most the limit, which is {self.limit}."
        if self.max_machines is not None and self.min_idle > self.max_machines:
            return f"min_idle is {self.min_idle}, but must be at most max_machines, which is {self.max_machines}."
        if self.max_idle is not None and self.max_idle < self.min_idle:
            return f"max_idle is {self.max_idle}, but must be at least min_idle, which is {self.min_idle}."
        return ""


class PoolSizes:
    """What each pool should be, with the changes of `store` over the settings. `configured` is what the settings say.

    `change_due_s`: when a window opens or closes next, in seconds since 1970; None if no pool has windows.
    """

    def __init__(self, spec: Spec, store: Store, wall_ms: Callable[[], int]) -> None:
        self._store, self._wall_ms = store, wall_ms
        self.change_due_s: int | None = None
        self.configure(spec)

    def configure(self, spec: Spec) -> None:
        """Take these sizes as those of the settings. What was changed at run time is read again, for new pools too."""
        self.configured = _configured(spec)
        stored, limit = self._stored(spec)
        for name, changes in stored.items():
            if changes:
                _log.info("pool sizes changed at run time are in force", pool=name, **changes)
        self._limit, self._changes = self._usable(stored, limit)
        if self._limit is not None:
            _log.info("a limit changed at run time is in force", limit=self._limit)

    def conflict(self, spec: Spec) -> str:
        """Why what was changed at run time cannot stay with the sizes of these settings; empty if it can."""
        (stored, limit), before = self._stored(spec), self.configured
        self.configured = _configured(spec)
        try:
            name, problem = next(self._problems(stored, limit), ("", ""))
        finally:
            self.configured = before
        return f"In pool {name}, {problem}" if name and len(spec.pools) > 1 else problem

    def _stored(self, spec: Spec) -> tuple[dict[str, _Changes], int | None]:
        """What was changed at run time: of each pool, and the limit."""
        meta = self._store.meta()
        stored: dict[str, _Changes] = {name: json.loads(meta.get(_key(name), "{}")) for name in spec.pools}
        return stored, _stored_limit(meta, stored)

    def _usable(self, stored: Mapping[str, _Changes], limit: int | None) -> tuple[int | None, dict[str, _Changes]]:
        """What is left of a stored limit and of stored changes beside the settings of today, which may be newer."""
        changes = {name: self._usable_of(name, changes, limit) for name, changes in stored.items()}
        problem = next((why for _, why in self._problems(changes, limit)), "")
        if problem and limit is not None:
            _log.warning("the changed limit is dropped", limit=limit, why=problem)
            return self._usable(stored, None)
        if problem:
            _log.warning("changes of all pools are dropped", why=problem)
            return None, {name: _without_sizes(each) for name, each in changes.items()}
        return limit, changes

    def _usable_of(self, name: str, stored: _Changes, limit: int | None) -> _Changes:
        changes = {key: value for key, value in stored.items() if key != _LIMIT}
        problem = self._sizes(name, changes, limit).problem()
        if not changes or not problem:
            return changes
        _log.warning("changes of the pool are dropped", pool=name, why=problem)
        return _without_sizes(changes)

    def applied(self, spec: Spec) -> Spec:
        """The spec with the sizes that are in force at this moment."""
        wall_s = self._wall_ms() / 1000
        now = {
            name: sizes_at(pool.windows, *self._idle_sizes(name), wall_s)
            for name, pool in spec.pools.items()
            if pool.windows
        }
        self.change_due_s = min((each.until_s for each in now.values() if each.until_s is not None), default=None)
        pools = {name: self._applied_to(name, pool, now.get(name)) for name, pool in spec.pools.items()}
        return replace(spec, pools=pools, max_machines=self._sizes_in_force(next(iter(spec.pools))).limit)

    def _idle_sizes(self, name: str) -> tuple[int, int | None]:
        sizes = self._sizes_in_force(name)
        return sizes.min_idle, sizes.max_idle

    def _applied_to(self, name: str, pool: PoolSpec, now: SizesInForce | None) -> PoolSpec:
        sizes = self._sizes_in_force(name)
        return replace(
            pool,
            min_idle=sizes.min_idle if now is None else now.min_idle,
            max_idle=sizes.max_idle if now is None else now.max_idle,
            window=None if now is None or now.min_idle == sizes.min_idle else _asking(now),
            max_machines=sizes.max_machines,
            paused=bool(self._changes[name].get("paused", False)),
        )

    def changed(self, name: str) -> dict[str, int]:
        """The sizes of this pool that were changed at run time, with `limit`, by name, and to what."""
        sizes = {size: value for size, value in self._changes[name].items() if size != "paused"}
        return sizes if self._limit is None else {**sizes, _LIMIT: self._limit}

    def change(self, name: str, changes: Mapping[str, int | bool | None]) -> None:
        """Store some of `min_idle`, `max_idle`, `max_machines`, `limit` (None: as the settings say) and `paused`.

        `limit` is the fleet's, so it must leave room for the idle machines of each pool.
        Raises InvalidInput, CommitFailed; nothing is changed then.
        """
        merged = {**self._changes[name], **{key: value for key, value in changes.items() if key != _LIMIT}}
        merged = {key: value for key, value in merged.items() if value is not None and value is not False}
        limit = changes.get(_LIMIT) if _LIMIT in changes else self._limit
        self._insist_on_possible({**self._changes, name: merged}, limit, name)
        fleet = {} if limit is None else {_LIMIT: limit}
        self._store.commit((), {_key(name): json.dumps(merged), _FLEET: json.dumps(fleet)}, self._wall_ms())
        self._changes[name], self._limit = merged, limit
        _log.info("pool changed", pool=name, **changes)

    def _insist_on_possible(self, changes: Mapping[str, _Changes], limit: int | None, changed: str) -> None:
        """Raises InvalidInput. A pool that is not the changed one is named, since its sizes were not sent."""
        for name, problem in sorted(self._problems(changes, limit), key=lambda found: found[0] != changed):
            raise InvalidInput(problem if name in {changed, ""} else f"In pool {name}, {problem}")

    def _problems(self, changes: Mapping[str, _Changes], limit: int | None) -> Iterator[tuple[str, str]]:
        """Why these sizes cannot be, each with the name of its pool; without one if it is about all pools together."""
        sizes = {name: self._sizes(name, each, limit) for name, each in changes.items()}
        yield from ((name, problem) for name, each in sizes.items() if (problem := each.problem()))
        wanted, most = sum(each.min_idle for each in sizes.values()), min(each.limit for each in sizes.values())
        if wanted > most:
            yield "", f"The min_idle of all pools together is {wanted}, but must be at most the limit, which is {most}."

    def _sizes_in_force(self, name: str) -> Sizes:
        return self._sizes(name, self._changes[name], self._limit)

    def _sizes(self, name: str, changes: _Changes, limit: int | None) -> Sizes:
        known = self.configured[name]
        return Sizes(
            min_idle=changes.get("min_idle", known.min_idle),
            max_idle=changes.get("max_idle", known.max_idle),
            limit=known.limit if limit is None else limit,
            max_machines=changes.get("max_machines", known.max_machines),
        )


def _configured(spec: Spec) -> dict[str, Sizes]:
    return {
        name: Sizes(pool.min_idle, pool.max_idle, spec.max_machines, pool.max_machines)
        for name, pool in spec.pools.items()
    }


def _asking(now: SizesInForce) -> Window:
    """The open window whose `min_idle` is in force."""
    return next(each.window for each in now.open if each.window.min_idle == now.min_idle)


def _stored_limit(meta: Mapping[str, str], pools: Mapping[str, _Changes]) -> int | None:
    """The changed limit of the fleet; None if the setting holds."""
    if _FLEET in meta:
        limit: int | None = json.loads(meta[_FLEET]).get(_LIMIT)
        return limit
    return min((changes[_LIMIT] for changes in pools.values() if _LIMIT in changes), default=None)


def _without_sizes(changes: _Changes) -> _Changes:
    return {"paused": True} if changes.get("paused") else {}


def _key(pool: str) -> str:
    return f"pool.{pool}"
