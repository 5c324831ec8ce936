"""A deadline that was set after the last tick, and is over before the next one is planned, comes in time all the same."""

from __future__ import annotations

import asyncio

from tests.simulation.small import Small, lived

from worker_orchestrator.core.lease import SPARED_S, Terms

SETTLED_S = 3.0
LATEST_S = 1.5
"""A second between two looks, and a listing."""


async def next_listing(small: Small) -> None:
    """From then on the next tick is planned in ten seconds."""
    before = small.calls("list")
    await small.until(lambda: small.calls("list") > before)


def test_an_end_comes_at_most_a_moment_late_whenever_the_next_tick_is() -> None:
    async def told(small: Small) -> None:
        now = asyncio.get_running_loop().time
        await small.await_idle(2)
        await small.assign("p")
        await asyncio.sleep(SPARED_S)
        for ttl in (1, 2.5, 4):
            await small.assign("p")
            await small.await_idle(2)
            await next_listing(small)
            await asyncio.sleep(SETTLED_S)
            ends_at = now() + ttl
            await small.orchestrator.leases.keep_alive("p", Terms(ttl=ttl))
            await small.until(lambda: small.fleet.of_project("p") is None)
            assert ends_at <= now() <= ends_at + LATEST_S

    lived(told)
