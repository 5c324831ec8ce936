"""The settings of the running service: what a reload would change, and the reload itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.responses import json_response
from worker_orchestrator.settings.difference import Change, Difference
from worker_orchestrator.wire import v1 as wire

__all__ = ["Configuration", "Reload"]

MOST_DIGEST: Final = 128
"""Characters."""


class Configuration(Protocol):
    """The settings in force."""

    def image_of(self, pool: str) -> str:
        """The image of a pool as the settings name it."""
        ...

    async def look(self) -> Difference:
        """What a reload would change now. Raises InvalidSetting."""
        ...

    async def reload(self, digest: str = "") -> Difference:
        """Take over what changed. Returns that. `digest`: only what the look with this digest has shown.

        Raises InvalidSetting, SettingsChanged; nothing is changed then.
        """
        ...


class Reload:
    """What is under /v1/reload."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration

    async def run(self, request: Request) -> Response:
        is_dry = parameters.flag(request.query_params, "dry_run", default=False)
        digest = parameters.text(request.query_params, "digest", MOST_DIGEST)
        found = await (self._configuration.look() if is_dry else self._configuration.reload(digest))
        shown = found.digest if is_dry else None
        return json_response(wire.Reloaded(applied=not is_dry, changes=list(_changes(found)), digest=shown))


def _changes(found: Difference) -> Iterator[wire.SettingChange]:
    """In the order of `Difference.lines`."""
    for name, pool in found.added.items():
        yield wire.SettingChange(pool=name, after=f"image {pool.image}, min_idle {pool.min_idle}")
    for name in found.vanished:
        yield wire.SettingChange(pool=name)
    for name, changes in found.changed.items():
        for change in changes:
            yield _changed(change, name)
    for change in found.service:
        yield _changed(change, None)


def _changed(change: Change, pool: str | None) -> wire.SettingChange:
    return wire.SettingChange(
        pool=pool,
        setting=change.name,
        before=change.old,
        after=change.new,
        needs_restart=change.needs_restart,
        holds=change.holds,
    )
