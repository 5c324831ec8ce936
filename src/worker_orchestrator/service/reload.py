"""The settings that are in force, and how a running service takes over others.

The file is read again as it was read at the start: with the same flags and the same environment, from the same place. It is
taken over as a whole or not at all. What cannot be taken over without a restart stays as it was, and is told.

What was shown to somebody is what is applied: the digest of both readings, that of the settings in force and the new one,
comes with what a look shows, and is compared when it is applied. It has a key of this process, because what it is made from
has secrets that could be guessed.

Reading takes a while, and for ever where the disk does not answer. So that is done in a thread, and nobody waits for it who
asks for a machine.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import hmac
import secrets
from collections.abc import Callable

import structlog

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.control.wiring import Limits
from worker_orchestrator.core.spec import DEFAULT_POOL, Spec
from worker_orchestrator.engines.base import Engine
from worker_orchestrator.engines.extras import Activity
from worker_orchestrator.engines.pausable import Pausable
from worker_orchestrator.errors import InvalidSetting, OrchestratorError, SettingsChanged
from worker_orchestrator.service.egress.keeper import refuse_without_squid
from worker_orchestrator.service.engine_options import configure_engine
from worker_orchestrator.service.specification import spec_of
from worker_orchestrator.settings.difference import Difference, difference
from worker_orchestrator.settings.settings import Settings

__all__ = ["Configuration", "limits_of"]

_log = structlog.get_logger(__name__)


def limits_of(settings: Settings) -> Limits:
    """The times of the shell."""
    pools = {name: pool.stop_timeout for name, pool in settings.pools.items()}
    return Limits(
        settings.assign_timeout, settings.refresh_interval, settings.stop_timeout, pools, settings.activity_interval
    )


class Configuration:
    """`settings` are those in force. `read_again` reads what they would be now; it raises InvalidSetting.

    `taken_over` is called after each reload that changed something.
    """

    def __init__(
        self, settings: Settings, read_again: Callable[[], Settings], engine: Engine, orchestrator: Orchestrator
    ) -> None:
        self.settings = settings
        self.taken_over: Callable[[], None] = lambda: None
        self._read_again, self._engine, self._orchestrator = read_again, engine, orchestrator
        self._one_at_a_time = asyncio.Lock()  # else what was read first might be taken over last
        self._key = secrets.token_bytes(16)

    def image_of(self, pool: str) -> str:
        """The image of a pool as the settings name it."""
        return "a demo in memory" if self.settings.engine == "memory" else self.settings.pools[pool].image

    async def look(self) -> Difference:
        """What a reload would change now. Raises InvalidSetting."""
        wanted = await asyncio.to_thread(self._read_again)
        self._spec_of(wanted)
        return dataclasses.replace(self._difference(wanted), digest=self._digest(wanted))

    async def reload(self, digest: str = "") -> Difference:
        """Take over what changed. Returns that. `digest`: only what the look with this digest has shown.

        Raises InvalidSetting, SettingsChanged; nothing is changed then.
        """
        async with self._one_at_a_time:
            wanted = await asyncio.to_thread(self._read_again)
            if digest and digest != self._digest(wanted):
                raise SettingsChanged(
                    "The settings have changed since they were shown, so nothing was applied. Look again at what a reload "
                    "would change."
                )
            return self._take_over(wanted)

    def _difference(self, wanted: Settings) -> Difference:
        """What changes, and which sizes of it were set at run time, so that nothing follows from it for now."""
        found, sizes = difference(self.settings, wanted), self._orchestrator.sizes
        changed = {
            name: tuple(dataclasses.replace(change, holds=sizes.changed(name).get(change.name)) for change in changes)
            for name, changes in found.changed.items()
        }
        limits = {"max_machines": sizes.changed(DEFAULT_POOL).get("limit")}
        service = tuple(dataclasses.replace(change, holds=limits.get(change.name)) for change in found.service)
        return dataclasses.replace(found, changed=changed, service=service)

    def _digest(self, wanted: Settings) -> str:
        """Of the settings in force and of these. Settings that are equal and were read in the same order have the same."""
        return hmac.digest(self._key, repr((self.settings, wanted)).encode(), hashlib.sha256).hex()[:32]

    def _take_over(self, wanted: Settings) -> Difference:
        """Without a pause: nobody sees one half of the old settings and one of the new ones."""
        found = self._difference(wanted)
        if not found:
            return found
        stays = {change.name: getattr(self.settings, change.name) for change in found.needs_restart}
        settings = dataclasses.replace(wanted, **stays)
        spec = self._spec_of(settings)
        changed = configure_engine(self._engine, settings)
        self._orchestrator.reconfigure(spec, limits_of(settings), changed)
        self.settings = settings
        for line in found.lines():
            _log.info("settings reloaded", change=line)
        self.taken_over()
        return found

    def _spec_of(self, settings: Settings) -> Spec:
        """Raises InvalidSetting. A size that an operator changed in an emergency is never dropped by a reload."""
        refuse_without_squid(settings)
        engine = self._engine
        spec = spec_of(
            settings,
            plans_ports=engine.plans_ports,
            restarts_in_place=engine.restarts_in_place,
            pauses=isinstance(engine, Pausable),
            sees_use=isinstance(engine, Activity),
        )
        conflict = self._orchestrator.conflict(spec)
        if conflict:
            raise InvalidSetting(
                f"{conflict} That is with what was changed at run time. Undo that with `orchestrator scale`, or change the "
                "settings."
            )
        return spec

    async def reload_or_say_why_not(self) -> None:
        """As `reload`, for a caller who only reads the log."""
        try:
            if not await self.reload():
                _log.info("settings reloaded, and nothing has changed")
        except OrchestratorError as error:
            _log.error("settings not reloaded, and nothing was changed", why=error.message)
