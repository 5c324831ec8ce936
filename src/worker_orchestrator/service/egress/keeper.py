"""Has a proxy for each pool that reaches names, as soon as its network is there, and notes what they refuse."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.control.reading.prometheus import Metrics
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.fenced import Fence, Fenced
from worker_orchestrator.errors import EngineError, InvalidSetting
from worker_orchestrator.service.egress.proxy import Proxy, squid_file
from worker_orchestrator.settings.egress_names import NAMES
from worker_orchestrator.settings.pool import PoolSettings
from worker_orchestrator.settings.settings import Settings

__all__ = ["Egress", "refuse_without_squid"]

_log: Final = structlog.get_logger(__name__)

LOOK_S: Final = 0.5
"""So often it is seen whether the settings have changed, and whether a proxy has ended."""
ASK_S: Final = 10.0
"""And so often the engine is asked for the networks."""
LIMIT_S: Final = 5.0
UNABLE_S: Final = 5.0
"""So long later it is tried again if this computer refused a process or a file."""
KNOWN_S: Final = 2.0
"""So long it is known who is behind which address."""


def refuse_without_squid(settings: Settings) -> None:
    """Raises InvalidSetting if a pool needs it, and it is not on this computer."""
    pools = [name for name, pool in settings.pools.items() if pool.outbound_kind == NAMES]
    if pools and settings.engine == "docker" and squid_file() is None:
        raise InvalidSetting(
            f"The pool {pools[0]} has names in outbound, which takes the proxy Squid on this computer: install it "
            "(`apt-get install squid` on Debian and Ubuntu; its own service need not run), or choose any or host."
        )


class Egress:
    """`pools` returns the settings in force."""

    def __init__(
        self,
        engine: Engine,
        pools: Callable[[], Mapping[str, PoolSettings]],
        orchestrator: Orchestrator,
        metrics: Metrics,
    ) -> None:
        self._engine, self._pools, self._orchestrator, self._metrics = engine, pools, orchestrator, metrics
        self._proxies, self._fences = dict[str, Proxy](), dict[str, Fence]()
        self._ask_at = 0.0
        self._behind: dict[str, tuple[float, Mapping[str, str]]] = {}  # by pool: when it was asked, and ids by address
        self._refused: asyncio.Queue[tuple[str, str, str, int]] = asyncio.Queue(1000)

    async def run(self) -> None:
        """Until it is cancelled. The proxies end with it."""
        noting = asyncio.create_task(self._note_refused(), name="refused requests")
        try:
            while True:
                try:
                    await self._look()
                except OSError as error:  # such as no process or file that is free: it may pass
                    _log.warning("the proxies of pools cannot be looked after", why=str(error))
                    await asyncio.sleep(UNABLE_S)
                await asyncio.sleep(LOOK_S)
        finally:
            noting.cancel()
            await asyncio.gather(noting, *(proxy.aclose() for proxy in self._proxies.values()), return_exceptions=True)

    async def _look(self) -> None:
        wanted = {name: pool.outbound for name, pool in self._pools().items() if pool.outbound_kind == NAMES}
        for name in self._proxies.keys() - wanted.keys():
            await self._proxies.pop(name).aclose()
        if not wanted or not isinstance(self._engine, Fenced):
            return
        now = asyncio.get_running_loop().time()
        if now >= self._ask_at or not wanted.keys() <= self._fences.keys():
            self._ask_at = now + ASK_S
            with contextlib.suppress(EngineError, TimeoutError):
                async with asyncio.timeout(LIMIT_S):
                    self._fences = dict(await self._engine.fences())
        for name, names in wanted.items():
            if (fence := self._fences.get(name)) is not None:
                if name not in self._proxies:
                    self._proxies[name] = Proxy(self._orchestrator.fleet.owner, name, self._hear(name))
                await self._proxies[name].ensure(fence, names)

    def _hear(self, pool: str) -> Callable[[str, str, int], None]:
        def refused(address: str, what: str, count: int) -> None:
            self._metrics.requests_refused(pool, count)
            if address and not self._refused.full():
                self._refused.put_nowait((pool, address, what, count))

        return refused

    async def _note_refused(self) -> None:
        """Tell of each with the project that has the machine behind its address."""
        while True:
            pool, address, what, _ = await self._refused.get()
            with contextlib.suppress(EngineError, TimeoutError):
                async with asyncio.timeout(LIMIT_S):
                    machine_id = (await self._known(pool)).get(address, "")
                machine = self._orchestrator.fleet.machines.get(machine_id)
                if machine is not None:
                    self._orchestrator.traces.refused.note(machine, what)

    async def _known(self, pool: str) -> Mapping[str, str]:
        now = asyncio.get_running_loop().time()
        asked_at, known = self._behind.get(pool, (-KNOWN_S, {}))
        if now - asked_at >= KNOWN_S and isinstance(self._engine, Fenced):
            known = await self._engine.behind(pool)
            self._behind[pool] = (now, known)
        return known
