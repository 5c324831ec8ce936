"""Server-sent events out of bytes as they come. https://html.spec.whatwg.org/multipage/server-sent-events.html"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

__all__ = ["Frame", "Frames"]


class Frame(msgspec.Struct, frozen=True):
    """What stands between two blank lines. An id without data is a frame too: it says where the stream stands."""

    id: str
    event: str
    data: str


class Frames:
    """Half a frame is kept for the next bytes, or lost with its connection: so its id never counts as seen."""

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[str, list[str]] = {}

    def feed(self, more: bytes) -> Iterator[Frame]:
        """Every frame that is now complete."""
        lines = (self._rest + more).splitlines(keepends=True)
        whole = bool(lines) and lines[-1].endswith((b"\n", b"\r")) and not self._may_go_on(lines[-1])
        self._rest = b"" if whole or not lines else lines.pop()
        for line in lines:
            text = line.rstrip(b"\r\n").decode("utf-8", "replace")
            if text:
                self._take(text)
            elif self._fields:
                yield self._frame()

    @staticmethod
    def _may_go_on(line: bytes) -> bool:
        """A line feed may still belong to this carriage return."""
        return line.endswith(b"\r")

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        if name in {"id", "event", "data"}:
            self._fields.setdefault(name, []).append(value.removeprefix(" "))

    def _frame(self) -> Frame:
        fields, self._fields = self._fields, {}
        last = {name: values[-1] for name, values in fields.items()}
        return Frame(last.get("id", ""), last.get("event", ""), "\n".join(fields.get("data", [])))
