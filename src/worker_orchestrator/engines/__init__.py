"""What the orchestrator asks of the place where instances run: the whole of it.

An engine keeps no state of its own about machines, decides nothing, and retries nothing: it carries out one call and says
truthfully how it ended. Each error means one thing (`errors.EngineError`): `EngineUnavailable`, again later;
`EngineRejected`, again will not help; `PortTaken`, again with another port; `OutcomeUnknown`, look before doing anything.
Any other exception is a defect of the engine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from worker_orchestrator.machine import Instance, Machine

__all__ = ["Engine", "Identity", "Logs"]


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

    async def template(self) -> str:
        """The fingerprint of what a create would run now: image id, environment, ports, limits.

        Fetches the image where it is missing, which may take minutes; `progress` tells of it. Raises EngineRejected where
        nothing can be run, EngineUnavailable.
        """
        ...

    @property
    def progress(self) -> str:
        """What `template` is busy with, in words; empty where it is not."""
        ...

    async def list(self) -> Mapping[str, Instance]:
        """Every instance with our label, by machine id: of any owner, in any status. All of them or an error."""
        ...

    async def create(self, machine: Machine) -> None:
        """Make it run, with exactly this template and port. Safe to repeat. Leaves nothing behind when it fails.

        Raises every EngineError.
        """
        ...

    async def restart(self, machine_id: str) -> None:
        """Start an exited instance in place, with its files and its port. Safe to repeat. Raises every EngineError."""
        ...

    async def destroy(self, machine_id: str) -> None:
        """Remove whatever we run under this id; when it returns, it is gone. Absent is success.

        Raises EngineUnavailable, EngineRejected, OutcomeUnknown.
        """
        ...

    async def probe(self, machine: Machine) -> str | None:
        """Ask the worker whether it serves: None if it does, else what was found instead, in words. Takes 1 s at most."""
        ...

    def watch(self) -> AsyncIterator[None]:
        """One item whenever something changed. May miss changes, may end, raises EngineUnavailable."""
        ...

    async def aclose(self) -> None: ...


@runtime_checkable
class Logs(Protocol):
    """An engine that can read what an instance wrote."""

    async def last_lines(self, machine_id: str, count: int) -> str:
        """The last lines of its output, at most 4 KiB; empty where there are none or nobody can tell."""
        ...
