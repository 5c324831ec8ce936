"""Commands and terminals in sandboxes. They go on when whoever began them has gone, until they end, or their time is up.

A process is known by its number in its worker, which its own shell tells as its first word, and perhaps by a tag. All of
them end with the sandbox, and with this service (`strays`): a command that nobody can reach any more must not run on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.extras import Exec, Terminal, Terminals
from worker_orchestrator.errors import OrchestratorError
from worker_orchestrator.http.e2b.fan import Fan, Listener
from worker_orchestrator.http.e2b.messages import Config, Selector, Size, StartRequest
from worker_orchestrator.http.e2b.refusal import Refusal
from worker_orchestrator.http.e2b.strays import RUN, Strays
from worker_orchestrator.http.v1.engine_calls import not_supported
from worker_orchestrator.http.v1.terminal import LARGEST_SIDE

__all__ = ["Process", "Processes", "check_size"]

LONGEST_S: Final = 30 * 86_400
_SIGNALS: Final = {"SIGNAL_SIGKILL": "KILL", "SIGNAL_SIGTERM": "TERM"}
_SIGNALLED: Final = 128
_LONGEST_NUMBER: Final = 128
_TELLS_ITS_NUMBER: Final = r"""
printf '%s\n' "$$" >&2
case $1 in /bin/bash | bash)
  if ! command -v "$1" >/dev/null 2>&1; then
    shift
    case $1 in -l) shift ;; esac
    exec sh "$@"
  fi ;;
esac
exec "$@"
"""
"""Tells its number on standard error, and becomes the command. Where there is no bash, `sh` takes its place."""
_SEND: Final = r"""
kill -0 "$1" 2>/dev/null || exit 3
kill -s "$2" -- "-$1" 2>/dev/null || kill -s "$2" "$1"
"""


class Process:
    """One of them. It takes the output of the engine's command, and `input` is what it is to read."""

    def __init__(self, machine: Machine, config: Config, tag: str | None, *, user: str = "", has_input: bool) -> None:
        self.machine, self.config, self.tag, self.user = machine, config, tag, user
        self.pid, self.fan, self.begun = 0, Fan(), asyncio.Event()
        self.input: asyncio.Queue[bytes | None] | None = asyncio.Queue(64) if has_input else None
        self.terminal: Terminal | None = None
        self.task: asyncio.Task[None] | None = None
        self.why_not: OrchestratorError | None = None
        self._head: bytearray | None = bytearray()
        self._held: list[tuple[str, bytes]] = []

    def started(self) -> None:
        """The engine has begun it; its number comes a moment later."""

    async def take(self, stream: str, data: bytes) -> None:
        for name, piece in self._due(stream, data):
            await self.fan.tell({"data": {name: piece}}, len(piece))

    def keep(self, stream: str, data: bytes) -> None:
        for name, piece in self._due(stream, data):
            self.fan.tell_at_once({"data": {name: piece}}, len(piece))

    def _due(self, stream: str, data: bytes) -> list[tuple[str, bytes]]:
        """What can be told now: nothing before the number, which is the first line on standard error, or of the terminal.

        The two outputs may come in any order.
        """
        if self._head is None:
            return [(stream, data)]
        if stream == "stdout":
            self._held.append((stream, data))
            return []
        self._head += data
        line, found, rest = bytes(self._head).partition(b"\n")
        if not found and len(line) < _LONGEST_NUMBER:
            return []
        number = line.strip()
        if not number.isdigit():
            return self.rest(stream)  # the shell itself complains
        self._head, self.pid = None, int(number)
        self.fan.tell_at_once({"start": {"pid": self.pid}})
        self.begun.set()
        return [*self._held, *([(stream, rest)] if rest else [])]

    def rest(self, stream: str = "stderr") -> list[tuple[str, bytes]]:
        """What was held back for a number that does not come."""
        head, self._head = self._head, None
        return [*self._held, *([(stream, bytes(head))] if head else [])]

    async def inputs(self) -> AsyncIterator[bytes]:
        """What it is to read, until its input is closed."""
        assert self.input is not None, "it reads"
        while (piece := await self.input.get()) is not None:
            yield piece

    async def write(self, data: bytes | None) -> None:
        """Let it read this; None closes its input. Raises Refusal."""
        if self.terminal is not None:
            if data is None:
                raise Refusal(
                    409, "failed_precondition", "A terminal has no input of its own to close: send it Ctrl-D."
                )
            await self.terminal.write(data)
        elif self.input is None:
            raise Refusal(
                409, "failed_precondition", "This process was started without input: start it with stdin=True."
            )
        else:
            await self._put(self.input, data)

    async def _put(self, queue: asyncio.Queue[bytes | None], data: bytes | None) -> None:
        """Wait for room, or for its end. Raises Refusal."""
        assert self.task is not None, "it has been started"
        putting = asyncio.ensure_future(queue.put(data))
        try:
            await asyncio.wait({putting, self.task}, return_when=asyncio.FIRST_COMPLETED)
            if not putting.done():
                raise Refusal(404, "not_found", f"The process {self.pid} has ended.")
        finally:
            putting.cancel()

    def has_ended(self) -> bool:
        return self.task is None or self.task.done()


