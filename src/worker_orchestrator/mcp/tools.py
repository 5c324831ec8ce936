"""What each tool does, and what a model is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from worker_orchestrator.errors import InvalidInput, OrchestratorError
from worker_orchestrator.mcp import arguments as takes
from worker_orchestrator.mcp import files
from worker_orchestrator.mcp.capped import Capped
from worker_orchestrator.mcp.failures import ToolFailed
from worker_orchestrator.mcp.machines import Machines
from worker_orchestrator.wire.v1 import ExecEnd, Machine

__all__ = ["Outcome", "Tool", "Tools"]

_GRACE_S: Final = 90.0
"""How long a call may take beside its command: to wait for a machine, and to hear of the end."""
_COMMAND_S: Final = 60.0
_MOST_MACHINES: Final = 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call tells the model. `code` is empty unless it failed."""

    text: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """`changes` is whether it may change anything; `is_unpinned`: only for a server that is pinned to no project."""

    name: str
    title: str
    told: str
    takes: type[msgspec.Struct]
    does: Callable[[Any, list[str]], Awaitable[str]]
    changes: bool = False
    is_unpinned: bool = False


class Tools:
    """The tools of one session, by their names. Those that it may not use are not in it."""

    def __init__(self, machines: Machines) -> None:
        self._machines, self._client, self._limits = machines, machines.client, machines.limits
        limits = self._limits
        self.is_pinned: Final = limits.is_pinned
        self.needs_project: Final = not (limits.is_pinned or machines.project)
        self.offered: Final = {
            tool.name: tool
            for tool in self._all()
            if not (tool.changes and limits.is_read_only) and not (tool.is_unpinned and limits.is_pinned)
        }

    def _all(self) -> tuple[Tool, ...]:
        longest = f"{self._limits.longest_command_s:g}"
        run = f"Run a shell command in the machine, wait for its end (at most {longest} s), and see its output."
        write = "Write a text file in the machine. Its folder is made if there is none."
        read = "Read a text file of the machine, whole or in part."
        url = "The URL under which the machine's own server (HTTP) is reached from outside of it."
        assign = "Get a machine for a project: the one that it has, else a new one."
        release = "Give the machine of a project back. All of its files are lost."
        edit = "Replace a text in a file of the machine. Everything else of the file stays."
        ls = "List a folder of the machine, with sizes in bytes."
        return (
            Tool("run_command", "Run a command", run, takes.RunCommand, self._run_command, changes=True),
            Tool("read_file", "Read a file", read, takes.ReadFile, self._read_file),
            Tool("write_file", "Write a file", write, takes.WriteFile, self._write_file, changes=True),
            Tool("edit_file", "Edit a file", edit, takes.EditFile, self._edit_file, changes=True),
            Tool("list_files", "List files", ls, takes.ListFiles, self._list_files),
            Tool("machine_url", "URL of the machine", url, takes.MachineUrl, self._machine_url),
            Tool("assign", "Get a machine", assign, takes.Assign, self._assign, changes=True, is_unpinned=True),
            Tool("release", "Release a machine", release, takes.Release, self._release, changes=True, is_unpinned=True),
            Tool("list_machines", "List machines", "All machines.", takes.ListMachines, self._list, is_unpinned=True),
        )

    async def call(self, tool: Tool, given: dict[str, Any]) -> Outcome:
        """What came of it. A failure is an outcome as well, and a call that takes too long ends."""
        notes: list[str] = []
        limit_s = _GRACE_S
        try:
            arguments = msgspec.convert(given, tool.takes)
            if isinstance(arguments, takes.RunCommand):
                limit_s += self._seconds(arguments)
            async with asyncio.timeout(limit_s):
                text = await tool.does(arguments, notes)
        except msgspec.ValidationError as error:
            return Outcome(f"These arguments are not valid: {error}.", InvalidInput.code)
        except TimeoutError:
            return Outcome(f"It took more than {limit_s:g} s, and was given up. Try again later.", "timed_out")
        except (OrchestratorError, ToolFailed) as error:
            return Outcome("\n".join([error.message, *notes]), error.code)
        return Outcome("\n".join([*notes, text]))

    def _seconds(self, asked: takes.RunCommand) -> float:
        return asked.timeout_seconds or min(_COMMAND_S, self._limits.longest_command_s)

    async def _run_command(self, asked: takes.RunCommand, notes: list[str]) -> str:
        longest_s, seconds = self._limits.longest_command_s, self._seconds(asked)
        if seconds > longest_s:
            raise ToolFailed(
                "too_long",
                f"A command may take {longest_s:g} s here. Run a longer one in the background: nohup … >log 2>&1 &",
            )
        written = {name: Capped(self._limits.output_characters) for name in ("stdout", "stderr")}
        end: ExecEnd | None = None
        async with self._machines.of(asked.project, notes) as machine:
            output = self._client.exec_stream(
                machine.id,
                ["sh", "-c", asked.command],
                stdin=asked.stdin,
                workdir=asked.workdir,
                timeout_seconds=seconds,
                generation=machine.generation,
            )
            async with aclosing(output) as parts:
                async for part in parts:
                    if isinstance(part, ExecEnd):
                        end = part
                    else:
                        written[part.stream].add(part.text)
        return _told(seconds, end, written)

    async def _read_file(self, asked: takes.ReadFile, notes: list[str]) -> str:
        async with self._machines.of(asked.project, notes) as machine:
            _, content, path = await files.load(self._client, machine, asked.path)
        text = files.text_of(path, content)
        if not text:
            return f"[{path} is empty.]"
        return files.lines_of(text, asked.first_line, asked.max_lines, self._limits.output_characters)

    async def _write_file(self, asked: takes.WriteFile, notes: list[str]) -> str:
        content = asked.content.encode()
        async with self._machines.of(asked.project, notes) as machine:
            await files.write(self._client, machine, asked.path, content)
        return f"Wrote {len(content)} bytes to {asked.path}."

    async def _edit_file(self, asked: takes.EditFile, notes: list[str]) -> str:
        async with self._machines.of(asked.project, notes) as machine:
            count = await files.edit(
                self._client, machine, asked.path, asked.old_text, asked.new_text, replace_all=asked.replace_all
            )
        return f"Replaced {count} time{'s' if count > 1 else ''} in {asked.path}."

    async def _list_files(self, asked: takes.ListFiles, notes: list[str]) -> str:
        async with self._machines.of(asked.project, notes) as machine:
            return await files.listing(self._client, machine, asked.path, asked.depth)

    async def _machine_url(self, asked: takes.MachineUrl, notes: list[str]) -> str:
        async with self._machines.of(asked.project, notes) as machine:
            pass
        if asked.port is not None and asked.port not in machine.ports:
            names = ", ".join(machine.ports) or "no names of ports"
            raise ToolFailed("no_such_port", f"The machine has no port {asked.port}. It has {names}.")
        url = machine.url if asked.port is None else machine.ports[asked.port].url
        if url is None:
            raise ToolFailed("no_url", f"The machine of {machine.project} has no URL now: it is {machine.state}.")
        preview = "" if machine.preview_url is None else f"\nPreview, which stays the same: {machine.preview_url}"
        return url + preview

    async def _assign(self, asked: takes.Assign, notes: list[str]) -> str:
        return _line(await self._machines.ready(asked.project, notes, asked.pool))

    async def _release(self, asked: takes.Release, _notes: list[str]) -> str:
        machine = await self._machines.release(asked.project)
        return f"{asked.project} gave {machine.id} back."

    async def _list(self, _asked: takes.ListMachines, _notes: list[str]) -> str:
        machines = await self._client.machines()
        lines = [_line(machine) for machine in machines[:_MOST_MACHINES]]
        if len(machines) > len(lines):
            lines.append(f"[{len(machines) - len(lines)} more.]")
        return "\n".join(lines) or "There are no machines."


def _told(seconds: float, end: ExecEnd | None, written: dict[str, Capped]) -> str:
    """How the command ended, and what it wrote."""
    code = None if end is None else end.exit_code
    parts = [f"Killed after {seconds:g} s." if code is None else f"Exit code {code}."]
    for name, output in written.items():
        if output.length:
            parts += [f"--- {name} ---", output.text().removesuffix("\n")]
    if not any(output.length for output in written.values()):
        parts.append("It wrote nothing.")
    return "\n".join(parts)


def _line(machine: Machine) -> str:
    return "  ".join(filter(None, [machine.id, machine.pool, machine.state, machine.project, machine.url]))
