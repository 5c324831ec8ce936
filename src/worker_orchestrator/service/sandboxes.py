"""The door for E2B's clients, where the settings open it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from worker_orchestrator.control.keys import Keys
from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.http.e2b.names import Names
from worker_orchestrator.http.server.streamed_response import ServiceEnd
from worker_orchestrator.http.v1.responses import MachineShape
from worker_orchestrator.service import late_key

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from worker_orchestrator.http.e2b.processes import Processes
    from worker_orchestrator.http.e2b.watches import Watches

__all__ = ["SandboxParts", "names_of", "sandboxes_of"]


@dataclass(frozen=True, slots=True)
class SandboxParts:
    """What is behind /e2b, and what runs in sandboxes for it: processes and watches are ended when the service ends."""

    app: ASGIApp
    processes: Processes
    watches: Watches

    async def aclose(self) -> None:
        await self.watches.aclose()
        await self.processes.aclose()


def names_of(key: bytes, keys: Keys) -> Names:
    """The names of sandboxes, of which this secret is a part."""
    return Names(late_key.derived(key, "sandbox names"), keys)


def sandboxes_of(
    orchestrator: Orchestrator,
    advertise_host: str,
    key: bytes,
    keys: Keys,
    service_end: ServiceEnd,
    domain: str,
) -> SandboxParts:
    """The open door. `key` is what the tokens of sandboxes are derived from. `domain`: below it are previews, if there are.

    Raises InvalidSetting if what it needs is not installed.
    """
    if find_spec("python_multipart") is None:
        raise InvalidSetting(
            "--e2b needs a package that is not installed: run `pip install 'worker-orchestrator[e2b]'`."
        )
    from worker_orchestrator.http.e2b.access import Access  # noqa: PLC0415 # few services need it
    from worker_orchestrator.http.e2b.processes import Processes  # noqa: PLC0415 # as above
    from worker_orchestrator.http.e2b.routes import e2b  # noqa: PLC0415 # as above
    from worker_orchestrator.http.e2b.watches import Watches  # noqa: PLC0415 # as above

    processes = Processes(orchestrator)
    access = Access(orchestrator, late_key.derived(key, "sandboxes"), keys)
    watches = Watches(orchestrator, processes.strays.mark)
    shape = MachineShape(advertise_host)
    app = e2b(orchestrator, processes, watches, shape, access, service_end, names=names_of(key, keys), domain=domain)
    return SandboxParts(app, processes, watches)
