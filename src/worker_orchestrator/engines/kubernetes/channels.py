"""A command in a pod over a WebSocket: what it writes, what it reads, its size, and how it ended.

Each message begins with the number of its channel. Only the fifth version of the protocol can say that there is no more
input, so before that (Kubernetes below 1.30) a command that reads to the end needs to be told how much there is.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/ and k8s.io/apimachinery/pkg/util/remotecommand
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Final

import aiohttp
import msgspec

from worker_orchestrator.engines.kubernetes.client import Client
from worker_orchestrator.engines.kubernetes.template import WORKER
from worker_orchestrator.errors import EngineRejected, EngineUnavailable
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["STDERR", "STDOUT", "Channels"]

_STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
_END: Final = 3
_RESIZE: Final = 4
_CLOSE: Final = 255
_PROTOCOLS: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_PIECE: Final = 32 * 1024
_CLOSE_LIMIT_S: Final = 2.0
_NO_SHELL: Final = "executable file not found"


class Channels:
    """One command, from its start to its end."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self.code: int | None = None
        self.ended = False

    @classmethod
    async def open(
        cls, client: Client, pod: str, command: Sequence[str], *, stdin: bool, tty: bool = False
    ) -> Channels:
        """Start it in the worker of this pod. Raises as `Client.call` does."""
        wants = {
            "container": WORKER,
            "stdout": "1",
            "stderr": str(int(not tty)),
            "stdin": str(int(stdin)),
            "tty": str(int(tty)),
        }
        params = [*wants.items(), *(("command", word) for word in command)]
        return cls(await client.websocket(client.pods(pod, "exec"), params, _PROTOCOLS))

    @property
    def can_end_input(self) -> bool:
        return self._socket.protocol == _PROTOCOLS[0]

    async def read(self) -> tuple[int, bytes] | None:
        """The next piece, on `STDOUT` or `STDERR`; None when the command has ended, so that `code` is known.

        Raises EngineUnavailable if the connection broke, and EngineRejected if the command could not be started.
        """
        while not self.ended:
            message = await self._socket.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                data = message.data.encode()
            elif message.type is aiohttp.WSMsgType.BINARY:
                data = message.data
            else:
                self.ended = True
                break
            if len(data) < 2:
                continue  # each channel says once that it is there
            if data[0] == _END:
                self._take_end(data[1:])
            elif data[0] in {STDOUT, STDERR}:
                return data[0], data[1:]
        if self.code is None:
            raise EngineUnavailable("The connection to a command in the pod broke.")
        return None

    def _take_end(self, data: bytes) -> None:
        """How it ended, as a Status."""
        self.ended = True
        status: Any = msgspec.json.decode(data)
        if status.get("status") == "Success":
            self.code = 0
            return
        causes = (status.get("details") or {}).get("causes") or ()
        codes = [each.get("message") for each in causes if each.get("reason") == "ExitCode"]
        if codes and str(codes[0]).isdigit():
            self.code = int(codes[0])
            return
        said = str(status.get("message") or "")
        if _NO_SHELL in said:
            raise EngineRejected("The worker has no program sh, through which commands are run in pods.")
        raise EngineRejected(f"The command could not be started in the pod: {plain(said)}")

    async def write(self, data: bytes) -> None:
        """Return when there is room for more. A command that has ended takes nothing, which is not an error."""
        with contextlib.suppress(aiohttp.ClientError, OSError):
            for begin in range(0, len(data), _PIECE):
                await self._socket.send_bytes(bytes([_STDIN]) + data[begin : begin + _PIECE])

    async def end_input(self) -> None:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            await self._socket.send_bytes(bytes([_CLOSE, _STDIN]))

    async def resize(self, columns: int, rows: int) -> None:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            await self._socket.send_bytes(bytes([_RESIZE]) + msgspec.json.encode({"Width": columns, "Height": rows}))

    async def aclose(self) -> None:
        """Hang up. The command may run on."""
        with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(_CLOSE_LIMIT_S):
                await self._socket.close()
