"""What the settings file of a history says, how people edit it, and what of it must be in force.

Nothing here is taken from the code under test but its data: which sizes are possible together, and what changes at run time
make of those of the file, is said once more.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as with_fields
from typing import Any, Final
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from worker_orchestrator.control.wiring import Limits
from worker_orchestrator.core.lease import OnExpiry, Terms
from worker_orchestrator.core.spec import Late, PoolSpec, Spec
from worker_orchestrator.core.windows import Window
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.settings.settings import DEFAULT_POOL

__all__ = ["FIRST_PORT", "POOLS", "Changes", "Configuration"]

FIRST_PORT: Final = 9093
POOLS: Final = (DEFAULT_POOL, "node", "python")
SIZES: Final = ("min_idle", "max_idle", "max_machines", "parked")
EDITS_TRIED: Final = 9


@dataclass(frozen=True, slots=True)
class Changes:
    """What an operator changed at run time: sizes and `paused` by pool, also of pools that the file does not name now."""

    pools: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    limit: int | None = None

    def of(self, name: str) -> Mapping[str, int]:
        return self.pools.get(name, {})

    def merged(self, name: str, changes: Mapping[str, int | None]) -> Changes:
        """With these for one pool. None and False: as the file says."""
        of_pool = {**self.of(name), **{key: value for key, value in changes.items() if key != "limit"}}
        kept = {key: value for key, value in of_pool.items() if value is not None and value is not False}
        return Changes({**self.pools, name: kept}, changes.get("limit", self.limit))


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the file says. `images` are those of pools that have their own, `dropped` pools that it named before."""

    spec: Spec
    limits: Limits
    images: Mapping[str, str]
    dropped: Mapping[str, PoolSpec] = field(default_factory=dict, compare=False)

    @classmethod
    def draw(cls, chance: random.Random) -> Configuration:
        names = POOLS[: chance.choice([1, 1, 2, 3])]
        pools = {name: draw_pool(chance, 3 if name == DEFAULT_POOL else 2) for name in names}
        least = max(1, sum(pool.min_idle + pool.parked for pool in pools.values()))
        limit = chance.randint(least, max(least, 8))
        spec = Spec(
            pools,
            max_machines=limit,
            first_port=FIRST_PORT,
            last_port=FIRST_PORT + limit - 1 + chance.choice([0, 1, 3, 20]),
            start_timeout_s=chance.choice([5.0, 20.0, 60.0]),
        )
        spec = _draw_sleep(random.Random(f"sleep {chance.random()}"), spec)
        limits = Limits(chance.choice([2.0, 10.0, 30.0]), chance.choice([2.0, 10.0]), chance.choice([0.0, 2.0, 10.0]))
        images = {name: name for name in names[1:] if chance.random() < 0.5}
        return cls(spec, limits, images)

    @property
    def options(self) -> dict[str, DockerOptions]:
        """What the engine is told of each pool."""
        return {
            name: DockerOptions(
                self.images.get(name, ""), ports=tuple((port, 3000 + n) for n, port in enumerate(names))
            )
            for name, names in ((name, pool.port_names) for name, pool in self.spec.pools.items())
        }

    # editing

    def edited(self, chance: random.Random) -> Configuration:
        """As somebody leaves the file who changed one thing or several; the same where no change is possible."""
        for _ in range(EDITS_TRIED):
            other = self
            for _ in range(chance.choice([1, 1, 2, 3])):
                other = other._edited_once(chance)
            wanted = sum(pool.min_idle + pool.parked for pool in other.spec.pools.values())
            fits = other.spec.max_awake is None or wanted <= other.spec.max_awake
            if fits and not any(problems(other._sizes(Changes()), other.spec.max_machines)):
                return other
        return self

    def _edited_once(self, chance: random.Random) -> Configuration:
        pools = self.spec.pools
        name, absent = chance.choice(list(pools)), [name for name in POOLS if name not in pools]
        others = [name for name in pools if name != DEFAULT_POOL]
        match chance.choice(
            ["sizes", "sizes", "limit", "image", "ports", "times", "vanish", "vanish", "appear", "appear"]
        ):
            case "sizes":
                names = pools[name].port_names
                return self._with_pool(name, replace(draw_pool(chance, 3), port_names=names))
            case "limit":
                return with_fields(self, spec=replace(self.spec, max_machines=chance.randint(1, 9)))
            case "image":
                image = chance.choice([None, name, f"{name}-2", f"{name}-3"])
                images = {pool: tag for pool, tag in self.images.items() if pool != name}
                return with_fields(self, images=images if image is None else {**images, name: image})
            case "ports":
                return self._with_pool(name, replace(pools[name], port_names=draw_ports(chance)))
            case "times":
                assign_s, stop_s = chance.choice([2.0, 10.0, 30.0]), chance.choice([0.0, 2.0, 10.0])
                limits = with_fields(self.limits, assign_timeout_s=assign_s, stop_timeouts_s={name: stop_s})
                start_s = chance.choice([5.0, 20.0, 60.0])
                return with_fields(self, limits=limits, spec=replace(self.spec, start_timeout_s=start_s))
            case "vanish" if others:
                return self._without(chance.choice(others))
            case "appear" if absent:
                name = chance.choice(absent)
                was = self.dropped.get(name)
                return self._with_pool(name, was if was and chance.random() < 0.5 else draw_pool(chance, 2))
        return self

    def _with_pool(self, name: str, pool: PoolSpec) -> Configuration:
        pools = {**self.spec.pools, name: pool}
        return with_fields(self, spec=replace(self.spec, pools={one: pools[one] for one in POOLS if one in pools}))

    def _without(self, name: str) -> Configuration:
        pools = {one: pool for one, pool in self.spec.pools.items() if one != name}
        dropped = {**self.dropped, name: self.spec.pools[name]}
        return with_fields(self, spec=replace(self.spec, pools=pools), dropped=dropped)

    # what must be in force

    def is_possible(self, changes: Changes) -> bool:
        """Whether these changes can be beside what the file says."""
        limit = self.spec.max_machines if changes.limit is None else changes.limit
        return not any(problems(self._sizes(changes), limit))

    def _sizes(self, changes: Changes) -> dict[str, dict[str, int | None]]:
        """By pool, as the changes make them."""
        return {
            name: {size: changes.of(name).get(size, getattr(pool, size)) for size in SIZES}
            for name, pool in self.spec.pools.items()
        }

    def differences(self, changes: Changes, spec: Spec, *, may_drop: bool) -> Iterator[str]:
        """What of `spec`, which is in force, is neither what the file says nor what was changed.

        `may_drop`: these changes could not be beside the file, so those of a pool may be left out. A pause stays.
        """
        mine = self.spec
        if replace(spec, pools={}, max_machines=0, retired={}) != replace(mine, pools={}, max_machines=0):
            yield f"{spec} is in force, and the file says {mine}"
        if list(spec.pools) != list(mine.pools):
            yield f"the pools {list(spec.pools)} are in force, and the file has {list(mine.pools)}"
            return
        as_in_file, changed = self._sizes(Changes()), self._sizes(changes)
        bases = dict[str, dict[str, int | None]]()
        for name, pool in spec.pools.items():
            if _without_sizes(pool) != _without_sizes(mine.pools[name]):
                yield f"{pool} is in force, and the file says {mine.pools[name]} of {name}"
            possible = [changed[name], as_in_file[name]] if may_drop else [changed[name]]
            sizes = {size: getattr(pool, size) for size in SIZES}
            fitting = [base for base in possible if sizes in _with_windows(base, mine.pools[name].windows)]
            if not fitting:
                yield f"{sizes} of {name} are in force, not {changed[name]}"
            # While a window is open, both may look the same: then those are left out that could not be.
            bases[name] = min(fitting or possible, key=lambda base: any(problems({name: base}, spec.max_machines)))
            if pool.paused != bool(changes.of(name).get("paused")):
                yield f"{name} is paused: {pool.paused}, with {changes.of(name)}"
            of_file, parked = mine.pools[name].never_parks, changes.of(name).get("parked")
            never = {of_file if parked is None else parked == 0} | ({of_file} if may_drop else set())
            if pool.never_parks not in never:
                yield f"{name} never parks: {pool.never_parks}, with {changes.of(name)}"
        limit = mine.max_machines if changes.limit is None else changes.limit
        if spec.max_machines != limit and not (may_drop and spec.max_machines == mine.max_machines):
            yield f"the limit {spec.max_machines} is in force, not {limit}"
        yield from problems(bases, spec.max_machines)


