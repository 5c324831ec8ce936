"""The gauges of pools as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, cast

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from worker_orchestrator.control.reading.gauges import WORDS, Gauges, PoolGauges

__all__ = ["gauge", "of_pools"]

_OF_POOL: Final[tuple[tuple[str, str, Callable[[PoolGauges], float | None]], ...]] = (
    ("min_idle", "Machines to be kept idle.", lambda pool: pool.min_idle),
    (
        "wanted_idle",
        "Machines to be kept idle now, by min_idle, an open window, demand or spare.",
        lambda pool: pool.wanted_idle,
    ),
    ("wanted_parked", "Machines to be kept parked now, by the settings or by demand.", lambda pool: pool.wanted_parked),
    (
        "refill_lag_seconds",
        "For how long fewer machines have been idle than are to be.",
        lambda pool: pool.refill_lag_s,
    ),
    ("image_failing", "1 while machines of the pool's image do not come up.", lambda pool: pool.image_fails),
    ("pool_paused", "1 while the pool starts no machines.", lambda pool: pool.paused),
    ("waiters", "Projects that wait for a machine now.", lambda pool: pool.waiting),
    ("pool_slots_held", "Machines of the pool that count in max_machines.", lambda pool: pool.slots_held),
    ("pool_max_machines", "The pool's own limit of machines, where it has one.", lambda pool: pool.max_machines),
)
"""Each gauge of a pool: its name, what it tells, and its value. It is absent where the value is None."""


def of_pools(gauges: Gauges) -> Iterator[Metric]:
    machines = GaugeMetricFamily("orchestrator_machines", "Machines on record.", labels=["pool", "state"])
    for name, pool in gauges.pools.items():
        for state in WORDS:
            machines.add_metric([name, state], pool.machines[state])
    families = [machines]
    for metric, text, value_of in _OF_POOL:
        family = GaugeMetricFamily(f"orchestrator_{metric}", text, labels=["pool"])
        for name, pool in gauges.pools.items():
            value = value_of(pool)
            if value is not None:
                family.add_metric([name], value)
        families.append(family)
    yield from cast("list[Metric]", families)


def gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"orchestrator_{name}", text, value=value)
