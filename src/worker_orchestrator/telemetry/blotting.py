"""The last lines of what a program prints, without the values that nobody else may see."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from worker_orchestrator.telemetry.foreign_text import plain_lines

__all__ = ["BLOT", "BlottedOutput", "blotted"]

BLOT: Final = "***"
_BLOT: Final = BLOT.encode()
_KEPT_BYTES: Final = 4096
_KEPT_LINES: Final = 20
_LEAST_OF_LINE: Final = 4
"""Shorter lines of a value are in every text, such as a closing bracket."""


def blotted(text: str, values: Iterable[str]) -> str:
    """The text with each of these values blotted out, the longest first."""
    output = BlottedOutput(values)
    output.add("", text.encode())
    return output.last_lines()


def _words_of(value: str) -> Iterator[str]:
    """What must not be seen of a value: all of it, and each line, since a shell joins lines and programs indent them."""
    if value:
        yield value
        yield from (line for line in map(str.strip, value.splitlines()) if len(line) >= _LEAST_OF_LINE)


class BlottedOutput:
    """Keeps the end of an output in a bounded amount of memory, and each of `values` in it only as `BLOT`.

    A value that comes in pieces is found as well: what may be the beginning of one waits for the next piece of its stream.
    """

    def __init__(self, values: Iterable[str]) -> None:
        words = sorted({word.encode() for value in values for word in _words_of(value)}, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, words))) if words else None
        self._held_bytes = len(words[0]) - 1 if words else 0
        self._held: dict[str, bytes] = {}  # by stream: what may be the beginning of a value
        self._lines: dict[str, bytes] = {}  # by stream: a line that has no end yet
        self._end = b""
        self._is_cut = False

    def add(self, stream: str, data: bytes) -> None:
        """The next piece of this stream."""
        text = self._held.get(stream, b"") + data
        kept, self._held[stream] = self._judged(text, len(text) - self._held_bytes)
        text = self._lines.get(stream, b"") + kept
        whole = len(text) if len(text) > _KEPT_BYTES else text.rfind(b"\n") + 1
        self._append(text[:whole])
        self._lines[stream] = text[whole:]

    def last_lines(self) -> str:
        """The last 20 lines of all streams, at most 4 KiB, as they can be shown on any terminal."""
        for stream, text in self._held.items():
            kept, _ = self._judged(text, len(text))
            self._append(self._lines[stream] + kept)
            self._held[stream] = self._lines[stream] = b""
        shown = plain_lines(self._end.decode(errors="replace"))
        again, _ = self._judged(shown.encode(), len(shown.encode()))  # a value may have had a terminal's sequence in it
        lines = again.decode().rstrip("\n").split("\n")
        if self._is_cut and len(lines) > 1:
            del lines[0]  # its beginning is lost
        return "\n".join(lines[-_KEPT_LINES:])

    def _append(self, data: bytes) -> None:
        self._end += data
        if len(self._end) > _KEPT_BYTES:
            self._end, self._is_cut = self._end[-_KEPT_BYTES:], True

    def _judged(self, text: bytes, until: int) -> tuple[bytes, bytes]:
        """What begins before `until`, blotted out, and the rest: only there may a value begin whose end is to come."""
        if self._pattern is None:
            return text, b""
        pieces: list[bytes] = []
        begin = 0
        for match in self._pattern.finditer(text):
            if match.start() >= until:
                break
            pieces += [text[begin : match.start()], _BLOT]
            begin = match.end()
        end = max(begin, until)
        return b"".join([*pieces, text[begin:end]]), text[end:]
