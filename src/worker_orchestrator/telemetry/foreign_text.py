"""Words of others (Docker, proxies, images, registries, helpers), made fit to be repeated in a message or a log line."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["plain", "plain_lines"]

MOST: Final = 400
_ESCAPE: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")
_BLANK: Final = re.compile(r"\s+")


def plain(words: object, most: int = MOST) -> str:
    """`words` as one line of at most `most` characters, without control characters and what terminals take for commands.

    Of longer ones the beginning and the end are kept: many a message tells its cause last.
    """
    text = str(words)
    if len(text) > 16 * most:  # what is cut away anyway need not be looked at: it may be megabytes
        text = text[: 8 * most] + text[-8 * most :]
    text = _printable(_BLANK.sub(" ", _ESCAPE.sub("", text))).strip()
    if len(text) <= most:
        return text
    end = most // 3
    return f"{text[: most - end - 3].rstrip()} … {text[-end:].lstrip()}"


def plain_lines(text: str) -> str:
    """`text` with its lines, but without other control characters and what terminals take for commands."""
    lines = _ESCAPE.sub("", text).replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ").split("\n")
    return "\n".join(map(_printable, lines))


def _printable(text: str) -> str:
    """Each character that cannot be printed becomes the sign for what is not known."""
    return text if text.isprintable() else "".join(one if one.isprintable() else "\ufffd" for one in text)
