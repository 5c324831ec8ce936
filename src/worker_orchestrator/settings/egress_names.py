"""What the workers of a pool may connect to: a word, or the names of hosts that a proxy leads to.

An entry is NAME, *.NAME for every name below one, NAME:PORT, or NAME=ADDRESS for a name that leads to this address whatever
the DNS says. Such an address may be private: it is the operator's own word.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["NAMES", "WEB_PORTS", "Entry", "outbound", "read_entry"]

NAMES: Final = "names"
"""The kind of `outbound` that is a list."""
WEB_PORTS: Final = (80, 443)
_WORDS: Final = ("any", "host")
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_ENTRY: Final = re.compile(rf"(\*\.)?((?:{_LABEL}\.)*(?!\d+(?:[:=]|$)){_LABEL})(?::(\d{{1,5}}))?(?:=([0-9a-f.:]+))?")
_MOST: Final = 256
_SAID: Final = (
    "any, host, or names that workers may reach, such as packages.example.com, *.example.org, git.example.com:8443 or "
    "index.example.com:8080=10.0.0.5"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One name, without `*.` in front: `below` is for the names under it. `ports`: empty for those of the web.

    `address`: where it leads, if the operator says so.
    """

    name: str
    below: bool = False
    port: int | None = None
    address: str = ""

    @property
    def ports(self) -> tuple[int, ...]:
        return WEB_PORTS if self.port is None else (self.port,)


def read_entry(text: str) -> Entry:
    """Raises ValueError."""
    match = _ENTRY.fullmatch(text.strip().lower().rstrip("."))
    if match is None or len(match[2]) > 253:
        raise ValueError(_SAID)
    below, port, address = bool(match[1]), int(match[3]) if match[3] else None, match[4] or ""
    is_short = "." not in match[2] and not address
    if is_short or (below and address) or (port is not None and not 0 < port < 65536):
        raise ValueError(_SAID)
    return Entry(match[2], below, port, str(ipaddress.ip_address(address)) if address else "")


def outbound(value: Any) -> str | tuple[str, ...]:
    """A word, or names: from a list or a text with commas. Raises ValueError."""
    items = value.split(",") if isinstance(value, str) else value
    if isinstance(value, str) and value in _WORDS:
        return value
    if not isinstance(items, list | tuple) or not 0 < len(items) <= _MOST:
        raise ValueError(_SAID)
    if not all(isinstance(item, str) for item in items):
        raise ValueError(_SAID)
    try:
        for item in items:
            read_entry(item)
    except ValueError:
        raise ValueError(_SAID) from None
    return tuple(item.strip().lower() for item in items)
