"""Commands in sandboxes that an earlier run of this service began, and could not end: it was killed.

Nobody hears or feeds them any more, so they are ended when the service starts. Each command carries a mark of its run in its
environment. What the engine started itself has no parent in its container, which tells a command from what it left there on
purpose: that has lost its parent, and belongs to the worker's first process. Only the user of a process may read its
environment, so the search is made as the image's own user and as root.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import Final

import structlog

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core.machine import Machine, State
from worker_orchestrator.engines.extras import Exec
from worker_orchestrator.errors import OrchestratorError

__all__ = ["RUN", "Strays"]

RUN: Final = "ORCHESTRATOR_RUN"
_LIMIT_S: Final = 30.0
_AT_ONCE: Final = 4
_SEARCH: Final = r"""
exec 2>/dev/null
slurp() { text=; while IFS= read -r line || [ -n "$line" ]; do text=$text$line; done <"$1"; }
for folder in /proc/[0-9]*; do
  pid=${folder#/proc/}
  [ "$pid" = 1 ] && continue
  slurp "$folder/stat" || continue
  parent=${text##*) } parent=${parent#* } parent=${parent%% *}
  [ "$parent" = 0 ] || continue
  slurp "$folder/environ" || continue
  case $text in
    *ORCHESTRATOR_RUN="$1"*) ;;
    *ORCHESTRATOR_RUN=*) kill -9 -- "-$pid" || kill -9 "$pid"; echo "$pid" ;;
  esac
done
"""
"""Ends what has no parent and the mark of another run, with its group, and tells the numbers."""
_log = structlog.get_logger(__name__)


class Strays:
    """`mark` is that of this run."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator, self.mark = orchestrator, secrets.token_hex(8)

    async def end(self) -> None:
        """End those in all sandboxes that there are."""
        fleet, room = self._orchestrator.fleet, asyncio.Semaphore(_AT_ONCE)
        sandboxes = [
            one for one in fleet.machines.values() if one.state is State.READY and '"e2b"' in (one.metadata or "")
        ]
        await asyncio.gather(*(self._end_in(machine, room) for machine in sandboxes))

    async def _end_in(self, machine: Machine, room: asyncio.Semaphore) -> None:
        engine = self._orchestrator.engine
        if not isinstance(engine, Exec):
            return
        async with room:
            for user in ("", "root"):
                with contextlib.suppress(OrchestratorError):  # it has no shell, or has ended
                    done = await engine.exec(
                        machine.id, ["sh", "-c", _SEARCH, "sh", self.mark], user=user, timeout_s=_LIMIT_S
                    )
                    if ended := done.stdout.split():
                        _log.info("commands of an earlier run were ended", machine=machine.id, count=len(ended))