def draw_pool(chance: random.Random, most_idle: int) -> PoolSpec:
    min_idle, windows = chance.randint(0, most_idle), draw_windows(chance)
    pool = PoolSpec(
        None,
        min_idle=min_idle,
        max_idle=chance.choice([None, None, min_idle, min_idle + 1, min_idle + 2]),
        recycle=chance.random() < 0.3,
        pending=True,
        max_machines=chance.choice([None, None, None, max(1, min_idle), min_idle + 2]),
        spare=chance.choice([0.0, 0.0, 0.0, 0.5]),
        shrinks=bool(windows) or chance.random() < 0.2,
        shrink_after_s=chance.choice([0.0, 0.0, 20.0]),
        windows=windows,
        port_names=draw_ports(chance),
        late=_draw_late(random.Random(f"late {min_idle} {chance.getstate()[1][:3]}")),
    )
    return _with_reserve(pool, random.Random(f"parked {min_idle} {chance.getstate()[1][:3]}"))


def _with_reserve(pool: PoolSpec, chance: random.Random) -> PoolSpec:
    """Half of all pools park machines, if there is room for that. It is drawn by itself, as `late` is."""
    room = None if pool.max_machines is None else pool.max_machines - pool.min_idle
    parked = chance.choice([0, 0, 1, 2])
    parked_check_s = chance.choice([20.0, 300.0])
    return replace(pool, parked=parked if room is None else min(parked, room), parked_check_s=parked_check_s)


