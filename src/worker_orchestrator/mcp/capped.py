"""The head and the tail of an output that may be longer than a model can read."""

from __future__ import annotations

from collections import deque

__all__ = ["Capped"]


class Capped:
    """Text that comes in pieces. Of more than `limit` characters, the first half and the last half of these are kept."""

    def __init__(self, limit: int) -> None:
        self._half = max(limit // 2, 1)
        self._head, self._tail = "", deque[str]()
        self._in_tail, self.length = 0, 0

    def add(self, text: str) -> None:
        self.length += len(text)
        room = self._half - len(self._head)
        self._head += text[:room]
        if not (rest := text[room:]):
            return
        self._tail.append(rest)
        self._in_tail += len(rest)
        while self._in_tail - len(self._tail[0]) >= self._half:
            self._in_tail -= len(self._tail.popleft())

    @property
    def cut(self) -> int:
        """How many characters are missing in the middle."""
        return max(self.length - 2 * self._half, 0)

    def text(self) -> str:
        """What was kept, with a line in the place of what was not."""
        tail = "".join(self._tail)
        if not self.cut:
            return self._head + tail
        advice = "To see them, write the output to a file and read it in parts."
        note = f"[{self.cut} of {self.length} characters cut here. {advice}]"
        return f"{self._head}\n{note}\n{tail[-self._half :]}"
