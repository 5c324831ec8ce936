"""What an engine may offer beside the protocol: logs, measurements, commands, terminals, files, where it is.

The API answers 501 where the engine does not offer one.

Each raises NotRunning where the instance does not run (logs: where there is none at all), EngineUnavailable, and
EngineRejected with the engine's own words. Whatever lasts longer than one reply has a connection of its own, so that no
follower, terminal or stuck program ever keeps the engine's other calls waiting.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from worker_orchestrator.core.activity import Counters
from worker_orchestrator.core.machine import Machine

__all__ = [
    "OUTPUT_BYTES",
    "Activity",
    "Bearings",
    "Completed",
    "Configurable",
    "Environment",
    "Exec",
    "ExecOutput",
    "Files",
    "Foreseeing",
    "LateValues",
    "Logs",
    "Stats",
    "Terminal",
    "Terminals",
    "Usage",
]

OUTPUT_BYTES: Final = 1024 * 1024
"""So many bytes are kept of each output of a command."""


@runtime_checkable
class Bearings(Protocol):
    """An engine that can tell whether its workers can be reached from where this process runs."""

    async def misplacement(self) -> str:
        """Why no worker can be reached from here, and what to do; empty if nothing says so. Raises EngineError."""
        ...

    @property
    def misplaced(self) -> str:
        """The last answer to that, which it also asks itself if a worker does not answer; empty before the first."""
        ...


@runtime_checkable
class Logs(Protocol):
    """An engine that can read what an instance wrote."""

    async def last_lines(self, machine_id: str, count: int) -> str:
        """The last lines of its output, at most 8 KiB; empty if there are none, or if the engine cannot tell."""
        ...

    def logs(
        self, machine_id: str, *, tail: int | None = None, follow: bool = False, timestamps: bool = False
    ) -> AsyncIterator[bytes]:
        """Its output, standard output and error as they were written: all of it or the last `tail` lines.

        With `follow` it goes on until the instance ends or the iterator is closed. With `timestamps` each line begins with
        the time (RFC 3339, UTC) and a blank.
        """
        ...


@dataclass(frozen=True, slots=True)
class Usage:
    """What an instance uses now. Counters run since its start; None where the engine cannot tell."""

    cpu_percent: float | None  # of one processor, so 200 means two
    cpu_seconds: float | None  # since its start
    memory_bytes: int | None  # without the file cache
    memory_limit_bytes: int | None
    processes: int | None
    received_bytes: int | None
    sent_bytes: int | None


@runtime_checkable
class Stats(Protocol):
    """An engine that can measure an instance."""

    async def stats(self, machine_id: str) -> Usage: ...


@runtime_checkable
class Activity(Protocol):
    """An engine that can tell, at next to no cost, whether an instance is used."""

    async def counters(self, machine_id: str, *, cpu: bool) -> Counters:
        """What it has received and sent from and to others since its start, and, if `cpu`, what it has computed."""
        ...

    async def is_connected(self, machine_id: str) -> bool | None:
        """Whether a connection to one of its ports is open, as its worker sees it. None if the engine cannot tell."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class LateValues:
    """What a project gives a machine that is running already.

    `env` and `secrets` by name. `files` is a tar archive of files, folders and relative links, checked before; empty if
    there are none. It has no repr, so that no log and no traceback shows any of it.
    """

    env: Mapping[str, str]
    secrets: Mapping[str, str]
    files: bytes = b""


@runtime_checkable
class Configurable(Protocol):
    """An engine that can give values to an instance that is running already. They are in its memory only.

    The instance of a pool with `late.dir` has a directory in memory there: `env` (a line for each, quoted for a shell),
    `env.json`, `secrets/NAME` (0400, of the worker's user), `files/...`, and `ready`, which comes last. The instance of a
    pool with `late.post` gets them as JSON at its own port.
    """

    async def configure(
        self, machine: Machine, values: LateValues, *, anew: bool = False, limit_s: float = 60.0
    ) -> None:
        """Write these, and return when all of them are there. Safe to repeat. `anew`: remove what was written before.

        `limit_s`: for the worker to answer a post.


        Raises SetupFailed if the worker refused them, InvalidInput for files that cannot be unpacked there; EngineRejected
        if the instance was made without a place for them; NotRunning if it ended meanwhile, and all of it with it;
        EngineUnavailable if nothing was written; OutcomeUnknown if it may still be.
        """
        ...

    async def is_configured(self, machine_id: str) -> bool:
        """Whether `ready` is there. Of an instance without a directory it cannot be known, so it is assumed."""
        ...

    async def clean(self, machine_id: str) -> None:
        """End it, start it again in place, and return once it is known that nothing of its configuration is left.

        Safe to repeat. Raises EngineRejected if something is left or cannot be looked at, and every other EngineError.
        """
        ...