def _draw_late(chance: random.Random) -> Late:
    """How workers take values. It is drawn by itself, so that nothing else depends on it."""
    hook = ("set-up",) if chance.random() < 0.4 else ()
    return Late("/run/project", hook=hook, timeout_s=chance.choice([1.0, 20.0]), replaces=chance.random() < 0.3)


def _draw_sleep(chance: random.Random, spec: Spec) -> Spec:
    """Machines of some pools sleep after a while, and only so many may be awake."""
    pools = {
        name: replace(pool, terms=Terms(ttl=chance.choice([1.0, 20.0, 120.0])), on_expiry=OnExpiry.SLEEP)
        if chance.random() < 0.4
        else pool
        for name, pool in spec.pools.items()
    }
    least = max(1, sum(pool.min_idle + pool.parked for pool in pools.values()))
    max_awake = chance.randint(least, max(least, spec.max_machines)) if chance.random() < 0.4 else None
    return replace(spec, pools=pools, max_awake=max_awake)


def draw_windows(chance: random.Random) -> tuple[Window, ...]:
    """Mostly none; else one that opens every few minutes."""
    if chance.random() < 0.85:
        return ()
    cron, open_s = chance.choice(["*/2 * * * *", "*/5 * * * *"]), chance.choice([40, 60, 100])
    return (Window(cron, open_s, ZoneInfo("UTC"), chance.randint(1, 4), chance.choice([None, 0, 2])),)


def draw_ports(chance: random.Random) -> tuple[str, ...]:
    return chance.choice([(), (), (), ("http",), ("http", "hmr")])


def problems(sizes: Mapping[str, Mapping[str, Any]], limit: int) -> Iterator[str]:
    """Why the settings would refuse these sizes of all pools."""
    for name, of_pool in sizes.items():
        min_idle, max_idle, own, parked = (of_pool[size] for size in SIZES)
        if own is not None and min_idle + parked > own:
            yield f"{name} wants {min_idle} idle machines, {parked} parked ones, and may have {own} machines"
        if max_idle is not None and min_idle > max_idle:
            yield f"{name} wants {min_idle} idle machines and may keep {max_idle}"
    if sum(of_pool["min_idle"] + of_pool["parked"] for of_pool in sizes.values()) > limit:
        yield f"all pools together want more idle and parked machines than the limit, which is {limit}"


def _with_windows(base: Mapping[str, int | None], windows: Sequence[Window]) -> list[dict[str, int | None]]:
    """These sizes of a pool while its one window is closed, and while it is open."""
    found = [dict(base)]
    for window in windows:
        min_idle = max(base["min_idle"] or 0, window.min_idle)
        max_idle = base["max_idle"] if window.max_idle is None else window.max_idle
        found.append({**base, "min_idle": min_idle, "max_idle": None if max_idle is None else max(min_idle, max_idle)})
    return found


def _without_sizes(pool: PoolSpec) -> PoolSpec:
    found_out = {
        "template": None,
        "problem": "",
        "pending": True,
        "paused": False,
        "window": None,
        "never_parks": False,
    }
    return replace(pool, min_idle=0, max_idle=None, max_machines=None, parked=0, **found_out)
