"""Where the output of a hook goes: its last lines are kept, without the values that its project has sent."""

from __future__ import annotations

from worker_orchestrator.telemetry.blotting import BlottedOutput

__all__ = ["HookOutput"]


class HookOutput:
    """As `Exec.exec_into` wants it. There is always room for more of it."""

    def __init__(self, output: BlottedOutput) -> None:
        self._output = output

    def started(self) -> None:
        pass

    async def take(self, stream: str, data: bytes) -> None:
        self._output.add(stream, data)

    def keep(self, stream: str, data: bytes) -> None:
        self._output.add(stream, data)
