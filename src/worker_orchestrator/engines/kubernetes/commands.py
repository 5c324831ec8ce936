"""Starts commands in pods, and ends them with all that they started.

Kubernetes has neither variables nor a folder nor a user for a command, and no call to end one. So a shell of the worker sets
the variables and the folder and then becomes the command, which has a mark (`engines/marked`). Another user is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from worker_orchestrator.engines.extras import OUTPUT_BYTES
from worker_orchestrator.engines.kubernetes.channels import STDOUT, Channels
from worker_orchestrator.engines.kubernetes.reach import KubernetesReach, while_it_runs
from worker_orchestrator.engines.marked import MARK, SCRIPT, Search, new_mark
from worker_orchestrator.errors import EngineError, EngineUnavailable, NotRunning, NotSupported

__all__ = ["KubernetesCommands", "Started"]

KILL_LIMIT_S: Final = 10.0
ASK_LIMIT_S: Final = 10.0
_PAUSE_S: Final = 0.05
_BECOMES_WITHIN_S: Final = 0.3
_BECOME: Final = (
    'while [ "$1" != -- ]; do export "$1"; shift; done; shift; '
    'if [ "$1" ]; then cd -- "$1" || exit 126; fi; shift; exec "$@"'
)
_FIRST_BYTES: Final = 'head -c "$0" | "$@"'
"""Hands over as much input as there is, for a connection that cannot end it."""


@dataclass(frozen=True, slots=True)
class Started:
    """A command that was started, and the mark of its processes."""

    channels: Channels
    mark: str


class KubernetesCommands(KubernetesReach):
    """Starts commands, and ends them."""

    _ends_input = False  # until a connection has shown that it can

    async def _start(  # noqa: PLR0913 # one for each property of a command
        self,
        machine_id: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None,
        user: str,
        workdir: str,
        stdin: bool,
        size: int = 0,
        tty: bool = False,
    ) -> Started:
        """Start it. `size` says how many bytes of input come, where nothing else could say that these are all.

        Raises NotRunning, NotSupported, EngineError.
        """
        if user:
            raise NotSupported("Kubernetes runs commands as the user of the worker: leave user out.")
        mark = new_mark()
        variables = [mark, *(f"{name}={value}" for name, value in (env or {}).items() if name != MARK)]
        words = ["sh", "-c", _FIRST_BYTES, str(size), *command] if size and not self._ends_input else command
        try:
            with while_it_runs(machine_id, "start a command in a pod"):
                channels = await Channels.open(
                    self._client,
                    machine_id,
                    ["sh", "-c", _BECOME, "sh", *variables, "--", workdir, *words],
                    stdin=stdin,
                    tty=tty,
                )
        except EngineUnavailable:
            await self._own(machine_id, running=True)  # the server says of a worker that has ended only that it failed
            raise
        self._ends_input = channels.can_end_input
        return Started(channels, mark)

    async def _end(self, machine_id: str, started: Started) -> None:
        """Hang up, and see to it that no process of it is left, also if cancelled meanwhile. Raises EngineError."""
        ending = asyncio.create_task(self._hang_up(machine_id, started))
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await asyncio.wait({ending}, timeout=KILL_LIMIT_S)
            if ending.done() and not ending.cancelled():
                ending.exception()  # nobody waits for it any more
            raise

    async def _hang_up(self, machine_id: str, started: Started) -> None:
        try:
            with contextlib.suppress(NotRunning):  # all of it ended with the container
                await self._kill(machine_id, started)
        finally:
            await started.channels.aclose()

    async def _kill(self, machine_id: str, started: Started) -> None:
        """Kill all that bears its mark. Raises NotRunning, EngineError."""
        looked, why = 0, EngineError("It could not be killed.")
        try:
            async with asyncio.timeout(KILL_LIMIT_S):
                while True:
                    try:
                        search, looked = await self._search(machine_id, started.mark), looked + 1
                    except EngineUnavailable as error:  # the kubelet says only afterwards that a worker ended
                        search, why = None, error
                        await self._own(machine_id, running=True)
                    if search is Search.GONE or (search is Search.NONE and (started.channels.ended or looked > 1)):
                        return
                    # Its shell has the mark once it has become the command, a moment after its start.
                    await asyncio.sleep(_PAUSE_S if search is Search.SOME else _BECOMES_WITHIN_S)
        except TimeoutError:
            raise EngineUnavailable(f"A command in the pod of {machine_id} may run on: {why.message}") from None

    async def _search(self, machine_id: str, mark: str) -> Search | None:
        _, output = await self._ask(machine_id, "end a command in a pod", SCRIPT, mark)
        return next((search for search in Search if search.value == output[:4]), None)

    async def _ask(self, machine_id: str, what: str, script: str, *words: str) -> tuple[int | None, bytes]:
        """The exit code and the output of a script of ours, which ends by itself. Raises NotRunning, EngineError."""
        with while_it_runs(machine_id, what):
            channels = await Channels.open(self._client, machine_id, ["sh", "-c", script, "sh", *words], stdin=False)
            output = bytearray()
            try:
                async with asyncio.timeout(ASK_LIMIT_S):
                    while (piece := await channels.read()) is not None:
                        output += piece[1] if piece[0] == STDOUT and len(output) < OUTPUT_BYTES else b""
            finally:
                await channels.aclose()
        return channels.code, bytes(output)
