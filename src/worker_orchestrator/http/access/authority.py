"""The name and the port in a Host header, or in the origin of a page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

__all__ = ["LAST_PORT", "USUAL_PORTS", "hostname", "port_of"]

LAST_PORT: Final = 65535
USUAL_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}
_AUTHORITY: Final = re.compile(r"(?:\[([0-9a-f:.]*:[0-9a-f:.]*)\]|([^\[\]:/?#@\s]+))(?::(\d{1,5})?)?")


@lru_cache(maxsize=256)
def hostname(authority: str) -> str | None:
    """The name in `name:port`, in lower case, without brackets and final dot; None if this is not of that form."""
    match = _AUTHORITY.fullmatch(authority.lower())
    if match is None or int(match[3] or 0) > LAST_PORT:
        return None
    return (match[1] or match[2]).rstrip(".")


def port_of(authority: str, usual: int) -> int:
    """The port in there; the usual one if there is none."""
    match = _AUTHORITY.fullmatch(authority)
    return usual if match is None or not match[3] else int(match[3])
