"""Which message goes to the webhook next, and when it is tried again. Times are monotonic seconds.

Those of one project go in their order, one at a time: one that was not taken keeps back the later ones of its project, and
nobody else's.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from worker_orchestrator.store.outbox import Letter

__all__ = ["FIRST_PAUSE_S", "KEPT_S", "LONGEST_PAUSE_S", "MOST", "WebhookQueue"]

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 3600.0
KEPT_S: Final = 86_400.0
"""A message that was not taken in this time is given up."""
MOST: Final = 10_000
"""Where more wait, the oldest are given up."""


@dataclass(slots=True)
class _Line:
    """The messages of one project, the oldest first. `not_before`: when that one is due; `failures`: its tries so far."""

    letters: deque[Letter] = field(default_factory=deque)
    not_before: float = 0.0
    failures: int = 0
    is_under_way: bool = False


class WebhookQueue:
    """The messages that wait. `len` tells how many, with those under way."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}  # by project; none is empty
        self._until: dict[int, float] = {}  # by the number of each message, the oldest first: when it is given up
        self._projects: dict[int, str] = {}
        self._heap: list[tuple[float, int, str]] = []  # when the first of a project is due, its number, the project

    def __len__(self) -> int:
        return len(self._until)

    def add(self, letter: Letter, now: float, age_s: float = 0.0) -> None:
        """The newest of all. `age_s`: for how long it has waited already."""
        self._until[letter.number] = now + KEPT_S - age_s
        self._projects[letter.number] = letter.project
        line = self._lines.get(letter.project)
        if line is None:
            line = self._lines[letter.project] = _Line(not_before=now)
            heapq.heappush(self._heap, (now, letter.number, letter.project))
        line.letters.append(letter)

    def due_at(self) -> float | None:
        """When the next one is due; None if none is, but for those under way."""
        while self._heap and not self._is_first(*self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take(self, now: float) -> Letter | None:
        """The next one that is due. It is under way from now on, until `taken` or `failed` is called with it."""
        due_at = self.due_at()
        if due_at is None or due_at > now:
            return None
        line = self._lines[heapq.heappop(self._heap)[2]]
        line.is_under_way = True
        return line.letters[0]

    def taken(self, letter: Letter, now: float) -> None:
        """It arrived."""
        line = self._lines[letter.project]
        line.is_under_way = False
        self._leave(letter.number, now)

    def failed(self, letter: Letter, now: float, at_least_s: float = 0.0) -> bool:
        """It was not taken, and is tried again after a growing pause, `at_least_s`. False if it is given up instead."""
        line = self._lines[letter.project]
        line.is_under_way = False
        if now >= self._until[letter.number]:
            self._leave(letter.number, now)
            return False
        pause_s = min(FIRST_PAUSE_S * 2.0 ** min(line.failures, 16), LONGEST_PAUSE_S) * random.uniform(0.5, 1)  # noqa: S311
        line.failures += 1
        self._wait(letter.project, line, now + max(pause_s, min(at_least_s, LONGEST_PAUSE_S)))
        return True

    def give_up_surplus(self, now: float) -> list[int]:
        """Give up the oldest of too many, but for those under way. Returns their numbers."""
        surplus = len(self) - MOST
        given_up = list[int]()
        for number, project in self._projects.items() if surplus > 0 else ():
            line = self._lines[project]
            if len(given_up) == surplus:
                break
            if not (line.is_under_way and line.letters[0].number == number):
                given_up.append(number)
        for number in given_up:
            self._leave(number, now)
        return given_up

    def _is_first(self, due_at: float, number: int, project: str) -> bool:
        """Whether this entry of the heap is that of the project's first message."""
        line = self._lines.get(project)
        return line is not None and (line.not_before, line.letters[0].number) == (due_at, number)

    def _leave(self, number: int, now: float) -> None:
        """Forget a message. If it was the first of its project, the next one is due."""
        del self._until[number]
        project = self._projects.pop(number)
        line = self._lines[project]
        was_first = line.letters[0].number == number
        if was_first:
            line.letters.popleft()
        else:
            line.letters = deque(letter for letter in line.letters if letter.number != number)
        if not line.letters:
            del self._lines[project]
        elif was_first:
            line.failures = 0
            self._wait(project, line, now)

    def _wait(self, project: str, line: _Line, until: float) -> None:
        line.not_before = until
        heapq.heappush(self._heap, (until, line.letters[0].number, project))
