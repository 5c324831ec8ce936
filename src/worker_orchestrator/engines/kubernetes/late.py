"""Gives values to a pod that runs already, in a folder in its memory. Nobody else ever gets that pod.

They go over the standard input of a command that unpacks them, as the worker's user: nothing of them is in a command line,
an environment, or an object of the cluster. The folder is an `emptyDir` in memory, which the kubelet empties when the pod is
gone. A pod is never started again, so none is cleaned: the core has one removed that its project has left, configured or not
(`core/commands`). So what a project did to the programs of its pod meets no values but its own.
"""

from __future__ import annotations

import time
from typing import Final

from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.extras import Completed, LateValues
from worker_orchestrator.engines.kubernetes.exec import KubernetesExec
from worker_orchestrator.engines.kubernetes.listing import labels_of
from worker_orchestrator.engines.kubernetes.template import LATE_DIR
from worker_orchestrator.engines.late_archive import NAMES, ROOM_BYTES, late_archive
from worker_orchestrator.engines.late_packing import packed
from worker_orchestrator.errors import EngineRejected, EngineUnavailable, InvalidInput, NotRunning, OutcomeUnknown
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["KubernetesLate"]

WRITE_LIMIT_S: Final = 30.0
"""For the worker to take an archive of values."""
_WHOEVER: Final = (0, 0)
"""The archive names nobody: what is unpacked belongs to who unpacks it."""
_NO_TAR: Final = 101
_UNPACK: Final = f"""
command -v tar >/dev/null 2>&1 || exit {_NO_TAR}
cd "$1" && umask 0 || exit
if [ "$2" ]; then rm -rf {" ".join(NAMES)} || exit; fi
tar -xpof - >/dev/null && [ -f ready ]
"""
_IS_THERE: Final = '[ -f "$1/ready" ] && printf y'
_FULL: Final = "No space left on device"


class KubernetesLate(KubernetesExec):
    """Configures pods."""

    async def configure(
        self,
        machine: Machine,
        values: LateValues,
        *,
        anew: bool = False,
        limit_s: float = 60.0,  # noqa: ARG002 # nothing is posted
    ) -> None:
        folder = await self._folder_of(machine.id)
        if not folder:
            raise EngineRejected(
                f"{machine.id} was made when the workers of its pool took no values yet. Release it, and assign again: new "
                "machines take them."
            )
        # What is there is removed by the script, and not by the archive as on Docker: not every `tar` would do so.
        archive = await packed(values, lambda: late_archive(values, _WHOEVER, int(time.time())))
        command = ["sh", "-c", _UNPACK, "sh", folder, "anew" if anew else ""]
        try:
            done = await self.exec(machine.id, command, stdin=archive, timeout_s=WRITE_LIMIT_S)
        except EngineUnavailable as error:
            await self._own(machine.id, running=True)  # else all of it has ended with the worker
            raise OutcomeUnknown(f"Whether {machine.id} has its values is not known. {error.message}") from error
        if done.exit_code is None:
            raise OutcomeUnknown(f"{machine.id} did not take its values within {WRITE_LIMIT_S:g} s.")
        if done.exit_code:
            raise _refusal(machine.id, folder, done)

    async def is_configured(self, machine_id: str) -> bool:
        try:
            folder = await self._folder_of(machine_id)
            if not folder:
                return True
            _, output = await self._ask(machine_id, "look for values in a pod", _IS_THERE, folder)
        except NotRunning:
            return False
        return output == b"y"

    async def clean(self, machine_id: str) -> None:
        raise EngineRejected(f"The pod of {machine_id} cannot be started again in place, so it is removed instead.")

    async def _folder_of(self, machine_id: str) -> str:
        """Where its pod takes values; empty if it was made without a place. Raises NotRunning, EngineError."""
        return labels_of(await self._own(machine_id, running=True)).get(LATE_DIR, "")


def _refusal(machine_id: str, folder: str, done: Completed) -> EngineRejected | InvalidInput:
    said = plain(done.stderr.decode(errors="replace"), 300)
    if done.exit_code == _NO_TAR:
        return EngineRejected(f"The image of {machine_id} has no tar, with which pods take values: add it.")
    if _FULL in said:
        return EngineRejected(
            f"{folder} of {machine_id} is full: it has {ROOM_BYTES // 1024 // 1024} MiB of memory, of which its worker took "
            "some. Nothing was configured."
        )
    return InvalidInput(f"The values cannot be unpacked into {folder} in the container of {machine_id}. {said}")
