"""What the orchestrator asks of the place where instances run: the whole of it.

An engine keeps no state of its own about machines, decides nothing, and retries nothing: it carries out one call and says
truthfully how it ended. Each error means one thing (`errors.EngineError`): `EngineUnavailable`, again later;
`EngineRejected`, again will not help; `EngineObstructed`, again when what it names is mended; `PortTaken`, again with
another port; `OutcomeUnknown`, look before doing anything.
Any other exception is a defect of the engine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from worker_orchestrator.core.instance import Instance
from worker_orchestrator.core.machine import Machine

__all__ = [
    "OUTPUT_BYTES",
    "Completed",
    "Engine",
    "Environment",
    "Exec",
    "Files",
    "Identity",
    "Logs",
    "Stats",
    "Terminal",
    "Terminals",
    "Usage",
]

OUTPUT_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Identity:
    """Which engine this is. `marked`: it carries our owner's mark, so it is ours whatever its id says today."""

    id: str
    marked: bool


class Engine(Protocol):
    """A place where instances run."""

    @property
    def plans_ports(self) -> bool:
        """Whether we choose the host ports (Docker), or the engine its addresses (Kubernetes)."""
        ...

    async def ping(self) -> None:
        """Return if the engine answers. Raises EngineUnavailable."""
        ...

    async def identity(self) -> Identity:
        """Which engine this is, so that a switched one is noticed. Raises EngineUnavailable."""
        ...

    async def template(self, *, fetch: bool = True) -> str:
        """The fingerprint of what a create would run now: image id, environment, ports, limits.

        Fetches the image where it is missing, which may take minutes; `progress` tells of it. Without `fetch` it only
        looks: empty where the image is missing. Raises EngineRejected where nothing can be run, EngineUnavailable,
        OutcomeUnknown.
        """
        ...

    @property
    def progress(self) -> str:
        """What `template` is busy with, in words; empty where it is not."""
        ...

    async def list(self) -> Mapping[str, Instance]:
        """Every instance with our label, by machine id: of any owner, in any status, whatever it was renamed to.

        What somebody made of a copy of an instance is not among them, though it bears the same labels. All or an error.
        """
        ...

    async def create(self, machine: Machine) -> None:
        """Make it run, with exactly this template and port. Safe to repeat. Leaves nothing behind when it fails.

        Raises every EngineError.
        """
        ...

    async def restart(self, machine_id: str, *, stop_first: bool = False) -> None:
        """Start an exited instance in place, with its files and its port. Safe to repeat. Raises every EngineError.

        With `stop_first`, one that runs is ended before, as its image wants to be ended.
        """
        ...

    async def stop(self, machine_id: str, grace_s: float) -> None:
        """Ask whatever we run under this id to end, end it after so long, and return when it has. Absent is success.

        What was asked goes on when the caller gave up. Raises EngineUnavailable, EngineRejected, OutcomeUnknown.
        """
        ...

    async def destroy(self, machine_id: str) -> None:
        """Remove whatever we run under this id, and nothing of others; when it returns, it is gone. Absent is success.

        Raises EngineUnavailable, EngineRejected, OutcomeUnknown.
        """
        ...

    async def probe(self, machine: Machine, limit_s: float = 1.0, *, closely: bool = False) -> str | None:
        """Ask the worker whether it serves: None if it does, else what was found instead, in words.

        Takes `limit_s` at most, and if it has not answered and looks `closely` at what is there instead, a second more.
        Raises EngineError where nobody can tell, as when it is the engine that would know and it does not answer: that is
        no verdict on the worker.
        """
        ...

    def watch(self) -> AsyncIterator[str | None]:
        """One item whenever something changed: the id of an instance that is said to serve no longer, or again, else None.

        It ended, was paused, or was taken off its network, or somebody put that right. The first item comes when the stream
        is open.

        May miss changes, may end, raises EngineUnavailable.
        """
        ...

    async def until_shown(self, machine_id: str) -> None:
        """Return when a listing shows what became of this instance, as `watch` said; after a moment in any case."""
        ...

    async def aclose(self) -> None: ...


# Extras: what an engine may offer beside. The API answers 501 where it does not.
#
# Each raises NotRunning where the instance does not run (logs: where there is none at all), EngineUnavailable, and
# EngineRejected with the engine's own words. Whatever lasts longer than one reply has a connection of its own, so that no
# follower, terminal or stuck program ever keeps the engine's other calls waiting.


@runtime_checkable
class Logs(Protocol):
    """An engine that can read what an instance wrote."""

    async def last_lines(self, machine_id: str, count: int) -> str:
        """The last lines of its output, at most 4 KiB; empty where there are none or nobody can tell."""
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
    cpu_seconds: float  # since its start
    memory_bytes: int  # without the file cache
    memory_limit_bytes: int | None
    processes: int | None
    received_bytes: int | None
    sent_bytes: int | None


@runtime_checkable
class Stats(Protocol):
    """An engine that can measure an instance."""

    async def stats(self, machine_id: str) -> Usage: ...


@runtime_checkable
class Environment(Protocol):
    """An engine that can tell the environment that an instance was created with."""

    async def environment(self, machine_id: str) -> Mapping[str, str]:
        """Its variables by name, secrets and all: whoever asks leaves them out before anybody sees them."""
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
        """Run this to its end. When it returns, raises or is cancelled, no process of it is left in the instance."""
        ...


class Terminal(Protocol):
    """A command with a terminal in an instance. Whoever opened it closes it."""

    async def read(self) -> bytes:
        """What it writes next; empty when it has ended."""
        ...

    async def write(self, data: bytes) -> None: ...

    async def resize(self, columns: int, rows: int) -> None: ...

    async def exit_code(self) -> int | None:
        """None while it runs, or where nobody can tell."""
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

        The path leads where it leads in the instance. With `follow` a link at its end is followed, else it is what is read.
        A byte of a path that is no text is a lone surrogate, as in `os.fsdecode`.

        Raises PathNotFound, PathOutOfReach or InvalidInput at the first item.
        """
        ...

    async def place_of(self, machine_id: str, path: str) -> str:
        """Where the worker would write a file of this absolute path: what links at its end lead to, there or not.

        Raises PathNotFound where there is no folder for it, PathOutOfReach, WorkerReadOnly, InvalidInput.
        """
        ...

    async def write_files(self, machine_id: str, path: str, archive: AsyncIterator[bytes]) -> None:
        """Unpack a tar archive into the folder at this absolute path.

        Raises PathNotFound where there is no such folder, PathOutOfReach, WorkerReadOnly, InvalidInput for what cannot be
        unpacked there.
        """
        ...
