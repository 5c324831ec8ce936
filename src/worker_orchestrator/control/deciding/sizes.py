"""The sizes of the pools: what the settings say, and what was changed at run time, which is stored and wins.

A restart must not undo what an operator changed in an emergency. A size that is reset (None) follows its setting again. What
does not go with newer settings at a start is dropped for good: it is told once, and not stored any longer.

In a pool whose sizes follow demand, the forecast counts if it is more than its `min_idle` and no more than its limits allow.
While a clock window of a pool is open, its `min_idle` counts if it is the higher one, and its `max_idle` stands in for the
pool's. What was changed at run time takes the place of the settings' sizes, and not of the windows.

`limit` is that of the whole fleet: whichever pool a caller names with it, it is one number, stored once. Earlier versions
stored it with a pool; then the smallest one holds, as it did there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import replace as with_fields
from typing import Any, Final

import structlog
from msgspec.structs import replace

from worker_orchestrator.core.demand import Forecast
from worker_orchestrator.core.spec import PoolSpec, Spec
from worker_orchestrator.core.windows import SizesInForce, Window, sizes_at
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.pausable import why_no_parking
from worker_orchestrator.errors import CommitFailed, InvalidInput
from worker_orchestrator.store.store import Store

__all__ = ["PoolSizes", "Sizes"]

_log = structlog.get_logger(__name__)

_FLEET: Final = "fleet"
_LIMIT: Final = "limit"
_Changes = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of one pool, and `limit`, which is `max_machines` of the fleet.

    `max_idle` None: no idle machine is too many. `max_machines` None: the pool has no limit of its own. `parked` machines
    are kept beside the idle ones; None: none, but for what demand asks for, which it does not do where this is 0.
    """

    min_idle: int
    max_idle: int | None
    limit: int
    max_machines: int | None = None
    parked: int | None = None

    @property
    def kept(self) -> int:
        """How many machines it keeps for projects to come."""
        return self.min_idle + (self.parked or 0)

    def problem(self) -> str:
        """Why they cannot be; empty where they can."""
        if self.min_idle > self.limit:
            return f"min_idle is {self.min_idle}, but must be at most the limit, which is {self.limit}."
        if self.max_machines is not None and self.min_idle > self.max_machines:
            return f"min_idle is {self.min_idle}, but must be at most max_machines, which is {self.max_machines}."
        if self.max_idle is not None and self.max_idle < self.min_idle:
            return f"max_idle is {self.max_idle}, but must be at least min_idle, which is {self.min_idle}."
        for whose, most in (("the limit", self.limit), ("max_machines", self.max_machines)):
            if most is not None and self.kept > most:
                return (
                    f"parked is {self.parked}, which makes {self.kept} machines with min_idle, but that must be at most "
                    f"{whose}, which is {most}."
                )
        return ""


@dataclass(frozen=True, slots=True)
class _Kept:
    """What stays of what was changed. `dropped`: of which pools the sizes do not, and why; under no name the limit."""

    changes: dict[str, _Changes]
    limit: int | None
    dropped: dict[str, str]


