"""Keeps track of what the engine would run now in each pool, so that an image rebuilt under the same tag is noticed.

It runs beside the tick, because fetching a missing image takes minutes, and for each pool beside the others, because what
one of them lacks concerns no other. As long as the engine cannot say, the last known template of a pool stays in force:
machines of it go on serving.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

import structlog

from worker_orchestrator.control.background import Background
from worker_orchestrator.control.telling.observer import Observer
from worker_orchestrator.control.world.reports import Tell, TemplateFound
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.errors import EngineError, EngineObstructed, EngineUnavailable, OutcomeUnknown

__all__ = ["Templates"]

LEAST_GAP_S: Final = 1.0
FIRST_RETRY_S: Final = 10.0
LONGEST_RETRY_S: Final = 300.0
OBSTRUCTED_RETRY_S: Final = 60.0
"""A cause outside may be mended by somebody who waits for it to show."""
LOOKS_AT_ONCE: Final = 4
"""So many pools are looked at beside each other. The engine itself says how many images it fetches at once."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Pool:
    """What is known of the template of one pool. `due_at` (loop time): when its image is fetched if it is missing.

    `again` is set to look before that. `answers`: the engine answered when it was last asked.
    """

    name: str
    due_at: float
    retry_s: float = FIRST_RETRY_S
    answers: bool = True
    again: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Templates:
    """Asks the engine for each pool's template at every refresh, and looks after each `look_again`, at most once a second.

    A look fetches nothing: what others do to their images, a hundred times an hour on some computers, must not make a
    registry hear of an image that it lacks. Each answer is reported as `TemplateFound`.
    """

    def __init__(
        self,
        engine: Engine,
        refresh_interval_s: float,
        background: Background,
        tell: Tell,
        observer: Observer,
        pools: Collection[str],
    ) -> None:
        self._engine, self._refresh_interval_s, self._tell = engine, refresh_interval_s, tell
        self._background, self._observer = background, observer
        self._now = asyncio.get_running_loop().time
        self._room = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._is_started = False
        self._pools: dict[str, _Pool] = {}
        self.set_pools(pools)

    def progress(self, pool: str) -> str:
        """What the engine is busy with to find out the template of this pool, in words; empty where it is not."""
        return self._engine.progress(pool)

    def look_again(self) -> None:
        """Look at the images of all pools soon, and fetch nothing."""
        for pool in self._pools.values():
            pool.again.set()

    def set_pools(self, names: Collection[str], changed: Collection[str] = ()) -> None:
        """These are the pools from now on. Of `changed` ones nothing counts any more that was found out or begun before."""
        for name in [name for name in self._pools if name not in names or name in changed]:
            task = self._pools.pop(name).task
            if task is not None:
                task.cancel()
        for name in names:
            if name not in self._pools:
                self._pools[name] = _Pool(name, self._now())
        if self._is_started:
            self.start()

    def start(self) -> None:
        """Look from now on, until the background is closed."""
        self._is_started = True
        for pool in self._pools.values():
            if pool.task is None:
                pool.task = self._background.spawn(self._look_at(pool), f"template of {pool.name}")

    async def _look_at(self, pool: _Pool) -> None:
        while True:
            pool.again.clear()
            await self._ask(pool, is_due=self._now() >= pool.due_at)
            await asyncio.sleep(LEAST_GAP_S)
            try:
                async with asyncio.timeout(max(0.0, pool.due_at - self._now())):
                    await pool.again.wait()
            except TimeoutError:
                continue

    async def _ask(self, pool: _Pool, *, is_due: bool) -> None:
        """Ask for the template, with all that it takes if that is due."""
        pause_s, shown_name = self._refresh_interval_s, pool.name if len(self._pools) > 1 else None
        try:
            template = await self._found(pool.name, fetch=is_due)
        except (EngineUnavailable, OutcomeUnknown) as error:
            if pool.answers:
                _log.warning("the image cannot be checked", pool=shown_name, why=error.message)
            pool.answers = False
        except EngineError as error:
            if is_due:
                _log.error("no machine can be created", pool=shown_name, why=error.message)
                longest_s = OBSTRUCTED_RETRY_S if isinstance(error, EngineObstructed) else LONGEST_RETRY_S
                pause_s, pool.retry_s = min(pool.retry_s, longest_s), min(pool.retry_s * 2, longest_s)
            pool.answers = True
            self._tell(TemplateFound(pool.name, "", error.message))
        else:
            pool.answers = True
            if not template:
                return  # it is fetched when that is due
            is_due, pool.retry_s = True, FIRST_RETRY_S
            self._tell(TemplateFound(pool.name, template, ""))
        if is_due:
            pool.due_at = self._now() + pause_s

    async def _found(self, pool: str, *, fetch: bool) -> str:
        """The template, once there is room for a look. What takes longer, a fetch, takes no room from other pools."""
        async with self._room:
            template = await self._observer.measure("template", self._engine.template(pool, fetch=False))
        if template or not fetch:
            return template
        return await self._observer.measure("template", self._engine.template(pool))
