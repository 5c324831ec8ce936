"""A terminal in a worker, over WebSocket: binary frames are its bytes, text frames its size and, at the end, the exit code.

When either side goes away the other is closed, and whatever ran in the terminal is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.engines.extras import Terminal, Terminals
from worker_orchestrator.errors import EngineError, InvalidInput, OrchestratorError
from worker_orchestrator.http import problems
from worker_orchestrator.http.server.streamed_response import ServiceEnd
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.engine_calls import not_supported

__all__ = ["TERMINAL_QUERY", "TerminalSockets"]

TERMINAL_QUERY: Final = ("command", "columns", "rows", "user", "workdir", "generation")

LARGEST_SIDE: Final = 1000
GOING_AWAY: Final = 1001
NOT_UNDERSTOOD: Final = 1007
PROTOCOL: Final = "orchestrator"
"""A page in a browser offers this protocol and another one, which is the key of its session: the server must choose one."""


class _Size(msgspec.Struct, forbid_unknown_fields=True):
    columns: int
    rows: int


class TerminalSockets:
    """What is at /v1/machines/{id}/terminal."""

    def __init__(self, orchestrator: Orchestrator, service_end: ServiceEnd) -> None:
        self._orchestrator, self._service_end = orchestrator, service_end

    async def refuse_http(self, request: Request) -> Response:
        await parameters.path_machine_if_match(request, self._orchestrator)
        return problems.problem(
            426,
            "upgrade_required",
            "This is a WebSocket",
            "Open it as a WebSocket, as `orchestrator exec -it` does. If you did, a proxy in between does not pass on the "
            "headers Upgrade and Connection.",
            {"upgrade": "websocket"},
        )

    async def open(self, socket: WebSocket) -> None:
        with contextlib.ExitStack() as use:
            try:
                terminal = await _unless_gone(socket, self._terminal(socket, use))
            except OrchestratorError as error:
                await socket.send_denial_response(problems.of_error(error))
                return
            if terminal is None:
                return
            try:
                await socket.accept(PROTOCOL if PROTOCOL in socket.scope["subprotocols"] else None)
                await self._join(socket, terminal)
            finally:
                await terminal.aclose()

    async def _terminal(self, socket: WebSocket, use: contextlib.ExitStack) -> Terminal:
        """Open it. Until `use` ends, its machine is in use: from before it is opened, so that no pause comes in between."""
        query = socket.query_params
        parameters.allow_only(query, TERMINAL_QUERY)
        command = parameters.repeated(query, "command", 100) or ["sh"]
        for word in command:
            if not parameters.check_text(word, "command", 4096):
                raise InvalidInput("command must not contain an empty word.")
        columns = parameters.number(query, "columns", 1, LARGEST_SIDE) or 80
        rows = parameters.number(query, "rows", 1, LARGEST_SIDE) or 24
        user, workdir = parameters.text(query, "user", 256), parameters.text(query, "workdir", 4096)
        machine = await parameters.path_machine_if_match(socket, self._orchestrator)
        engine = self._orchestrator.engine
        if not isinstance(engine, Terminals):
            raise not_supported("open a terminal in a worker")
        parameters.insist_on_running(machine)
        use.enter_context(self._orchestrator.uses.of(machine))
        await self._orchestrator.contact.heard()
        return await engine.terminal(machine.id, command, columns=columns, rows=rows, user=user, workdir=workdir)

    async def _join(self, socket: WebSocket, terminal: Terminal) -> None:
        """Pass bytes both ways until one side ends."""
        ends: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(_out(socket, terminal)),
            asyncio.ensure_future(_in(socket, terminal)),
            asyncio.ensure_future(self._service_end.wait(socket.scope)),
        ]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
            results = await asyncio.gather(*ends, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect | EngineError | OSError):
                raise result
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError):  # the caller may have gone
            if results[0] is True:
                code = await terminal.exit_code()
                await socket.send_text(msgspec.json.encode({"exit_code": code}).decode())
                await socket.close()
            else:
                await socket.close(NOT_UNDERSTOOD if isinstance(results[1], str) else GOING_AWAY)


async def _unless_gone(socket: WebSocket, opening: Coroutine[Any, Any, Terminal]) -> Terminal | None:
    """What is opened; None, and it is closed, if the client leaves before that. Until then the client sends nothing."""
    await socket.receive()  # the request to connect
    opened, left = asyncio.ensure_future(opening), asyncio.ensure_future(socket.receive())
    ends: set[asyncio.Future[Any]] = {opened, left}
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        return opened.result() if opened.done() else None
    finally:
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)


async def _out(socket: WebSocket, terminal: Terminal) -> bool:
    """From the terminal to the client. Returns True when the program has ended."""
    while data := await terminal.read():
        await socket.send_bytes(data)
    return True


async def _in(socket: WebSocket, terminal: Terminal) -> str | None:
    """From the client to the terminal. Returns None when the client leaves, or what is wrong with a frame of it."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        if message.get("bytes") is not None:
            await terminal.write(message["bytes"])
            continue
        try:
            size = msgspec.json.decode(message["text"], type=_Size)
        except msgspec.MsgspecError as error:
            return str(error)
        if not (1 <= size.columns <= LARGEST_SIDE and 1 <= size.rows <= LARGEST_SIDE):
            return "no such size"
        await terminal.resize(size.columns, size.rows)
