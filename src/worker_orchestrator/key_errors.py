"""Errors of keys, beside those in `errors.py`: `code` is the name on the wire, for ever."""

from __future__ import annotations

from worker_orchestrator.errors import OrchestratorError

__all__ = ["KeyExists", "KeyLimitReached", "KeyNotFound", "RightMissing"]


class KeyLimitReached(OrchestratorError):
    """The key has as many machines as it may have."""

    code = "key_limit_reached"


class KeyNotFound(OrchestratorError):
    """There is no such key."""

    code = "key_not_found"


class KeyExists(OrchestratorError):
    """The name of the key is taken."""

    code = "key_exists"


class RightMissing(OrchestratorError):
    """The key may not do this."""

    code = "right_missing"
