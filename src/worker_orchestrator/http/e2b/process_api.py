"""The service `process.Process` of E2B's agent, and its health."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.http.e2b import connect
from worker_orchestrator.http.e2b.access import Access
from worker_orchestrator.http.e2b.fan import Listener
from worker_orchestrator.http.e2b.messages import (
    Config,
    Empty,
    Input,
    InputRequest,
    InputStep,
    SelectorRequest,
    SignalRequest,
    StartRequest,
    UpdateRequest,
)
from worker_orchestrator.http.e2b.processes import Process, Processes, check_size
from worker_orchestrator.http.e2b.refusal import Refusal
from worker_orchestrator.http.e2b.users import Users
from worker_orchestrator.http.e2b.variables import Variables, check_variables
from worker_orchestrator.http.server.streamed_response import ClosableStream, ServiceEnd, StreamedResponse
from worker_orchestrator.http.v1 import parameters

__all__ = ["ProcessApi"]


class ProcessApi:
    """The calls about processes of one sandbox."""

    def __init__(
        self,
        orchestrator: Orchestrator,
        access: Access,
        users: Users,
        processes: Processes,
        variables: Variables,
        end: ServiceEnd,
    ) -> None:
        self._orchestrator, self._access, self._users = orchestrator, access, users
        self._processes, self._variables, self._end = processes, variables, end

    async def health(self, request: Request) -> Response:
        await self._access.machine_of(request)
        return Response(status_code=204)

    async def start(self, request: Request) -> Response:
        machine = await self._access.machine_of(request)
        asked = await connect.streamed_message(request, StartRequest)
        parameters.insist_on_running(machine)
        user, variables = await self._users.of(request, machine), await self._variables.of(machine)
        config = asked.process
        check_variables(config.envs)
        folder = user.path(config.cwd) if config.cwd else ""
        asked.process = Config(config.cmd, config.args, {**variables, **config.envs}, folder)
        return self._stream(*await self._processes.start(machine, asked, user.name, connect.timeout_s(request)))

    async def connect(self, request: Request) -> Response:
        machine = await self._access.machine_of(request)
        asked = await connect.streamed_message(request, SelectorRequest)
        process = self._processes.find(machine, asked.process)
        return self._stream(process, process.fan.join({"start": {"pid": process.pid}}))

    async def list(self, request: Request) -> Response:
        machine = await self._access.machine_of(request)
        await connect.unary(request, Empty)
        return connect.reply({"processes": [_shown(one) for one in self._processes.of(machine)]})

    async def send_input(self, request: Request) -> Response:
        machine = await self._access.machine_of(request)
        asked = await connect.unary(request, InputRequest)
        await self._processes.find(machine, asked.process).write(_data(asked.input))
        return connect.reply({})

    async def stream_input(self, request: Request) -> Response:
        """Input that comes as a stream: first which process, then what it is to read."""
        machine, process = await self._access.machine_of(request), None
        async for step in connect.streamed_messages(request, InputStep):
            if step.start is not None:
                process = self._processes.find(machine, step.start.process)
            elif step.data is not None:
                if process is None:
                    raise Refusal.invalid("The first message of a stream of input must say which process reads it.")
                await process.write(_data(step.data.input))
        return Response(connect.envelope({}) + connect.stream_end(), media_type=connect.STREAM)

    async def close_input(self, request: Request) -> Response:
        machine = await self._access.machine_of(request)
        asked = await connect.unary(request, SelectorRequest)
        await self._processes.find(machine, asked.process).write(None)
        return connect.reply({})

    async def signal(self, request: Request) -> Response:
        machine = await self._access.machine_of(request)
        asked = await connect.unary(request, SignalRequest)
        await self._processes.signal(self._processes.find(machine, asked.process), asked.signal)
        return connect.reply({})

    async def update(self, request: Request) -> Response:
        """A terminal gets another size."""
        machine = await self._access.machine_of(request)
        asked = await connect.unary(request, UpdateRequest)
        process, size = self._processes.find(machine, asked.process), asked.pty.size if asked.pty else None
        if size is not None:
            if process.terminal is None:
                raise Refusal(409, "failed_precondition", "This process has no terminal.")
            check_size(size)
            await process.terminal.resize(size.cols or 80, size.rows or 24)
        return connect.reply({})

    def _stream(self, process: Process, listener: Listener) -> Response:
        """What the process does. When the client goes, the process goes on."""

        async def leave() -> None:
            process.fan.leave(listener)

        return StreamedResponse(ClosableStream(connect.closed(_told(listener)), leave), self._end, connect.STREAM)


async def _told(listener: Listener) -> AsyncIterator[dict[str, Any]]:
    async for event in listener.events():
        if "late" in event:
            raise Refusal(504, "deadline_exceeded", event["late"])
        if "lost" in event:
            raise event["lost"]
        yield {"event": event}


def _data(given: Input) -> bytes:
    return given.pty if given.pty is not None else given.stdin or b""


def _shown(process: Process) -> dict[str, Any]:
    config = process.config
    shown = {"config": Config(config.cmd, config.args, {}, config.cwd), "pid": process.pid}
    return shown if process.tag is None else {**shown, "tag": process.tag}
