"""Everything that can go wrong, as one tree. It knows no HTTP: `http.errors` maps classes to statuses.

A class's docstring is its default message::

    OrchestratorError
    ├── InvalidInput           what was asked for cannot be, and asking again will not help
    │   ├── InvalidProject
    │   └── InvalidSetting
    ├── MachineNotFound
    ├── NoMachineAvailable     nothing could be assigned now; a later try may succeed
    ├── EngineError
    │   ├── EngineUnavailable  the engine did not answer: again later
    │   ├── EngineRejected     the engine refused: again will not help
    │   ├── PortTaken          the host port belongs to somebody else: again with another one
    │   └── OutcomeUnknown     the call may or may not have happened: look before doing anything
    └── StoreError
        ├── CommitFailed       nothing of this batch was stored, and nothing of it is true
        ├── StoreLocked        another process owns this state directory
        └── StoreRefused       the state directory is not one that this service may use as it is
"""

from __future__ import annotations

__all__ = [
    "CommitFailed",
    "EngineError",
    "EngineRejected",
    "EngineUnavailable",
    "InvalidInput",
    "InvalidProject",
    "InvalidSetting",
    "MachineNotFound",
    "NoMachineAvailable",
    "OrchestratorError",
    "OutcomeUnknown",
    "PortTaken",
    "StoreError",
    "StoreLocked",
    "StoreRefused",
]


class OrchestratorError(Exception):
    """Something went wrong."""

    def __init__(self, message: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        super().__init__(self.message)


class InvalidInput(OrchestratorError):
    """The request cannot be carried out as it stands."""


class InvalidProject(InvalidInput):
    """A project id is 1 to 128 letters, digits or . _ ~ : @ + = , - and does not start with a dot."""


class InvalidSetting(InvalidInput):
    """A setting is unknown or has a value that is not allowed."""


class MachineNotFound(OrchestratorError):
    """Machine not found."""


class NoMachineAvailable(OrchestratorError):
    """Please retry in a few seconds"""

    def __init__(self, message: str | None = None, *, retry_after_s: float = 3.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EngineError(OrchestratorError):
    """The container engine failed."""


class EngineUnavailable(EngineError):
    """The container engine does not answer."""


class EngineRejected(EngineError):
    """The container engine refused the request."""


class PortTaken(EngineError):
    """The host port is in use by another process."""


class OutcomeUnknown(EngineError):
    """The container engine did not say whether the request was carried out."""


class StoreError(OrchestratorError):
    """The state directory cannot be used."""


class CommitFailed(StoreError):
    """The change could not be stored, so it was not made."""


class StoreLocked(StoreError):
    """Another orchestrator uses this state directory."""


class StoreRefused(StoreError):
    """This state directory belongs to another engine, another machine or another version."""
