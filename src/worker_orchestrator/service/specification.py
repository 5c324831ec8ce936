"""What the settings want of the fleet: the specification of the core, and what an engine has to be able to do for it."""

from __future__ import annotations

from typing import Final

from worker_orchestrator.core.activity import ActivityRules, Traffic
from worker_orchestrator.core.lease import OnExpiry, Terms
from worker_orchestrator.core.spec import Late, PoolSpec, Spec
from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.settings.pool import PoolSettings
from worker_orchestrator.settings.settings import Settings

__all__ = ["late_of", "spec_of"]

SHRINK_AFTER_S: Final = 300.0
"""So long a pool that windows or `spare` made larger keeps what is too much, unless `shrink_after` says otherwise."""


def spec_of(
    settings: Settings,
    *,
    plans_ports: bool = True,
    restarts_in_place: bool = True,
    pauses: bool = True,
    sees_use: bool = True,
) -> Spec:
    """What the settings want of the fleet, on an engine that can do this; the templates are found out later.

    Raises InvalidSetting if a pool names ports and the engine cannot give several of them to one worker, if machines of a
    pool are to sleep and the engine cannot start them again, if some are to be parked and the engine cannot pause them, or
    if some are to go when nobody uses them and the engine cannot tell.
    """
    _refuse_unable(
        settings, plans_ports=plans_ports, restarts_in_place=restarts_in_place, pauses=pauses, sees_use=sees_use
    )
    return Spec(
        {name: _spec_of_pool(pool) for name, pool in settings.pools.items()},
        max_machines=settings.max_machines,
        max_awake=settings.max_awake,
        first_port=settings.first_port if plans_ports else None,
        last_port=settings.last_port,
        start_timeout_s=settings.start_timeout,
        restarts_in_place=restarts_in_place,
        sees_use=sees_use,
    )


def _refuse_unable(
    settings: Settings, *, plans_ports: bool, restarts_in_place: bool, pauses: bool, sees_use: bool
) -> None:
    if not plans_ports and (named := [name for name, pool in settings.pools.items() if pool.ports]):
        raise InvalidSetting(
            f"ports is set for the pool {named[0]}, but the engine {settings.engine} gives each worker one address, without "
            "names of ports. Leave ports out, and say with worker_port which port it is."
        )
    asleep = [name for name, pool in settings.pools.items() if pool.on_expiry == OnExpiry.SLEEP]
    if asleep and not restarts_in_place:
        raise InvalidSetting(
            f"on_expiry is sleep for the pool {asleep[0]}, but the engine {settings.engine} cannot start a worker again in "
            "place, with its files. Set it to release or destroy."
        )
    unseen = [(name, pool) for name, pool in settings.pools.items() if pool.idle_timeout or pool.confirm_within]
    if unseen and not sees_use:
        name, pool = unseen[0]
        raise InvalidSetting(
            f"{'idle_timeout' if pool.idle_timeout else 'confirm_within'} is set for the pool {name}, but the engine "
            f"{settings.engine} cannot tell whether a worker is used. Set a ttl, which clients renew."
        )
    parked = [name for name, pool in settings.pools.items() if pool.parked]
    if parked and not pauses:
        raise InvalidSetting(
            f"parked is set for the pool {parked[0]}, but the engine {settings.engine} cannot pause workers. Leave it out, "
            "and set a higher min_idle."
        )


def _spec_of_pool(pool: PoolSettings) -> PoolSpec:
    is_adaptive = pool.sizing == "adaptive"
    shrinks = bool(pool.spare or pool.windows or is_adaptive)
    # `spare` never wants more than `max_idle`
    grew = bool(pool.windows) or is_adaptive or (shrinks and pool.max_idle is None)
    shrink_after_s = SHRINK_AFTER_S if grew else 0.0
    return PoolSpec(
        None,
        min_idle=pool.min_idle,
        max_idle=pool.max_idle,
        recycle=pool.on_release == "recycle",
        pending=True,
        max_machines=pool.max_machines,
        spare=pool.spare,
        shrinks=shrinks,
        shrink_after_s=shrink_after_s if pool.shrink_after is None else pool.shrink_after,
        shed_after_s=SHRINK_AFTER_S if pool.shrink_after is None else pool.shrink_after,
        windows=pool.windows,
        is_adaptive=is_adaptive,
        target=pool.target,
        start_timeout_s=pool.start_timeout,
        port_names=tuple(name for name, _ in pool.ports),
        terms=Terms(pool.ttl, pool.max_age, pool.idle_timeout, pool.confirm_within) or None,
        on_expiry=OnExpiry(pool.on_expiry),
        warn_before_s=pool.warn_before,
        activity=ActivityRules(Traffic(pool.idle_traffic), pool.idle_traffic_min, pool.idle_cpu),
        late=late_of(pool),
        parked=pool.parked or 0,
        never_parks=pool.parked == 0,
        parked_check_s=pool.parked_check,
        unreachable_grace_s=pool.unreachable_grace,
    )


def late_of(pool: PoolSettings) -> Late | None:
    """How its workers take values when they are running already."""
    if not pool.late_dir and not pool.late_post:
        return None
    replaces = pool.on_setup_failure == "replace"
    return Late(pool.late_dir, pool.late_post, pool.late_hook, pool.late_timeout, replaces)
