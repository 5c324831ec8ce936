"""What the service and the door tell each other, beside the connections that are handed over.

The door asks where a host leads (`Question`), and the service says it (`Route`). A route that leads to a worker holds until
the service says that it does not any more (`Gone`), or that others may see it now (`Changed`). The service also asks all the
time whether the door does anything at all (`Ping`, `Pong`). What holds for all of it is in `Config`.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = [
    "Asked",
    "Changed",
    "Config",
    "Gone",
    "Kind",
    "Ping",
    "Pong",
    "Question",
    "Route",
    "Shown",
    "Told",
    "asked",
    "encoded",
    "told",
]


class Config(msgspec.Struct, frozen=True):
    """What the service says at the start: domain and scheme of previews, how many connections there may be, how to log.

    `root_path`: that of the service, as in its settings.
    """

    domain: str
    per_client: int
    total: int
    log_format: str = "console"
    scheme: str = "http"
    root_path: str = ""


class Kind(StrEnum):
    """What there is at a host."""

    WORKER = "worker"  # a worker that serves
    COMING = "coming"  # its machine starts, or wakes: try again in a moment
    ASLEEP = "asleep"  # its machine sleeps, and this request does not wake it
    FAILED = "failed"  # its machine failed
    NONE = "none"  # its project has no machine
    UNKNOWN = "unknown"  # no project can have this host
    REFUSED = "refused"  # who asks may not see it, nor hear whether there is anything


class Shown(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a visitor shows to be let in: the parameter of a link, cookies that came of one, the token of the service.

    `address` is that of the visitor, or of its proxy where `way` is what that says of the visitor. Wrong tokens are counted
    by the address; the way only sets those apart that were right before.
    """

    link: str = ""
    passes: tuple[str, ...] = ()
    token: str = ""
    address: str = ""
    way: str = ""

    def __repr__(self) -> str:
        """Without secrets."""
        return "Shown(…)"


class Question(msgspec.Struct, frozen=True, omit_defaults=True, tag="question"):
    """Where this host leads. `visits`: somebody wants to see it, so a machine that sleeps may be woken for that.

    `is_beside`: it is no page that somebody goes to, but what a page of another site loads. That wakes nothing, even with a
    link.
    """

    id: int
    host: str
    visits: bool
    shown: Shown = Shown()
    is_beside: bool = False


class Pong(msgspec.Struct, frozen=True, tag="pong"):
    """The door has heard a `Ping`."""


class Route(msgspec.Struct, frozen=True, omit_defaults=True, tag="route"):
    """The answer to the question with this `id`.

    `key` stands for one assignment of one machine. `rewrites`: the worker is told that it is called `localhost`.
    `detail` is a sentence for people. `wakes`: a visit would wake the machine that sleeps. `is_for_all`: everybody may see
    it, and not only who asked. `ends_in_s`: so long who asked may see it; None: without an end. `cookie` is the value of the
    header Set-Cookie with which somebody enters.
    """

    id: int
    kind: Kind
    project: str = ""
    detail: str = ""
    host: str = ""
    port: int = 0
    key: str = ""
    rewrites: bool = False
    is_for_all: bool = True
    ends_in_s: float | None = None
    cookie: str = ""
    wakes: bool = True


class Gone(msgspec.Struct, frozen=True, tag="gone"):
    """Routes with this key hold no more, and what goes on under them ends."""

    key: str


class Changed(msgspec.Struct, frozen=True, tag="changed"):
    """Who may see what has changed: routes are to be asked for again, also those under which something goes on."""


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """Is to be answered at once."""


Asked = Question | Pong
Told = Route | Gone | Changed | Ping
_questions = msgspec.json.Decoder(Asked)
_told = msgspec.json.Decoder(Told)


def encoded(message: Asked | Told) -> bytes:
    return msgspec.json.encode(message)


def asked(data: bytes) -> Asked:
    """Raises msgspec.MsgspecError."""
    return _questions.decode(data)


def told(data: bytes) -> Told:
    """Raises msgspec.MsgspecError."""
    return _told.decode(data)
