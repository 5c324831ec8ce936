"""What is kept of the output of a command that is told in one piece, on any engine."""

from __future__ import annotations

from worker_orchestrator.engines.extras import OUTPUT_BYTES, Completed

__all__ = ["KeptOutput"]


class _Beginning:
    """The beginning of an output. The rest is read too, so that its writer never waits."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.truncated = False

    def add(self, more: bytes) -> None:
        room = OUTPUT_BYTES - len(self.data)
        self.data += more[:room]
        self.truncated = self.truncated or len(more) > room


class KeptOutput:
    """The beginning of what a command writes, of each stream."""

    def __init__(self) -> None:
        self._stdout, self._stderr = _Beginning(), _Beginning()

    def started(self) -> None:
        pass

    async def take(self, stream: str, data: bytes) -> None:
        self.keep(stream, data)

    def keep(self, stream: str, data: bytes) -> None:
        (self._stderr if stream == "stderr" else self._stdout).add(data)

    def completed(self, exit_code: int | None) -> Completed:
        stdout, stderr = self._stdout, self._stderr
        return Completed(exit_code, bytes(stdout.data), bytes(stderr.data), stdout.truncated or stderr.truncated)
