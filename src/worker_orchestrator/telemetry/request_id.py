"""The id of a request, which a caller sends or gets, and finds again in the log.

The variable is valid for what the request does itself. Background work that a request starts inherits it, and must not read
it.
"""

from __future__ import annotations

import itertools
import re
import secrets
from contextvars import ContextVar
from typing import Final

__all__ = ["REQUEST_ID", "fit", "new_id"]

REQUEST_ID: Final[ContextVar[str]] = ContextVar("request_id", default="")
"""Empty outside of a request."""

_FIT: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_process: Final = secrets.token_hex(4)
_count: Final = itertools.count(1)


def new_id() -> str:
    """A new id, for a request that came without one."""
    return f"{_process}-{next(_count)}"


def fit(text: str) -> str:
    """The id that a caller gave its request, if it may stand in a log line; otherwise empty."""
    return text if _FIT.fullmatch(text) else ""
