"""The JSON shapes of an assign: what is asked for, and how the machine was set up with it. A part of `wire/v1.py`."""

from __future__ import annotations

import msgspec

__all__ = ["AssignBody", "Setup"]


class AssignBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`pool`: a machine of exactly this pool. None: whatever machine the project has, else one of the default pool.

    `env`, `secrets` and `files` (a tar archive as base64) configure the machine. `replace`: also if it was configured with
    other values.

    What is not asked for is not sent, since a service of an earlier version refuses a key that it does not know.
    """

    wait_seconds: float | None = None
    metadata: dict[str, str] | None = None
    pool: str | None = None
    ttl: float | None = None
    max_age: float | None = None
    idle_timeout: float | None = None
    confirm_within: float | None = None
    env: dict[str, str] | None = None
    secrets: dict[str, str] | None = None
    files: str | None = None
    replace: bool | None = None

    def __repr__(self) -> str:
        """Without the values, so that no log and no traceback shows them."""
        return f"{type(self).__name__}(...)"


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """How a machine was set up. `exit_code` is that of the hook; None if the pool has none, or if it was killed.

    `ms` is how long that took. `output` has the last lines of the hook, in the reply to the request that had it run only.
    """

    exit_code: int | None
    ms: int
    output: str = ""