class PoolSizes:
    """What each pool should be, with the changes of `store` over the settings. `configured` is what the settings say.

    `engine` is asked whether machines of a pool can be parked. `change_due_s`: when a window opens or closes next, in
    seconds since 1970; None if no pool has windows. `forecasts`: what demand asks for now, by pool.
    """

    def __init__(self, spec: Spec, store: Store, wall_ms: Callable[[], int], engine: Engine) -> None:
        self._store, self._wall_ms, self._engine = store, wall_ms, engine
        self.change_due_s: int | None = None
        self.forecasts: Mapping[str, Forecast] = {}
        self._changes: dict[str, _Changes] = {}  # of each pool that was ever in the settings of this run
        self._limit: int | None = None
        self._dropped: dict[str, str] = {}  # by pool, the limit under no name: what is no longer changed, and why
        self.configure(spec)

    def configure(self, spec: Spec) -> None:
        """Take these sizes as those of the settings. What was changed at run time is read, for new pools too."""
        stored, limit = self._stored(spec)
        self.configured, self._dropped = _configured(spec), {}
        kept = self._usable(stored, limit)
        self._changes, self._limit = {**self._changes, **kept.changes}, kept.limit
        for name, why in kept.dropped.items():
            lost = _only_sizes(stored[name]) if name else {_LIMIT: limit}
            self._dropped[name] = _dropped(lost, why)
            _log.warning("sizes changed at run time are dropped", **{"pool": name} if name else {}, **lost, why=why)
        for name, changes in kept.changes.items():
            if changes:
                _log.info("pool sizes changed at run time are in force", pool=name, **changes)
        if self._limit is not None:
            _log.info("a limit changed at run time is in force", limit=self._limit)

    def forget_dropped(self) -> None:
        """Remove from the store what was dropped, so that it never comes back by itself when the settings change again.

        If nothing can be stored it is dropped anew at the next start. Until then what is in memory counts.
        """
        if not self._dropped:
            return
        pools = {_key(name): json.dumps(self._changes[name]) for name in self._dropped if name}
        try:
            self._store.commit((), {**pools, _FLEET: _fleet(self._limit)}, self._wall_ms())
        except CommitFailed as error:
            _log.warning("sizes that were dropped are still stored", why=error.message)

    def dropped(self, name: str) -> str:
        """What had been changed of this pool and of the limit, and was dropped at the start; empty once that is set anew."""
        return " ".join(self._dropped[one] for one in (name, "") if one in self._dropped)

    def conflict(self, spec: Spec) -> str:
        """Why what was changed at run time cannot stay with the sizes of these settings; empty if it can."""
        (stored, limit), before = self._stored(spec), self.configured
        self.configured = _configured(spec)
        try:
            return self._first_problem(stored, limit)
        finally:
            self.configured = before

    def _first_problem(self, changes: Mapping[str, _Changes], limit: int | None) -> str:
        name, problem = next(self._problems(changes, limit), ("", ""))
        return f"In pool {name}, {problem}" if name and len(self.configured) > 1 else problem

    def _stored(self, spec: Spec) -> tuple[dict[str, _Changes], int | None]:
        """What was changed at run time: of each pool, and the limit. What is known to this run is not read again."""
        meta = self._store.meta()
        stored = {
            name: self._changes[name] if name in self._changes else json.loads(meta.get(_key(name), "{}"))
            for name in spec.pools
        }
        return stored, self._limit if self._changes else _stored_limit(meta, stored)

    def _usable(self, stored: Mapping[str, _Changes], limit: int | None) -> _Kept:
        """What is left of a stored limit and of stored changes beside the settings of today, which may be newer."""
        changed = {name: each for name, each in stored.items() if _only_sizes(each)}
        problems = {name: self._sizes(name, each, limit).problem() for name, each in changed.items()}
        dropped = {name: why for name, why in problems.items() if why}
        changes = {name: _kept(each, with_sizes=name not in dropped) for name, each in stored.items()}
        problem = self._first_problem(changes, limit)
        if problem and limit is not None:
            without_limit = self._usable(stored, None)
            return with_fields(without_limit, dropped={**without_limit.dropped, "": problem})
        if problem:
            changes = {name: _kept(each, with_sizes=False) for name, each in stored.items()}
            return _Kept(changes, None, {name: dropped.get(name, problem) for name in changed})
        return _Kept(changes, limit, dropped)

    def applied(self, spec: Spec) -> Spec:
        """The spec with the sizes that are in force at this moment."""
        wall_s = self._wall_ms() / 1000
        now = {
            name: sizes_at(pool.windows, (own := self.in_force(name)).min_idle, own.max_idle, wall_s)
            for name, pool in spec.pools.items()
            if pool.windows
        }
        self.change_due_s = min((each.until_s for each in now.values() if each.until_s is not None), default=None)
        pools = {name: self._applied_to(name, pool, now.get(name)) for name, pool in spec.pools.items()}
        return replace(spec, pools=pools, max_machines=self.in_force(next(iter(spec.pools))).limit)

    def _applied_to(self, name: str, pool: PoolSpec, now: SizesInForce | None) -> PoolSpec:
        sizes = self.in_force(name)
        least, most = (sizes.min_idle, sizes.max_idle) if now is None else (now.min_idle, now.max_idle)
        forecast = (self.forecasts.get(name) if pool.is_adaptive else None) or Forecast(0, 0)
        asked = min(forecast.idle, _most(sizes, most))
        reserve = 0 if sizes.parked == 0 else min(forecast.parked, _most(sizes, most) - max(least, asked))
        return replace(
            pool,
            min_idle=max(least, asked),
            max_idle=most,
            idle_by_demand=max(0, asked - least),
            window=None if now is None or now.min_idle == sizes.min_idle or asked > least else _asking(now),
            max_machines=sizes.max_machines,
            parked=max(sizes.parked or 0, reserve),
            parked_by_demand=max(0, reserve - (sizes.parked or 0)),
            never_parks=sizes.parked == 0,
            paused=bool(self._changes[name].get("paused", False)),
        )

    def changed(self, name: str) -> dict[str, int]:
        """The sizes of this pool that were changed at run time, with `limit`, by name, and to what."""
        sizes = {size: value for size, value in self._changes[name].items() if size != "paused"}
        return sizes if self._limit is None else {**sizes, _LIMIT: self._limit}

    def change(self, name: str, changes: Mapping[str, int | bool | None]) -> None:
        """Store some of `min_idle`, `max_idle`, `max_machines`, `parked`, `limit` (None: as the settings say) and `paused`.

        `limit` is the fleet's, so it must leave room for the idle machines of each pool.
        Raises InvalidInput, CommitFailed; nothing is changed then.
        """
        merged = {**self._changes[name], **{key: value for key, value in changes.items() if key != _LIMIT}}
        merged = {key: value for key, value in merged.items() if value is not None and value is not False}
        limit = changes.get(_LIMIT) if _LIMIT in changes else self._limit
        in_force = {one: self._changes[one] for one in self.configured}
        self._insist_on_possible({**in_force, name: merged}, limit, name)
        if changes.get("parked") and (why := why_no_parking(self._engine, name)):
            raise InvalidInput(why)
        self._store.commit((), {_key(name): json.dumps(merged), _FLEET: _fleet(limit)}, self._wall_ms())
        self._changes[name], self._limit = merged, limit
        # whoever sets sizes has seen what was dropped
        if _LIMIT in changes:
            self._dropped.pop("", None)
        if _only_sizes(changes):
            self._dropped.pop(name, None)
        _log.info("pool changed", pool=name, **changes)

    def _insist_on_possible(self, changes: Mapping[str, _Changes], limit: int | None, changed: str) -> None:
        """Raises InvalidInput. A pool that is not the changed one is named, since its sizes were not sent."""
        for name, problem in sorted(self._problems(changes, limit), key=lambda found: found[0] != changed):
            raise InvalidInput(problem if name in {changed, ""} else f"In pool {name}, {problem}")

    def _problems(self, changes: Mapping[str, _Changes], limit: int | None) -> Iterator[tuple[str, str]]:
        """Why these sizes cannot be, each with the name of its pool; without one if it is about all pools together."""
        sizes = {name: self._sizes(name, each, limit) for name, each in changes.items()}
        yield from ((name, problem) for name, each in sizes.items() if (problem := each.problem()))
        kept, most = sum(each.kept for each in sizes.values()), min(each.limit for each in sizes.values())
        what = "min_idle and parked" if any(each.parked for each in sizes.values()) else "min_idle"
        if kept > most:
            yield "", f"The {what} of all pools together is {kept}, but must be at most the limit, which is {most}."

    def can_park(self, name: str) -> bool:
        """Whether machines of this pool may be parked, and can be, as far as the engine knows."""
        return self.in_force(name).parked != 0 and not why_no_parking(self._engine, name)

    def in_force(self, name: str) -> Sizes:
        """The sizes of this pool, but for what windows and demand ask for."""
        return self._sizes(name, self._changes[name], self._limit)

    def _sizes(self, name: str, changes: _Changes, limit: int | None) -> Sizes:
        known = self.configured[name]
        return Sizes(
            min_idle=changes.get("min_idle", known.min_idle),
            max_idle=changes.get("max_idle", known.max_idle),
            limit=known.limit if limit is None else limit,
            max_machines=changes.get("max_machines", known.max_machines),
            parked=changes.get("parked", known.parked),
        )


