"""A command in a worker: its output is the reply, at its end or as it comes (`exec_stream`).

`terminal` has commands with a dialogue.
"""

from __future__ import annotations

import re
from typing import Final, TypedDict

from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.extras import Exec
from worker_orchestrator.errors import InvalidInput
from worker_orchestrator.http.server.streamed_response import ServiceEnd, StreamedResponse
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.engine_calls import EngineCalls, not_supported
from worker_orchestrator.http.v1.exec_stream import JSONL, OutputPipe, RunningCommand
from worker_orchestrator.http.v1.responses import json_response
from worker_orchestrator.settings.parsers import variable_name
from worker_orchestrator.wire import v1 as wire

__all__ = ["WorkerExec"]

LONGEST_EXEC_S: Final = 3600
MOST_WORDS: Final = 1000
LONGEST_WORD: Final = 131_072
LONGEST_PATH: Final = 4096
_USER: Final = re.compile(r"[A-Za-z0-9_.:-]{0,256}")


class WorkerExec:
    """What is under /v1/machines/{id}/exec."""

    def __init__(self, orchestrator: Orchestrator, calls: EngineCalls, service_end: ServiceEnd) -> None:
        self._orchestrator, self._calls, self._service_end = orchestrator, calls, service_end

    async def run(self, request: Request) -> Response:
        body = await parameters.body(request, wire.ExecBody)
        _check(body)
        machine = await parameters.path_machine_if_match(request, self._orchestrator)
        engine = self._calls.engine
        if not isinstance(engine, Exec):
            raise not_supported("run a command in a worker")
        parameters.insist_on_running(machine)
        if JSONL in request.headers.get("accept", ""):
            return await self._run_streamed(request, engine, machine, body)
        work = self._calls.when_reachable(engine.exec(machine.id, body.command, **_options(body)), body.timeout_seconds)
        result = await self._calls.unless_hung_up(request, self._orchestrator.uses.during(machine, work))
        return json_response(
            wire.ExecResult(
                exit_code=result.exit_code,
                stdout=result.stdout.decode(errors="replace"),
                stderr=result.stderr.decode(errors="replace"),
                truncated=result.truncated,
            )
        )

    async def _run_streamed(self, request: Request, engine: Exec, machine: Machine, body: wire.ExecBody) -> Response:
        """The reply begins when the command has begun, so that what prevents that still becomes a status."""
        pipe = OutputPipe()
        work = engine.exec_into(machine.id, body.command, pipe, **_options(body))
        reached = self._calls.when_reachable(work, body.timeout_seconds)
        command = RunningCommand(pipe, self._orchestrator.uses.during(machine, reached))
        try:
            await self._calls.unless_hung_up(request, command.begin())
        except BaseException:
            await command.aclose()
            raise
        return StreamedResponse(command.lines(), self._service_end, JSONL)


class _Options(TypedDict):
    stdin: bytes
    env: dict[str, str]
    user: str
    workdir: str
    timeout_s: float


def _options(body: wire.ExecBody) -> _Options:
    return _Options(
        stdin=body.stdin.encode(),
        env=body.env,
        user=body.user,
        workdir=body.workdir,
        timeout_s=body.timeout_seconds,
    )


def _check(body: wire.ExecBody) -> None:
    if not 1 <= len(body.command) <= MOST_WORDS:
        raise InvalidInput(f"command has {len(body.command)} words, but must have 1 to {MOST_WORDS}.")
    for word in body.command:
        parameters.check_text(word, "command", LONGEST_WORD)
    for name, value in body.env.items():
        _check_variable(name)
        parameters.check_text(value, f"env {name}", LONGEST_WORD)
    if not _USER.fullmatch(body.user):
        raise InvalidInput(f"user is {body.user[:40]!r}, but must be a name or a number, such as web or 1000:1000.")
    if parameters.check_text(body.workdir, "workdir", LONGEST_PATH) and not body.workdir.startswith("/"):
        raise InvalidInput(f"workdir is {body.workdir[:40]!r}, but must be an absolute path in the worker.")
    parameters.check_range(body.timeout_seconds, "timeout_seconds", 0.001, LONGEST_EXEC_S)


def _check_variable(name: str) -> None:
    try:
        variable_name(name)
    except ValueError:
        detail = f'env has the name {name[:40]!r}, but a name must not be empty, nor contain "=" or NUL.'
        raise InvalidInput(detail) from None
