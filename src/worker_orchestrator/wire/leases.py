"""The JSON shapes of deadlines of assignments. `http/openapi.yaml` says what each key means."""

from __future__ import annotations

from datetime import datetime

import msgspec

__all__ = ["KeepBody", "Lease"]


class KeepBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Deadlines in place of those of the assignment, in seconds. None: as it is; 0: no such deadline."""

    ttl: float | None = None
    max_age: float | None = None
    idle_timeout: float | None = None
    confirm_within: float | None = None


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The deadlines of an assignment in seconds, None where there is none.

    `expires_at` is when it ends if nobody uses it or asks for it until then, and `expires_by` which deadline ends it then.
    `last_active_at` is None if no activity is known.
    """

    ttl: float | None
    max_age: float | None
    idle_timeout: float | None
    confirm_within: float | None
    expires_at: datetime | None
    expires_by: str | None
    last_active_at: datetime | None
