"""Reads what a worker wrote, and the environment that its pod was made with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from http import HTTPStatus
from typing import Any, Final

from worker_orchestrator.engines.kubernetes.calls import status_of
from worker_orchestrator.engines.kubernetes.pods import Pod
from worker_orchestrator.engines.kubernetes.reach import KubernetesReach, while_it_runs
from worker_orchestrator.engines.kubernetes.template import WORKER
from worker_orchestrator.engines.last_words import without_values
from worker_orchestrator.errors import EngineRejected, NotRunning

__all__ = ["KubernetesLogs"]

EVIDENCE_BYTES: Final = 8192
STALL_LIMIT_S: Final = 30.0
_LOOKED_THROUGH_BYTES: Final = 64 * 1024
_PIECE: Final = 64 * 1024


class KubernetesLogs(KubernetesReach):
    """The output of workers. The kubelet keeps it as long as the pod is there."""

    async def last_lines(self, machine_id: str, count: int) -> str:
        pod = await self._pod(machine_id)
        if pod is None or not self._is_ours(pod, machine_id):
            return ""
        written = bytearray()
        try:
            async for piece in self.logs(machine_id, tail=count):
                written += piece
                del written[:-_LOOKED_THROUGH_BYTES]
        except NotRunning:
            return ""
        # Values of variables are removed before the text is cut, since the cut might leave half of one.
        lines = without_values(written.decode(errors="replace"), _given(pod)).strip()
        return lines if len(lines) <= EVIDENCE_BYTES else f"…{lines[1 - EVIDENCE_BYTES :]}"

    async def logs(
        self, machine_id: str, *, tail: int | None = None, follow: bool = False, timestamps: bool = False
    ) -> AsyncGenerator[bytes, None]:
        await self._own(machine_id, running=False)
        params = [("container", WORKER), ("follow", str(follow).lower()), ("timestamps", str(timestamps).lower())]
        params += [] if tail is None else [("tailLines", str(tail))]
        try:
            with while_it_runs(machine_id, "read the log of a pod"):
                async with self._client.stream(self._client.pods(machine_id, "log"), params) as content:
                    while True:
                        async with asyncio.timeout(None if follow else STALL_LIMIT_S):
                            piece = await content.read(_PIECE)
                        if not piece:
                            return
                        yield piece
        except EngineRejected as error:
            if status_of(error) == HTTPStatus.BAD_REQUEST:  # its container was not made yet
                raise NotRunning(f"The worker of {machine_id} has not begun.") from error
            raise

    async def environment(self, machine_id: str) -> Mapping[str, str]:
        """What its pod was given: an image cannot be asked here, so its own variables are not among them."""
        return _given(await self._own(machine_id, running=False))


def _given(pod: Pod) -> Mapping[str, str]:
    containers: Any = (pod.get("spec") or {}).get("containers") or ()
    variables = [each for one in containers if one.get("name") == WORKER for each in one.get("env") or ()]
    return {
        str(each["name"]): str(each.get("value", "")).replace("$$", "$")
        for each in variables
        if "valueFrom" not in each
    }
