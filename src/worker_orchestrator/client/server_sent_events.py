"""Server-sent events out of bytes as they come. https://html.spec.whatwg.org/multipage/server-sent-events.html"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

__all__ = ["Frame", "FrameReader"]


class Frame(msgspec.Struct, frozen=True):
    """The fields between two blank lines. An id without data is a frame too: it says how far the stream is."""

    id: str
    event: str
    data: str


class FrameReader:
    """Splits a stream into frames.

    An incomplete frame is kept until its other bytes come. If the connection ends first it is dropped, so that its id never
    counts as received.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[str, list[str]] = {}

    def feed(self, more: bytes) -> Iterator[Frame]:
        """Every frame that is now complete."""
        lines = (self._rest + more).splitlines(keepends=True)
        is_whole = bool(lines) and lines[-1].endswith((b"\n", b"\r")) and not self._may_go_on(lines[-1])
        self._rest = b"" if is_whole or not lines else lines.pop()
        for line in lines:
            text = line.rstrip(b"\r\n").decode("utf-8", "replace")
            if text:
                self._add_field(text)
            elif self._fields:
                yield self._frame()

    @staticmethod
    def _may_go_on(line: bytes) -> bool:
        """Whether the next byte may be a line feed that belongs to this carriage return."""
        return line.endswith(b"\r")

    def _add_field(self, line: str) -> None:
        name, _, value = line.partition(":")
        if name in {"id", "event", "data"}:
            self._fields.setdefault(name, []).append(value.removeprefix(" "))

    def _frame(self) -> Frame:
        fields, self._fields = self._fields, {}
        last = {name: values[-1] for name, values in fields.items()}
        return Frame(last.get("id", ""), last.get("event", ""), "\n".join(fields.get("data", [])))
