"""Everything that can go wrong, as one tree, for the service and its Python client alike. It knows no HTTP.

`http.problems` maps classes to statuses. A class's docstring is its default message, and `code` its name on the wire, which
never changes::

    OrchestratorError
    ├── InvalidInput           what was asked for cannot be, and asking again will not help
    │   ├── InvalidProject
    │   ├── InvalidSetting
    │   ├── PathOutOfReach     the engine does not reach this part of a worker's file system
    │   └── WorkerReadOnly     the worker's file system cannot be written
    ├── MachineNotFound
    │   └── ProjectHasNoMachine
    ├── PoolNotFound
    ├── PathNotFound           no such file in a worker
    ├── NotRunning             what was asked for needs a worker that runs
    ├── NotAssigned            what was asked for is only done for a project, and none has this machine
    ├── NotSupported           this engine cannot do that
    ├── GenerationMismatch     the machine changed hands since: it is somebody else's now
    ├── MachineFailed          the project's machine failed for good: only a restart, a release or a destroy helps
    ├── NoMachineAvailable     nothing could be assigned now; a later try may succeed
    ├── EngineError
    │   ├── EngineUnavailable  the engine did not answer: again later
    │   ├── EngineRejected     the engine refused: again will not help
    │   │   └── EngineObstructed  neither the worker nor its image is the cause: again when that is mended
    │   ├── PortTaken          the host port belongs to somebody else: again with another one
    │   └── OutcomeUnknown     the call may or may not have happened: look before doing anything
    ├── StoreError
    │   ├── CommitFailed       nothing of this batch was stored, and nothing of it is true
    │   ├── StoreLocked        another process owns this state directory
    │   └── StoreRefused       the state directory is not one that this service may use as it is
    └── CallFailed             what a client meets beside the errors above
        ├── EventsLost         the place to go on from is not kept any more, or never was
        ├── ServiceUnreachable nobody answers at that address
        ├── Unauthorized       the token is missing or wrong
        ├── TooManyRequests    this address asks too often, or has sent too many wrong tokens: again later
        └── Forbidden          this service does not talk to that Host, or to that page
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "CallFailed",
    "CommitFailed",
    "EngineError",
    "EngineObstructed",
    "EngineRejected",
    "EngineUnavailable",
    "EventsLost",
    "Forbidden",
    "GenerationMismatch",
    "InvalidInput",
    "InvalidProject",
    "InvalidSetting",
    "MachineFailed",
    "MachineNotFound",
    "NoMachineAvailable",
    "NotAssigned",
    "NotRunning",
    "NotSupported",
    "OrchestratorError",
    "OutcomeUnknown",
    "PathNotFound",
    "PathOutOfReach",
    "PoolNotFound",
    "PortTaken",
    "ProjectHasNoMachine",
    "ServiceUnreachable",
    "StoreError",
    "StoreLocked",
    "StoreRefused",
    "TooManyRequests",
    "Unauthorized",
    "WorkerReadOnly",
]


class OrchestratorError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "internal_error"
    request_id: str = ""
    """Where a client raised it: what the service's log calls the request."""
    status: int | None = None
    """Where a client raised it: the HTTP status of the reply."""

    def __init__(self, message: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        super().__init__(self.message)


class InvalidInput(OrchestratorError):
    """The request cannot be carried out as it stands."""

    code = "invalid_request"


class InvalidProject(InvalidInput):
    """A project id is 1 to 128 letters, digits or . _ ~ : @ + = , - and does not start with a dot."""

    code = "invalid_project"


class InvalidSetting(InvalidInput):
    """A setting is unknown or has a value that is not allowed."""

    code = "invalid_setting"


class PathOutOfReach(InvalidInput):
    """The engine does not reach this part of the worker's file system."""

    code = "path_out_of_reach"


class WorkerReadOnly(InvalidInput):
    """The worker's file system is read-only."""

    code = "worker_read_only"


class MachineNotFound(OrchestratorError):
    """Machine not found."""

    code = "machine_not_found"


class ProjectHasNoMachine(MachineNotFound):
    """The project has no machine."""

    code = "project_has_no_machine"


class PoolNotFound(OrchestratorError):
    """Pool not found."""

    code = "pool_not_found"


class PathNotFound(OrchestratorError):
    """There is no such file or folder in the worker."""

    code = "path_not_found"


class NotRunning(OrchestratorError):
    """The container of this machine does not run."""

    code = "not_running"


class NotAssigned(OrchestratorError):
    """No project has this machine."""

    code = "not_assigned"


class NotSupported(OrchestratorError):
    """This engine cannot do that."""

    code = "not_supported"


class GenerationMismatch(OrchestratorError):
    """The machine changed hands since."""

    code = "generation_mismatch"

    def __init__(self, message: str | None = None, *, generation: int = 0) -> None:
        super().__init__(message)
        self.generation = generation


class MachineFailed(OrchestratorError):
    """The machine of this project failed."""

    code = "machine_failed"


class NoMachineAvailable(OrchestratorError):
    """Please retry in a few seconds"""

    code = "no_machine_available"

    def __init__(self, message: str | None = None, *, retry_after_s: float = 3.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EngineError(OrchestratorError):
    """The container engine failed."""

    code = "engine_failed"


class EngineUnavailable(EngineError):
    """The container engine does not answer."""

    code = "engine_unavailable"


class EngineRejected(EngineError):
    """The container engine refused the request."""

    code = "engine_rejected"


class EngineObstructed(EngineRejected):
    """Something on the engine's host stands in the way.

    `kind` names it in a word, as disk or addresses; the message says what to do.
    """

    code = "engine_obstructed"

    def __init__(self, message: str | None = None, *, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


class PortTaken(EngineError):
    """The host port is in use by another process."""

    code = "port_taken"


class OutcomeUnknown(EngineError):
    """The container engine did not say whether the request was carried out."""

    code = "outcome_unknown"


class StoreError(OrchestratorError):
    """The state directory cannot be used."""

    code = "store_unavailable"


class CommitFailed(StoreError):
    """The change could not be stored, so it was not made."""

    code = "store_failed"


class StoreLocked(StoreError):
    """Another orchestrator uses this state directory."""

    code = "store_locked"


class StoreRefused(StoreError):
    """This state directory belongs to another engine, another machine or another version."""

    code = "store_refused"


class CallFailed(OrchestratorError):
    """The call failed."""

    code = "call_failed"


class EventsLost(CallFailed):
    """The events to go on from are not kept any more: list the machines anew."""

    code = "events_lost"

    def __init__(self, message: str | None = None, *, oldest: int | None = None, newest: int | None = None) -> None:
        super().__init__(message)
        self.oldest = oldest
        self.newest = newest


class ServiceUnreachable(CallFailed):
    """The service does not answer."""

    code = "service_unreachable"


class Unauthorized(CallFailed):
    """The token is missing or wrong."""

    code = "unauthorized"


class TooManyRequests(CallFailed):
    """Too many requests came from this address."""

    code = "too_many_requests"


class Forbidden(CallFailed):
    """The service refused this caller."""

    code = "forbidden"
