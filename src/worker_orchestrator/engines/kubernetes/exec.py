"""Commands in a pod, from their start to their end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from worker_orchestrator.engines.extras import Completed, ExecOutput
from worker_orchestrator.engines.kept_output import KeptOutput
from worker_orchestrator.engines.kubernetes.channels import STDERR, Channels
from worker_orchestrator.engines.kubernetes.commands import KubernetesCommands, Started
from worker_orchestrator.errors import EngineError, EngineUnavailable

__all__ = ["KubernetesExec"]

_REST_LIMIT_S: Final = 0.5


class KubernetesExec(KubernetesCommands):
    """Runs commands in pods."""

    async def exec(
        self,
        machine_id: str,
        command: Sequence[str],
        *,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        user: str = "",
        workdir: str = "",
        timeout_s: float = 60.0,
    ) -> Completed:
        kept = KeptOutput()
        code = await self.exec_into(
            machine_id, command, kept, stdin=stdin, env=env, user=user, workdir=workdir, timeout_s=timeout_s
        )
        return kept.completed(code)

    async def exec_into(  # noqa: PLR0913 # one for each property of a command
        self,
        machine_id: str,
        command: Sequence[str],
        output: ExecOutput,
        *,
        stdin: bytes | AsyncIterator[bytes] = b"",
        env: Mapping[str, str] | None = None,
        user: str = "",
        workdir: str = "",
        timeout_s: float = 60.0,
        leaves: bool = False,
    ) -> int | None:
        limit, size = asyncio.timeout(timeout_s), len(stdin) if isinstance(stdin, bytes) else 0
        started, code = None, None
        try:
            async with limit:
                await self._own(machine_id, running=True)
                started = await self._start(
                    machine_id, command, env=env, user=user, workdir=workdir, stdin=bool(stdin), size=size
                )
                output.started()
                code = await _run(started.channels, stdin, output)
        except TimeoutError:
            if not limit.expired():
                raise
            if started is None:
                raise EngineUnavailable(
                    f"Kubernetes does not answer, and within {timeout_s:g} s nothing was started."
                ) from None
            await self._cut_short(machine_id, started, output)
            return None
        except BaseException:
            if started is not None:
                with contextlib.suppress(EngineError):
                    await self._end(machine_id, started)
            raise
        await (started.channels.aclose() if leaves else self._end(machine_id, started))
        return code

    async def _cut_short(self, machine_id: str, started: Started, output: ExecOutput) -> None:
        """End a command whose time is up, and keep what it writes until then. Raises EngineError."""
        rest = asyncio.create_task(_rest(started.channels, output))
        try:
            await self._kill(machine_id, started)
            await asyncio.wait({rest}, timeout=_REST_LIMIT_S)
        finally:
            rest.cancel()
            await asyncio.wait({rest})
            await self._end(machine_id, started)


async def _run(channels: Channels, stdin: bytes | AsyncIterator[bytes], output: ExecOutput) -> int | None:
    feeding = asyncio.create_task(_feed(channels, stdin))  # beside the reading: it may write before it has read all
    try:
        while (piece := await channels.read()) is not None:
            await output.take(_name(piece[0]), piece[1])
    finally:
        feeding.cancel()
        await asyncio.wait({feeding})
    return channels.code


async def _feed(channels: Channels, stdin: bytes | AsyncIterator[bytes]) -> None:
    if isinstance(stdin, bytes):
        await channels.write(stdin)
    else:
        async for piece in stdin:
            await channels.write(piece)
    if channels.can_end_input:
        await channels.end_input()


async def _rest(channels: Channels, output: ExecOutput) -> None:
    with contextlib.suppress(EngineError):
        while (piece := await channels.read()) is not None:
            output.keep(_name(piece[0]), piece[1])


def _name(channel: int) -> str:
    return "stderr" if channel == STDERR else "stdout"
