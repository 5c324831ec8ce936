"""How a call of a tool fails: a code that never changes, and a sentence that says what to do next."""

from __future__ import annotations

__all__ = ["ToolFailed"]


class ToolFailed(Exception):
    """The tool could not do it, for a reason that no error of the service says."""

    def __init__(self, code: str, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(message)
