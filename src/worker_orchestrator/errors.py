"""Everything that can go wrong, as one tree, for the service and its Python client. It knows no HTTP.

`http.problems` maps the classes to statuses. A docstring is the default message, `code` the name on the wire, for ever::

    OrchestratorError
    ├── InvalidInput           the request cannot be carried out, and repeating it will not help
    │   ├── InvalidProject
    │   ├── InvalidSetting
    │   ├── PathOutOfReach     the engine does not reach this part of a worker's file system
    │   └── WorkerReadOnly     the worker's file system cannot be written to
    ├── MachineNotFound
    │   └── ProjectHasNoMachine
    ├── PoolNotFound
    ├── OtherPool              the project has a machine of another pool than it asked for, or waits for one
    ├── PathNotFound           the worker has no such file or folder
    ├── NotRunning             the request needs a worker that runs
    ├── NotAssigned            the request needs a machine that a project has
    ├── NotSupported           this engine cannot do that
    ├── GenerationMismatch     the machine has been assigned again since
    ├── ConfiguredOtherwise    the project's machine was configured with other values
    ├── SetupFailed            the worker has its values, or some of them, but setting it up failed
    ├── SettingsChanged        the settings are others than those that the caller has seen
    ├── MachineFailed          the project's machine failed for good: only a restart, a release or a destroy helps
    ├── NoMachineAvailable     no machine could be assigned now; a later try may succeed
    │   └── HostPortTaken      the project's machine cannot be started while another process has its host port
    ├── EngineError
    │   ├── EngineUnavailable  the engine did not answer; a later try may succeed
    │   ├── EngineRejected     the engine refused; another try will not help
    │   │   └── EngineObstructed  something on the engine's host prevents it, neither the worker nor its image
    │   ├── PortTaken          another process has the host port; another port may be free
    │   └── OutcomeUnknown     the call may or may not have been carried out: look before doing anything
    ├── StoreError
    │   ├── CommitFailed       nothing of this batch was stored, and all of it was undone
    │   ├── StoreLocked        another process owns this state directory
    │   └── StoreRefused       this service may not use the state directory as it is
    ├── PortInUse              another process listens where the service was to listen; a later try may succeed
    └── CallFailed             what only a client meets
        ├── EventsLost         the event to continue from is not kept any more, or never existed
        ├── ServiceUnreachable there is no answer at that address
        ├── Unauthorized       the token is missing or wrong
        ├── TooManyRequests    this address called too often, or sent too many wrong tokens; wait and try again
        └── Forbidden          this service does not accept that Host, or pages of that origin
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "CallFailed", "CommitFailed", "ConfiguredOtherwise", "EngineError", "EngineObstructed", "EngineRejected",
    "EngineUnavailable", "EventsLost", "Forbidden", "GenerationMismatch", "HostPortTaken", "InvalidInput", "InvalidProject",
    "InvalidSetting", "MachineFailed", "MachineNotFound", "NoMachineAvailable", "NotAssigned", "NotRunning",
    "NotSupported", "OrchestratorError", "OtherPool", "OutcomeUnknown", "PathNotFound", "PathOutOfReach",
    "PoolNotFound", "PortInUse", "PortTaken", "ProjectHasNoMachine", "ServiceUnreachable", "SettingsChanged", "SetupFailed",
    "StoreError", "StoreLocked", "StoreRefused", "TooManyRequests", "Unauthorized", "WorkerReadOnly",
]  # fmt: skip


class OrchestratorError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "internal_error"
    request_id: str = ""  # if a client raised it: the request's id in the service's log
    status: int | None = None  # if a client raised it: the HTTP status of the reply

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


class OtherPool(OrchestratorError):
    """The project has a machine of another pool."""

    code = "other_pool"

    def __init__(self, message: str | None = None, *, has: str = "", asked: str = "") -> None:
        super().__init__(message)
        self.has, self.asked = has, asked  # the pool of its machine, or in whose line it waits; the pool it asked for


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


class ConfiguredOtherwise(OrchestratorError):
    """The machine was configured with other values."""

    code = "configured_otherwise"


class SetupFailed(OrchestratorError):
    """Setting up the machine failed."""

    code = "setup_failed"

    def __init__(
        self, message: str = "", *, machine: str = "", exit_code: int | None = None, took_ms: int = 0, output: str = ""
    ) -> None:
        """`exit_code` is that of the hook; None if there was none, or if it was killed. `output` is its last lines, with
        the values of the request blotted out.
        """
        super().__init__(message)
        self.machine, self.exit_code, self.took_ms, self.output = machine, exit_code, took_ms, output


class SettingsChanged(OrchestratorError):
    """The settings changed since they were shown."""

    code = "settings_changed"


class MachineFailed(OrchestratorError):
    """The machine of this project failed."""

    code = "machine_failed"


class NoMachineAvailable(OrchestratorError):
    """Please retry in a few seconds"""

    code = "no_machine_available"

    def __init__(self, message: str | None = None, *, retry_after_s: float = 3.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class HostPortTaken(NoMachineAvailable):
    """Another process has the host port of this project's machine."""

    code = "port_taken"


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
    """Something on the engine's host stands in the way."""

    code = "engine_obstructed"

    def __init__(self, message: str | None = None, *, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind  # what it is in one word, such as disk or addresses; the message says what to do


class PortTaken(EngineError):
    """The host port is in use by another process."""

    code = "engine_port_taken"
    port: int | None = None  # which one, if that is known


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


class PortInUse(OrchestratorError):
    """Another process listens on this address."""

    code = "port_in_use"


class CallFailed(OrchestratorError):
    """The call failed."""

    code = "call_failed"


class EventsLost(CallFailed):
    """The events to continue from are not kept any more: list the machines again."""

    code = "events_lost"

    def __init__(self, message: str | None = None, *, oldest: int | None = None, newest: int | None = None) -> None:
        super().__init__(message)
        self.oldest, self.newest = oldest, newest


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
