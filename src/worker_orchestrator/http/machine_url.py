"""How both APIs name where a machine is: the URL of its worker, and the short form of the engine's own id."""

from __future__ import annotations

from typing import Final

__all__ = ["SHORT_ID", "url_start"]

SHORT_ID: Final = 12
"""So many characters of the engine's own id are shown."""


def url_start(host: str) -> str:
    """The URL of a machine on this host name or address, up to its port."""
    return f"http://[{host}]:" if ":" in host else f"http://{host}:"
