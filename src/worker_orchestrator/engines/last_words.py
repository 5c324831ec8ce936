"""Removes the values of a worker's environment from its last lines, before they go into a log or a reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["without_values"]

_SHORTEST: Final = 6
"""Characters of a value that may be a secret. Shorter ones are words and numbers: replacing them would hide the cause."""


def without_values(text: str, env: Mapping[str, str]) -> str:
    """`text` with `$NAME` in place of the value of each variable, the longest first, since one may hold another."""
    for name, value in sorted(env.items(), key=lambda item: -len(item[1])):
        if len(value) >= _SHORTEST:
            text = text.replace(value, f"${name}")
    return text
