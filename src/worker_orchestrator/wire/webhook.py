"""What the webhook is sent: the JSON body of one POST. docs/deadlines.md says what each key means."""

from __future__ import annotations

from datetime import datetime

import msgspec

__all__ = ["WebhookMessage"]


class WebhookMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tells of one change of one assignment. `id` is also that of the header, and the same at each try.

    `expires_by` and `expires_at` say by which deadline, and when, an assignment ends that is expiring.
    """

    id: str
    type: str
    at: datetime
    project: str
    machine: str
    pool: str
    generation: int
    reason: str
    expires_by: str | None = None
    expires_at: datetime | None = None