def _configured(spec: Spec) -> dict[str, Sizes]:
    return {
        name: Sizes(pool.min_idle, pool.max_idle, spec.max_machines, pool.max_machines, _parked(pool))
        for name, pool in spec.pools.items()
    }


def _parked(pool: PoolSpec) -> int | None:
    return pool.parked if pool.parked or pool.never_parks else None


def _most(sizes: Sizes, max_idle: int | None) -> int:
    """How many idle machines there may be."""
    return min(each for each in (max_idle, sizes.max_machines, sizes.limit) if each is not None)


def _asking(now: SizesInForce) -> Window:
    """The open window whose `min_idle` is in force."""
    return next(each.window for each in now.open if each.window.min_idle == now.min_idle)


def _stored_limit(meta: Mapping[str, str], pools: Mapping[str, _Changes]) -> int | None:
    """The changed limit of the fleet; None if the setting holds."""
    if _FLEET in meta:
        limit: int | None = json.loads(meta[_FLEET]).get(_LIMIT)
        return limit
    return min((changes[_LIMIT] for changes in pools.values() if _LIMIT in changes), default=None)


def _only_sizes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The sizes of a pool among these changes."""
    return {key: value for key, value in changes.items() if key not in {_LIMIT, "paused"}}


def _fleet(limit: int | None) -> str:
    """What is stored of the limit."""
    return json.dumps({} if limit is None else {_LIMIT: limit})


def _dropped(lost: Mapping[str, object], why: str) -> str:
    """That these sizes are no longer changed, in sentences."""
    had = " and ".join(f"{name} {value}" for name, value in lost.items())
    return (
        f"`orchestrator scale` had set {had}. That was dropped at the start of the service, since it does not go with the "
        f"settings: {why}"
    )


def _kept(changes: _Changes, *, with_sizes: bool) -> _Changes:
    """A pause always, and no limit, which is not the pool's."""
    pause = {"paused": True} if changes.get("paused") else {}
    return {**_only_sizes(changes), **pause} if with_sizes else pause


def _key(pool: str) -> str:
    return f"pool.{pool}"
