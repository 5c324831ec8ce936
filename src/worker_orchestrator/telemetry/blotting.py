"""The last lines of what a program prints, without the values that nobody else may see."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from worker_orchestrator.telemetry.foreign_text import plain_lines

__all__ = ["BLOT", "BlottedOutput", "blotted"]

BLOT: Final = "***"
_BLOT: Final = BLOT.encode()
_KEPT_BYTES: Final = 4096
_KEPT_LINES: Final = 20
_LEAST_OF_LINE: Final = 4
"""Shorter lines of a value are in every text, such as a closing bracket. So are shorter beginnings of values."""
_QUICK_LENGTH: Final = 16 * 1024
"""Of all values."""
_MOST_WORDS: Final = 2000
"""Looking for more words than that takes too long. Then nothing of the output is shown."""


def blotted(text: str, values: Iterable[str]) -> str:
    """The last lines of this text with each of these values blotted out."""
    output = BlottedOutput(values)
    output.add("", text.encode())
    return output.last_lines()


def _words_of(values: Iterable[str]) -> list[bytes]:
    """What must not be seen of values: all of each, and each line, since a shell joins lines and programs indent them.

    Where there are too many, those that come first.
    """
    words: dict[bytes, None] = {}
    for value in filter(None, values):
        words[value.encode()] = None
        for line in map(str.strip, value.splitlines()):
            if len(line) >= _LEAST_OF_LINE:
                words[line.encode()] = None
            if len(words) > _MOST_WORDS:
                return list(words)
    return list(words)


@dataclass(slots=True)
class _Stream:
    """The end of one output as it came. `ends` has where its pieces ended, from its beginning on, with their numbers."""

    text: bytes = b""
    begin: int = 0  # how many bytes came before `text`
    ends: deque[tuple[int, int]] = field(default_factory=deque)

    def add(self, data: bytes, number: int, most: int) -> None:
        self.text += data
        self.ends.append((self.begin + len(self.text), number))
        if len(self.text) > 2 * most:  # not at each piece: that would copy all of it for each line
            self.begin += len(self.text) - most
            self.text = self.text[-most:]
            while self.ends[0][0] < self.begin:
                self.ends.popleft()

    def lines(self, words: list[bytes]) -> Iterator[tuple[int, bytes]]:
        """Each line, with the number of the piece that its end came with. A blotted value is never the end of a line."""
        line = b""
        numbers = iter(self.ends)
        end, number = next(numbers)
        for piece, until in _pieces(self.text, words):
            *whole, rest = piece.split(b"\n")
            position = until - len(piece)
            for part in whole:
                position += len(part) + 1
                while self.begin + position > end:
                    end, number = next(numbers)
                yield number, line + part
                line = b""
            line += rest
        if line:
            yield self.ends[-1][1], line


class BlottedOutput:
    """Keeps the end of an output in a bounded amount of memory, to show it without each of `values`.

    Of each stream so much more is kept than is shown that no value begins before it and ends in what is shown. So a value is
    found in whatever pieces it comes, and none is looked for before the end.
    """

    def __init__(self, values: Iterable[str]) -> None:
        self._values = [value for value in values if value]
        self._most = 2 * _KEPT_BYTES + 4 * max(map(len, self._values), default=0)
        self._streams: dict[str, _Stream] = {}
        self._count = 0

    def add(self, stream: str, data: bytes) -> None:
        """The next piece of this stream."""
        if data:
            self._count += 1
            self._streams.setdefault(stream, _Stream()).add(data, self._count, self._most)

    @property
    def is_quick(self) -> bool:
        """Whether `last_lines` takes less than some milliseconds. If not, a thread is the place for it."""
        return sum(map(len, self._values)) <= _QUICK_LENGTH

    def last_lines(self) -> str:
        """The last 20 lines of all streams, at most 4 KiB, as they can be shown on any terminal."""
        words = _words_of(self._values)
        if len(words) > _MOST_WORDS:
            return BLOT if self._streams else ""
        found = [line for stream in self._streams.values() for line in stream.lines(words)]
        text = b"\n".join(line for _, line in sorted(found, key=lambda line: line[0]))[-_KEPT_BYTES:]
        is_cut = any(stream.begin for stream in self._streams.values()) or len(text) == _KEPT_BYTES
        shown = plain_lines(text.decode(errors="replace")).encode()
        for word in words:  # a value may have had a terminal's sequence in it
            shown = shown.replace(word, _BLOT)
        lines = shown.decode().rstrip("\n").split("\n")
        if is_cut and len(lines) > 1:
            del lines[0]  # its beginning is lost
        return "\n".join(lines[-_KEPT_LINES:])


def _pieces(text: bytes, words: list[bytes]) -> Iterator[tuple[bytes, int]]:
    """The text in pieces, each with where it ends: what is shown as it is, and `BLOT` for what must not be seen."""
    begin = 0
    for start, end in _united(sorted(found for word in words for found in _places(text, word))):
        yield text[begin:start], start
        yield _BLOT, end
        begin = end
    yield text[begin:], len(text)


def _places(text: bytes, word: bytes) -> Iterator[tuple[int, int]]:
    """Where this word is in the text, also where the text ends in the middle of it."""
    at = text.find(word)
    while at >= 0:
        yield at, at + len(word)
        at = text.find(word, at + 1)
    at = text.find(word[:_LEAST_OF_LINE], max(0, len(text) - len(word) + 1))
    while at >= 0:
        if word.startswith(text[at:]):
            yield at, len(text)
            return
        at = text.find(word[:_LEAST_OF_LINE], at + 1)


def _united(places: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Places that overlap as one."""
    start, end = -1, -1
    for next_start, next_end in places:
        if next_start < end:
            end = max(end, next_end)
            continue
        if start >= 0:
            yield start, end
        start, end = next_start, next_end
    if start >= 0:
        yield start, end
