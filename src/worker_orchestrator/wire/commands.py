"""The shapes of commands in workers: what is asked for, and what comes back, whole or in pieces. A part of `wire/v1.py`."""

from __future__ import annotations

import msgspec

__all__ = ["ExecBody", "ExecEnd", "ExecOutput", "ExecResult"]


class ExecBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    command: list[str]
    stdin: str = ""
    env: dict[str, str] = {}
    user: str = ""
    workdir: str = ""
    timeout_seconds: float = 60.0


class ExecResult(msgspec.Struct, frozen=True, kw_only=True):
    """`exit_code` is None if the command was killed after its time limit."""

    exit_code: int | None
    stdout: str
    stderr: str
    truncated: bool


class ExecOutput(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of what a command writes, while it runs. `stream` is stdout or stderr; a text may end within a line."""

    stream: str
    text: str


class ExecEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended whose output came in pieces. `exit_code` is None if it was killed after its time limit.

    `truncated`: some of its output is missing.
    """

    exit_code: int | None
    truncated: bool
