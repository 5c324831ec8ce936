"""What the API server is asked, and what it may answer: the language between the decisions here and whoever sends them.

A decision that takes several calls is a generator (`Steps`). It yields the calls that may be sent at the same time, gets
their answers in the same order, and returns what came of all. So it reads from top to bottom and does no I/O.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

__all__ = [
    "Answer",
    "Call",
    "Create",
    "Delete",
    "Kind",
    "Outdated",
    "Patch",
    "Read",
    "ReadAll",
    "Steps",
    "Verdict",
    "together",
]

T = TypeVar("T")


class Outdated(Exception):
    """What this leader knows is not what there is: it has to stop, and whoever leads then reads everything anew.

    `epoch` is that of another leader that has written, 0 if none has: the next term must be a later one.
    """

    def __init__(self, why: str, epoch: int = 0) -> None:
        super().__init__(why)
        self.epoch = epoch


class Kind(StrEnum):
    """What there is, by the name that the API has for it."""

    POD = "pods"
    LEASE = "leases"


class Create(msgspec.Struct, frozen=True):
    """Make this object. Its name makes it the only one."""

    kind: Kind
    name: str
    body: Mapping[str, Any]


class Patch(msgspec.Struct, frozen=True):
    """Merge this into the object, if that is of this version still (`metadata.resourceVersion`)."""

    kind: Kind
    name: str
    version: str
    body: Mapping[str, Any]

    def __post_init__(self) -> None:
        # To Kubernetes an empty version, or 0, is no condition at all.
        assert self.version not in {"", "0"}, f"{self.name}: a version that was read is what makes a write safe"


class Delete(msgspec.Struct, frozen=True):
    """Remove the object with this uid, if it is of this version still."""

    kind: Kind
    name: str
    uid: str
    version: str

    def __post_init__(self) -> None:
        assert self.uid, f"{self.name}: whoever removes something says what"
        assert self.version not in {"", "0"}, f"{self.name}: a version that was read is what makes a removal safe"


class Read(msgspec.Struct, frozen=True):
    """The object as it is now."""

    kind: Kind
    name: str


class ReadAll(msgspec.Struct, frozen=True):
    """All objects of this kind that are ours, in one state that is not older than the call."""

    kind: Kind


Call = Create | Patch | Delete | Read | ReadAll


class Verdict(StrEnum):
    """How a call ended."""

    DONE = "done"
    TAKEN = "taken"  # 409 AlreadyExists: not made, since the name is taken
    CONFLICT = "conflict"  # 409 Conflict: not carried out, since it is of another version, or another object
    MISSING = "missing"  # 404: there is no such object
    REFUSED = "refused"  # not carried out, and another try will not help
    UNKNOWN = "unknown"  # it may have been carried out, or may still be


class Answer(msgspec.Struct, frozen=True):
    """The answer to one call: the object as it is now, or all of them; and words for people if it was refused."""

    verdict: Verdict
    found: Mapping[str, Any] = {}
    items: tuple[Mapping[str, Any], ...] = ()
    message: str = ""


Steps = Generator[tuple[Call, ...], tuple[Answer, ...], T]


def together(several: Iterable[Steps[T]]) -> Steps[list[T]]:
    """Take all of these steps side by side. Returns what they return, in their order. Raises what one of them raises."""
    steps = list(several)
    results: dict[int, T] = {}
    waiting: dict[int, tuple[Call, ...]] = {}

    def go_on(number: int, answers: tuple[Answer, ...] | None) -> None:
        try:
            waiting[number] = next(steps[number]) if answers is None else steps[number].send(answers)
        except StopIteration as end:
            waiting.pop(number, None)
            results[number] = end.value

    for number in range(len(steps)):
        go_on(number, None)
    while waiting:
        asked = list(waiting.items())
        answers = yield tuple(call for _, calls in asked for call in calls)
        for number, calls in asked:
            go_on(number, answers[: len(calls)])
            answers = answers[len(calls) :]
    return [results[number] for number in range(len(steps))]
