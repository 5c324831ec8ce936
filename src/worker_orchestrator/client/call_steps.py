"""What a call says to whatever moves its bytes: every operation is a generator of these steps and knows no socket.

So there is one definition of each operation for threads and for asyncio: a driver performs a step and sends back what
came of it. https://sans-io.readthedocs.io
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import BinaryIO, Generic, TypeAlias, TypeVar

import msgspec

__all__ = [
    "Emit",
    "Flow",
    "Lost",
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
    """A file to send from where it stood. `size` is None for one that cannot seek: that is sent once."""

    file: BinaryIO
    start: int
    size: int | None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request to /v1.

    `takes_s` is how long the service itself may take over it, `waits_s` until when a 503 is asked again at most, and
    `body_in` the body of a later try, by the seconds that are left of them. What is not `repeatable` goes out once, unless
    no connection was made.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = {}
    body: bytes | Upload | None = None
    repeatable: bool = True
    takes_s: float = 0.0
    waits_s: float | None = None
    body_in: Callable[[float], bytes] | None = None


class Send(msgspec.Struct, frozen=True, kw_only=True):
    """Send it, and answer with a Reply or Lost. The body of a `streamed` reply below 300 is left for Read.

    `silence_s` is how long nothing may come, None for ever.
    """

    request: Request
    connect_s: float
    silence_s: float | None
    streamed: bool = False


class Pause(msgspec.Struct, frozen=True):
    seconds: float


class Read(msgspec.Struct, frozen=True):
    """The next bytes of the streamed reply, none at its end, or Lost."""


class Emit(msgspec.Struct, Generic[_T], frozen=True):
    """A value for whoever iterates."""

    value: _T


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """No reply came. `sent`: the service may have got the request all the same. `hopeless`: the next try ends alike."""

    why: str
    sent: bool
    hopeless: bool = False


Step: TypeAlias = Send | Pause | Read
Outcome: TypeAlias = Reply | Lost | bytes | None
Steps: TypeAlias = Generator[Step, Outcome, _T]
Flow: TypeAlias = Generator[Step | Emit[_T], Outcome, None]


class Scope(msgspec.Struct, Generic[_T], frozen=True):
    """What happens at the two ends of a `with` block."""

    enter: Callable[[], Steps[_T]]
    leave: Callable[[_T], Steps[None]]
