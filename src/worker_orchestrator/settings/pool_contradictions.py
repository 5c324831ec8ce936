"""What in the settings of one pool does not go together."""

from __future__ import annotations

from collections.abc import Iterator

from worker_orchestrator.settings import late
from worker_orchestrator.settings.named_ports import contradictions_of_ports
from worker_orchestrator.settings.pool import PoolSettings

__all__ = ["contradictions"]


def contradictions(pool: PoolSettings, most: int) -> Iterator[str]:
    """What in the settings of one pool does not go together, as sentences that begin with a setting.

    `most`: the limit on the machines of all pools.
    """
    if pool.max_idle is not None and pool.max_idle < pool.min_idle:
        yield f"max_idle is {pool.max_idle}, but must be at least min_idle, which is {pool.min_idle}."
    limit, whose = most, "max_machines"
    if pool.max_machines is not None and pool.max_machines < most:
        limit, whose = pool.max_machines, "its own max_machines"
    parked = pool.parked or 0
    yield from _more_than(limit, whose, pool.min_idle, parked)
    for window in pool.windows:
        named = f"of the window `{window.cron}`"
        if window.max_idle is not None and window.max_idle < window.min_idle:
            yield (
                f"max_idle {named} is {window.max_idle}, but must be at least its min_idle, which is {window.min_idle}."
            )
        yield from _more_than(limit, whose, window.min_idle, parked, named)
    if parked and pool.ready == "healthcheck":
        yield (
            f"parked is {parked}, which needs workers that are asked for an answer, but ready is healthcheck: what "
            "the engine says of a worker's health is old for a while after a pause. Choose ready http or tcp."
        )
    yield from contradictions_of_ports(pool.worker_port, pool.ports, pool.ready_port)
    yield from late.contradictions_of_late(
        pool.late_dir, pool.late_hook, pool.late_post, pool.late_timeout, pool.on_setup_failure, pool.on_release
    )
    if pool.insecure_shared_network and (pool.network or pool.outbound != "any"):
        other = f"network ({pool.network})" if pool.network else f"outbound ({_outbound(pool)})"
        yield (
            "insecure_shared_network is on, which needs a network that the service makes and that leads anywhere: do "
            f"not set {other}."
        )
    if pool.network and pool.outbound != "any":
        yield (
            f"outbound is {_outbound(pool)}, which needs the network that the service makes: do not set network "
            f"({pool.network})."
        )


def _outbound(pool: PoolSettings) -> str:
    return pool.outbound if isinstance(pool.outbound, str) else ", ".join(pool.outbound)


def _more_than(limit: int, whose: str, min_idle: int, parked: int, named: str = "") -> Iterator[str]:
    """That these machines are more than the limit, if they are. `named`: of what `min_idle` is, if not of the pool."""
    least = f"min_idle {named}" if named else "min_idle"
    if min_idle > limit:
        yield f"{least} is {min_idle}, but must be at most {whose}, which is {limit}."
    elif min_idle + parked > limit:
        yield (
            f"parked is {parked}, which makes {min_idle + parked} machines with {least}, but that must be at most {whose}, "
            f"which is {limit}."
        )
