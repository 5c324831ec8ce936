"""Which request caused what: the id that a caller sends, or gets, and finds again in the log.

The variable holds for what a request does itself. Background work that a request began inherits it, and must not read it.
"""

from __future__ import annotations

import itertools
import re
import secrets
from contextvars import ContextVar
from typing import Final

__all__ = ["REQUEST_ID", "fit", "new_id"]

REQUEST_ID: Final[ContextVar[str]] = ContextVar("request_id", default="")
"""Empty where no request is under way."""

_FIT: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_process: Final = secrets.token_hex(4)
_count: Final = itertools.count(1)


def new_id() -> str:
    """An id for a request that came without one."""
    return f"{_process}-{next(_count)}"


def fit(text: str) -> str:
    """The id that a caller gave its request, if it is fit for a log line; else nothing."""
    return text if _FIT.fullmatch(text) else ""
