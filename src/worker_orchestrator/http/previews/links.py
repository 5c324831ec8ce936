"""Links by which a preview can be seen for a while, and the cookies that come of them. Both are one signed text.

It names the end, and its signature covers the project, its machine and the assignment. So yesterday's link does not show the
next project on the same machine, nor the next machine of the same project. Nothing is stored: who has the key can check it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Final

from worker_orchestrator.core.machine import Machine

__all__ = ["LONGEST_S", "Links"]

LONGEST_S: Final = 30 * 86_400
_TEXT: Final = re.compile(r"(\d{1,12})\.([A-Za-z0-9_-]{43})")


class Links:
    """`key` is a secret of this service."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, machine: Machine, ends_at: int) -> str:
        """What shows the preview of the project that has this machine until then, in seconds since 1970."""
        return f"{ends_at}.{self._signature(machine, ends_at)}"

    def left_s(self, text: str, machine: Machine, now: float) -> float | None:
        """So many seconds this text shows it; None if it does not. `now` is in seconds since 1970."""
        found = _TEXT.fullmatch(text)
        if found is None or machine.holding is None:
            return None
        ends_at = int(found[1])
        if not hmac.compare_digest(found[2], self._signature(machine, ends_at)) or ends_at <= now:
            return None
        return ends_at - now

    def proof(self, host: str, key: str) -> str:
        """Whoever shows this was told by this service to ask of this host under this assignment."""
        return _encoded(hmac.digest(self._key, f"route\n{host}\n{key}".encode(), hashlib.sha256))

    def is_proof(self, text: str, host: str, key: str) -> bool:
        return hmac.compare_digest(text.encode(), self.proof(host, key).encode())

    def _signature(self, machine: Machine, ends_at: int) -> str:
        covered = f"preview\n{machine.project}\n{machine.id}\n{machine.generation}\n{ends_at}"
        return _encoded(hmac.digest(self._key, covered.encode(), hashlib.sha256))


def _encoded(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