class Processes:
    """All of them, by the id and the generation of their machines."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator, self.strays = orchestrator, Strays(orchestrator)
        self._of: dict[tuple[str, int], list[Process]] = {}

    def of(self, machine: Machine) -> list[Process]:
        """Those that run in this sandbox and have told their number."""
        return [one for one in self._of.get((machine.id, machine.generation), []) if one.pid]

    def find(self, machine: Machine, selector: Selector) -> Process:
        """Raises Refusal."""
        for one in self.of(machine):
            if one.pid == selector.pid or (selector.tag is not None and one.tag == selector.tag):
                return one
        named = f"number {selector.pid}" if selector.tag is None else f"tag {selector.tag[:40]!r}"
        raise Refusal(404, "not_found", f"No process with the {named} runs in this sandbox.")

    async def start(
        self, machine: Machine, asked: StartRequest, user: str, timeout_s: float | None
    ) -> tuple[Process, Listener]:
        """Begin one, and return when it has a number, with who hears all of it. Raises Refusal, OrchestratorError."""
        config, limit_s = asked.process, LONGEST_S if timeout_s is None else min(timeout_s, LONGEST_S)
        if not config.cmd:
            raise Refusal.invalid("The process has no cmd.")
        has_input = asked.pty is None and asked.stdin is not False
        if asked.pty is not None and asked.pty.size is not None:
            check_size(asked.pty.size)
        process = Process(machine, config, asked.tag, user=user, has_input=has_input)
        listener = process.fan.join()
        run = (
            self._in_terminal(process, asked, user, limit_s)
            if asked.pty is not None
            else self._run(process, user, limit_s)
        )
        process.task = asyncio.create_task(self._to_its_end(process, run, limit_s), name=f"process in {machine.id}")
        self._of.setdefault((machine.id, machine.generation), []).append(process)
        begun = asyncio.ensure_future(process.begun.wait())
        try:
            await asyncio.wait({begun, process.task}, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            process.fan.leave(listener)  # its client has gone: the process goes on, and waits for nobody
            raise
        finally:
            begun.cancel()
        if process.why_not is not None and not process.pid:
            raise process.why_not
        if not process.pid:
            raise Refusal.invalid(f"The process could not be started. {_text_of(listener)}".rstrip())
        return process, listener

    async def signal(self, process: Process, name: str) -> None:
        """Raises Refusal, EngineError."""
        signal = _SIGNALS.get(name)
        if signal is None:
            raise Refusal.invalid(f"signal is {name[:40]!r}, but must be one of {', '.join(_SIGNALS)}.")
        engine = self._orchestrator.engine
        assert isinstance(engine, Exec), "it runs a process"
        words = ["sh", "-c", _SEND, "sh", str(process.pid), signal]
        done = await engine.exec(process.machine.id, words, user=process.user, timeout_s=10)
        if done.exit_code == 0:
            return
        if signal == "KILL" and process.task is not None:  # another user's: the engine ends what bears its mark
            process.task.cancel()
            await asyncio.wait({process.task})
            return
        raise Refusal(404, "not_found", f"The process {process.pid} has ended.")

    async def end_of(self, machine: Machine) -> None:
        """End all that runs in this sandbox."""
        await _ended(self._of.get((machine.id, machine.generation), []))

    async def aclose(self) -> None:
        """End all of them: this service stops."""
        await _ended([one for each in self._of.values() for one in each])

    async def _to_its_end(self, process: Process, run: Coroutine[Any, Any, int | None], limit_s: float) -> None:
        own = (process.machine.id, process.machine.generation)
        end: dict[str, Any]
        # Before the engine has ended it: older clients wait for its last word no longer than for the command.
        late = asyncio.get_running_loop().call_later(limit_s, process.fan.end, _end(None, limit_s))
        try:
            code = await self._orchestrator.uses.during(process.machine, run)
        except OrchestratorError as error:
            process.why_not, end = error, {"lost": error}
        except asyncio.CancelledError:
            end = {"end": {"exited": False, "exitCode": -1, "status": "signal: killed"}}
            raise
        else:
            end = _end(code, limit_s)
        finally:
            late.cancel()
            if not process.pid:
                for name, piece in process.rest():
                    process.fan.tell_at_once({"data": {name: piece}}, len(piece))
            process.fan.end(end)
            self._of[own].remove(process)
            if not self._of[own]:
                del self._of[own]

    async def _run(self, process: Process, user: str, limit_s: float) -> int | None:
        engine, config = self._orchestrator.engine, process.config
        if not isinstance(engine, Exec):
            raise not_supported("run a command in a worker")
        return await engine.exec_into(
            process.machine.id,
            _words(config),
            process,
            stdin=b"" if process.input is None else process.inputs(),
            env={**config.envs, RUN: self.strays.mark},
            user=user,
            workdir=config.cwd or "",
            timeout_s=limit_s,
            leaves=True,
        )

    async def _in_terminal(self, process: Process, asked: StartRequest, user: str, limit_s: float) -> int | None:
        engine, config, size = self._orchestrator.engine, process.config, asked.pty.size if asked.pty else None
        if not isinstance(engine, Terminals):
            raise not_supported("open a terminal in a worker")
        process.terminal = await engine.terminal(
            process.machine.id,
            _words(config),
            columns=size.cols if size and size.cols else 80,
            rows=size.rows if size and size.rows else 24,
            env={**config.envs, RUN: self.strays.mark},
            user=user,
            workdir=config.cwd or "",
        )
        try:
            async with asyncio.timeout(limit_s):
                while data := await process.terminal.read():
                    await process.take("pty", data)
            return await process.terminal.exit_code()
        except TimeoutError:
            return None
        finally:
            await process.terminal.aclose()


def check_size(size: Size) -> None:
    """Raises Refusal for a size that no terminal has; 0 is E2B's word for the usual one."""
    if not (0 <= size.cols <= LARGEST_SIDE and 0 <= size.rows <= LARGEST_SIDE):
        raise Refusal.invalid(f"A terminal has 1 to {LARGEST_SIDE} columns and rows.")


def _text_of(listener: Listener) -> str:
    """What it would read of the process's outputs."""
    pieces = (data for event in listener.unread() for data in event.get("data", {}).values())
    return b"".join(pieces).decode(errors="replace").strip()[:500]


def _words(config: Config) -> list[str]:
    return ["sh", "-c", _TELLS_ITS_NUMBER, "sh", config.cmd, *config.args]


def _end(code: int | None, limit_s: float) -> dict[str, Any]:
    if code is None:
        return {"late": f"The process had not ended within {limit_s:g} s, and was killed."}
    told = {"exited": True, "exitCode": code, "status": f"exit status {code}"}
    return {"end": told if code == 0 else {**told, "error": f"exit status {code}"}}


async def _ended(processes: list[Process]) -> None:
    tasks = {one.task for one in processes if one.task is not None}
    for task in tasks:
        task.cancel()
    if tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(tasks, timeout=10)
