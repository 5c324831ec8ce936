"""Text of other programs (Docker, proxies, images, registries, helpers), made safe for messages and log lines."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["plain", "plain_lines"]

MOST: Final = 400
_ESCAPE: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")
_BLANK: Final = re.compile(r"\s+")


def plain(words: object, most: int = MOST) -> str:
    """`words` as one line of at most `most` characters, without control characters and terminal escape sequences.

    A longer text keeps its beginning and its end, since many messages state their cause last.
    """
    text = str(words)
    if len(text) > 16 * most:  # it may be megabytes: do not search what is cut away anyway
        text = text[: 8 * most] + text[-8 * most :]
    text = _printable(_BLANK.sub(" ", _ESCAPE.sub("", text))).strip()
    if len(text) <= most:
        return text
    end = most // 3
    return f"{text[: most - end - 3].rstrip()} … {text[-end:].lstrip()}"


def plain_lines(text: str) -> str:
    """`text` with its lines, but without other control characters and terminal escape sequences."""
    lines = _ESCAPE.sub("", text).replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ").split("\n")
    return "\n".join(map(_printable, lines))


def _printable(text: str) -> str:
    """Replaces each character that cannot be printed by U+FFFD."""
    return (
        text
        if text.isprintable()
        else "".join(character if character.isprintable() else "\ufffd" for character in text)
    )
