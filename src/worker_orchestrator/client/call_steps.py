"""The steps that a call asks its transport to perform: every operation is a generator of them and knows no socket.

So there is one definition of each operation for threads and for asyncio. The client performs a step, and sends what came of
it back into the generator. https://sans-io.readthedocs.io
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import BinaryIO, Generic, TypeAlias, TypeVar

import msgspec

__all__ = [
    "Emit",
    "Flow",
    "NoReply",
    "Outcome",
    "Pause",
    "Read",
    "Reply",
    "Request",
    "Scope",
    "Send",
    "Step",
    "Steps",
    "Upload",
]

_T = TypeVar("_T")


class Upload(msgspec.Struct, frozen=True):
    """A file to send from the position `start`. `size` is None if it cannot seek: then it can be sent only once."""

    file: BinaryIO
    start: int
    size: int | None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request to /v1.

    `takes_s`: how long the service itself may take over it. `waits_s`: for how long a 503 is tried again at most.
    `body_for`: makes the body of a later try from the seconds that are left of `waits_s`. A request that is not `repeatable`
    is sent once, unless no connection was made.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = {}
    body: bytes | Upload | None = None
    repeatable: bool = True
    takes_s: float = 0.0
    waits_s: float | None = None
    body_for: Callable[[float], bytes] | None = None


class Send(msgspec.Struct, frozen=True, kw_only=True):
    """Send the request. Gives a Reply or NoReply. The body of a `streamed` reply below 300 is left for Read.

    `silence_s` is how long no byte may arrive, None for any time.
    """

    request: Request
    connect_s: float
    silence_s: float | None
    streamed: bool = False


class Pause(msgspec.Struct, frozen=True):
    """Wait this long. Gives None."""

    seconds: float


class Read(msgspec.Struct, frozen=True):
    """Read on in the streamed reply. Gives its next bytes, no bytes at its end, or NoReply."""


class Emit(msgspec.Struct, Generic[_T], frozen=True):
    """Hand this value to the caller, who iterates over the results."""

    value: _T


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP response. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NoReply(msgspec.Struct, frozen=True, kw_only=True):
    """No reply arrived, or not to its end.

    `sent`: the service may have received the request all the same. `hopeless`: another try would fail in the same way.
    """

    reason: str
    sent: bool
    hopeless: bool = False


Step: TypeAlias = Send | Pause | Read
Outcome: TypeAlias = Reply | NoReply | bytes | None
Steps: TypeAlias = Generator[Step, Outcome, _T]
"""A call with one result."""
Flow: TypeAlias = Generator[Step | Emit[_T], Outcome, None]
"""A call with many results."""


class Scope(msgspec.Struct, Generic[_T], frozen=True):
    """The calls at the beginning and at the end of a `with` block.

    `meanwhile`: steps to perform beside the block, which are stopped before its end; None for none.
    """

    enter: Callable[[], Steps[_T]]
    leave: Callable[[_T], Steps[None]]
    meanwhile: Callable[[_T], Steps[None] | None] = lambda _: None
