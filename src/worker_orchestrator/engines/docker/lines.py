"""Puts whole lines together from the pieces in which Docker keeps them. No I/O.

Docker keeps a line of more than 16 KiB in pieces, counts pieces when it is asked for lines, and begins each with a time.
Which pieces make a line is known from the piece before on the same stream: if that has no line feed at its end, the line
goes on.
Source: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach (stream format)
"""

from __future__ import annotations

import re
from array import array
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

__all__ = ["Begin", "LastLines", "Lines", "Piece", "Seen"]

_TIME: Final = re.compile(rb"(\d{4}-\d\d-\d\dT[0-9:]+)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")
_Moment = tuple[datetime, str]
_EARLIEST: Final[_Moment] = (datetime.min.replace(tzinfo=UTC), "")
_FAR: Final = 1024
"""So many pieces before those that were asked for are searched for the previous piece of a stream."""


class Piece(NamedTuple):
    """One piece of output: `stream` is 1 or 2, `time` is empty if no times were asked for."""

    stream: int
    time: bytes
    text: bytes

    @classmethod
    def of(cls, stream: int, data: bytes) -> Piece:
        """A piece that was asked for with its time."""
        time, _, text = data.partition(b" ")
        return cls(stream, time, text) if _TIME.fullmatch(time) else cls(stream, b"", data)

    @property
    def ends_line(self) -> bool:
        return self.text.endswith(b"\n")


class Begin(NamedTuple):
    """The piece with which the last lines begin, and the streams on which a line of before goes on.

    `pieces`: with it and behind it. `twins`: those right before it on its stream that have its time. Podman gives all that
    it read at once the same time.
    """

    stream: int
    mark: int
    before: frozenset[int]
    pieces: int
    twins: int = 0


class Seen:
    """The last pieces: only what shows where lines begin is kept of each."""

    def __init__(self) -> None:
        self._streams, self._ends, self._marks = array("b"), array("b"), array("q")

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, piece: Piece) -> None:
        self._streams.append(piece.stream)
        self._ends.append(piece.ends_line)
        self._marks.append(hash(piece.time))

    def begin(self, lines: int, *, all_of_them: bool) -> Begin | None:
        """Where the last lines (at least one) begin; None if more must be seen. `all_of_them`: no pieces came before."""
        starts, unsure = self._starts(all_of_them=all_of_them)
        if len(starts) < lines and not all_of_them:
            return None
        chosen = starts[-lines:]
        if not chosen or (unsure.intersection(chosen) and not self._are_lines(unsure.intersection(chosen), lines)):
            return None
        first = chosen[0]
        goes_on = {stream: not ends for stream, ends in zip(self._streams[:first], self._ends[:first], strict=True)}
        before = frozenset(stream for stream, on in goes_on.items() if on)
        twins = self._twins(first)
        if twins and not all_of_them and self._streams[first] not in self._streams[: twins[0]]:
            return None  # there may be more of them before what was seen
        return Begin(self._streams[first], self._marks[first], before, len(self) - first, len(twins))

    def _twins(self, first: int) -> list[int]:
        mine = (self._streams[first], self._marks[first])
        return [number for number in range(first) if (self._streams[number], self._marks[number]) == mine]

    def _starts(self, *, all_of_them: bool) -> tuple[list[int], set[int]]:
        """The pieces with which lines begin, and those of them for which that is not certain."""
        starts, unsure = [], set()
        ended: dict[int, bool] = {}
        for number, (stream, ends) in enumerate(zip(self._streams, self._ends, strict=True)):
            if ended.get(stream, True):
                starts.append(number)
            if stream not in ended and not all_of_them:
                unsure.add(number)
            ended[stream] = bool(ends)
        return starts, unsure

    def _are_lines(self, unsure: set[int], lines: int) -> bool:
        """Whether these are taken for whole lines: their stream is so quiet that what came before is far away."""
        return len(self) >= 4 * lines + _FAR and all(self._ends[number] for number in unsure)


class Lines:
    """Puts pieces together, from `begin` on, if that is given, which must be among the first `within`.

    With `timestamps` each line begins with its time. `most`: no more lines than these, if it is given.
    """

    def __init__(
        self, *, timestamps: bool, begin: Begin | None = None, within: int = 0, most: int | None = None
    ) -> None:
        self._timestamps, self._begin, self._within, self._most = timestamps, begin, within, most
        self._goes_on: dict[int, bool] = {}
        self._left_out = begin.before if begin is not None else frozenset[int]()
        self._twins = begin.twins if begin is not None else 0
        self.has_begun = begin is None
        self.is_over = False

    def texts(self, piece: Piece) -> Iterator[bytes]:
        """What is to be shown of the next piece."""
        for part, begins in self.parts(piece):
            yield part.time + b" " + part.text if begins and self._timestamps and part.time else part.text

    def parts(self, piece: Piece) -> Iterator[tuple[Piece, bool]]:
        """The next piece, and whether a line begins with it; nothing if it is not to be shown."""
        if not self.has_begun:
            assert self._begin is not None, "it would have begun"
            is_it = (piece.stream, hash(piece.time)) == (self._begin.stream, self._begin.mark)
            if not is_it or self._twins > 0:
                self._twins -= is_it
                self._within -= 1
                self.is_over = self._within <= 0
                return
            self.has_begun = True
        if piece.stream in self._left_out:
            if piece.ends_line:
                self._left_out -= {piece.stream}
            return
        if self._goes_on.get(piece.stream):
            yield piece, False
        elif self._most == 0:
            self.is_over = True
            return
        else:
            self._most = None if self._most is None else self._most - 1
            yield piece, True
        self._goes_on[piece.stream] = not piece.ends_line


class LastLines:
    """The last `count` lines of both streams, to be read by their times. Of each stream `most_bytes` are kept at most.

    Docker reads the two streams side by side, so that what it keeps is not always in the order in which it came.
    """

    def __init__(self, count: int, most_bytes: int) -> None:
        self._count, self._most_bytes = count, most_bytes
        self._streams: dict[int, deque[tuple[_Moment, int, bytearray]]] = {}  # time, number and text of each line
        self._sizes: dict[int, int] = {}
        self._added = 0
        self._last = _EARLIEST

    def add(self, piece: Piece, *, begins: bool) -> None:
        """`begins`: a line begins with it."""
        lines = self._streams.setdefault(piece.stream, deque())
        if begins:
            self._added += 1
            self._last = _moment(piece.time) or self._last
            lines.append((self._last, self._added, bytearray()))
        lines[-1][2].extend(piece.text)
        size = self._sizes.get(piece.stream, 0) + len(piece.text)
        while len(lines) > 1 and (len(lines) > self._count or size > self._most_bytes):
            size -= len(lines.popleft()[2])
        cut = max(0, size - self._most_bytes)
        del lines[-1][2][:cut]
        self._sizes[piece.stream] = size - cut

    def text(self) -> bytes:
        """These lines, each with an end."""
        ordered = sorted((line for lines in self._streams.values() for line in lines), key=lambda line: line[:2])
        kept = (bytes(text) for _, _, text in ordered[-self._count :])
        return b"".join(text if text.endswith(b"\n") else text + b"\n" for text in kept)


def _moment(time: bytes) -> _Moment | None:
    """To the nanosecond, and whatever the number of its digits; None where there is none."""
    parts = _TIME.fullmatch(time)
    if parts is None:
        return None
    whole, fraction, zone = (part.decode() for part in parts.groups(b""))
    try:
        return datetime.fromisoformat(whole + zone), fraction.ljust(9, "0")
    except ValueError:
        return None