@runtime_checkable
class Foreseeing(Protocol):
    """An engine that configures an instance more quickly if it knew that this may come."""

    def foresee(self, machines: Collection[Machine], *, more: bool = False) -> None:
        """Each of these is idle, or parked, no project has ever had it, and the next one may configure it.

        They are all of them, or with `more` some more: one that is about to be paused is named before. Returns at once. What
        is prepared is given up again for those that are not among them a second time.
        """
        ...


@runtime_checkable
class Environment(Protocol):
    """An engine that can tell the environment that an instance was created with."""

    async def environment(self, machine_id: str) -> Mapping[str, str]:
        """Its variables by name, secrets included: the caller leaves those out before anybody sees the reply."""
        ...


@dataclass(frozen=True, slots=True)
class Completed:
    """How a command ended. Of each output at most `OUTPUT_BYTES` are kept: `truncated` says that there was more.

    `exit_code` is None if it had not ended by its time-out, and was killed.
    """

    exit_code: int | None
    stdout: bytes
    stderr: bytes
    truncated: bool = False


class ExecOutput(Protocol):
    """Where the output of a command goes while it runs. `stream` is stdout or stderr."""

    def started(self) -> None:
        """The engine has started the command: what goes wrong from now on may come after output."""
        ...

    async def take(self, stream: str, data: bytes) -> None:
        """Take these bytes, and return when there is room for more. If it is cancelled while it waits, they were taken."""
        ...

    def keep(self, stream: str, data: bytes) -> None:
        """Take what there is room for, and drop the rest: the command is being ended, and nothing waits any more."""
        ...


@runtime_checkable
class Exec(Protocol):
    """An engine that can run a command in an instance."""

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
        """Run this to its end. When it returns, raises or is cancelled, no process of it is left in the instance.

        A command that cannot be started ends with 127 if it is not there, else with 126, and one sentence on `stderr`.
        """
        ...

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
        """The same, with all output handed to `output` as it comes. A command whose output is not taken has to wait.

        `stdin` may come piece by piece. After the last one the command's input ends, where the connection can tell (not
        over TLS).

        `leaves`: what it started in the background goes on when it has ended by itself.

        Returns the exit code, None if the command had not ended by its time-out, and was killed.
        """
        ...


class Terminal(Protocol):
    """A command with a terminal in an instance. The caller that opened it closes it."""

    async def read(self) -> bytes:
        """What it writes next; empty when it has ended."""
        ...

    async def write(self, data: bytes) -> None: ...

    async def resize(self, columns: int, rows: int) -> None: ...

    async def exit_code(self) -> int | None:
        """None while it runs, or if the engine cannot tell."""
        ...

    async def aclose(self) -> None:
        """End it: no process of it is left in the instance."""
        ...


@runtime_checkable
class Terminals(Protocol):
    """An engine that can open a terminal in an instance."""

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
    ) -> Terminal: ...


@runtime_checkable
class Files(Protocol):
    """An engine that can copy files out of and into an instance, as tar archives as Docker makes them."""

    def read_files(self, machine_id: str, path: str, *, follow: bool = False) -> AsyncIterator[bytes]:
        """A tar archive of the file or folder at this absolute path; its entries begin with the last name of the path.

        The path is resolved as the worker itself would resolve it. With `follow` a link at its end is followed, else the
        link itself is read. A byte of a path that is no text is a lone surrogate, as in `os.fsdecode`.

        Raises PathNotFound, PathOutOfReach or InvalidInput at the first item.
        """
        ...

    async def place_of(self, machine_id: str, path: str) -> str:
        """Where the worker would write a file of this absolute path: what links at its end lead to, be it there or not.

        Raises PathNotFound if there is no folder for it, PathOutOfReach, WorkerReadOnly, InvalidInput.
        """
        ...

    async def write_files(self, machine_id: str, path: str, archive: AsyncIterator[bytes]) -> None:
        """Unpack a tar archive into the folder at this absolute path.

        Raises PathNotFound where there is no such folder, PathOutOfReach, WorkerReadOnly, InvalidInput for what cannot be
        unpacked there.
        """
        ...
