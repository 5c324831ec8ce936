"""Commands with a terminal in a pod. It gets its size a moment after it began: the protocol has no place for that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from worker_orchestrator.engines.extras import Terminal
from worker_orchestrator.engines.kubernetes.commands import KubernetesCommands, Started

__all__ = ["KubernetesTerminals"]


class KubernetesTerminals(KubernetesCommands):
    """Opens terminals in pods."""

    async def terminal(
        self,
        machine_id: str,
        command: Sequence[str],
        *,
        columns: int = 80,
        rows: int = 24,
        env: Mapping[str, str] | None = None,
        user: str = "",
        workdir: str = "",
    ) -> Terminal:
        await self._own(machine_id, running=True)
        started = await self._start(machine_id, command, env=env, user=user, workdir=workdir, stdin=True, tty=True)
        await started.channels.resize(columns, rows)
        return _Terminal(self, machine_id, started)

    async def end_terminal(self, machine_id: str, started: Started) -> None:
        """Close it: no process of it is left. Raises EngineError."""
        await self._end(machine_id, started)


class _Terminal:
    def __init__(self, engine: KubernetesTerminals, machine_id: str, started: Started) -> None:
        self._engine, self._machine_id, self._started = engine, machine_id, started
        self._is_closed = False

    async def read(self) -> bytes:
        piece = await self._started.channels.read()
        return b"" if piece is None else piece[1]

    async def write(self, data: bytes) -> None:
        await self._started.channels.write(data)

    async def resize(self, columns: int, rows: int) -> None:
        await self._started.channels.resize(columns, rows)

    async def exit_code(self) -> int | None:
        return self._started.channels.code

    async def aclose(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            await self._engine.end_terminal(self._machine_id, self._started)
