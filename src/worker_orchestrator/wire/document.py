"""The JSON shapes of the API document, key by key. https://jcristharif.com/msgspec/structs.html"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["Assigned", "Broken", "Counts", "Failure", "Healthy", "Listed", "Listing", "Message", "decode_object"]


class Assigned(msgspec.Struct):
    """GET /{projectId}. `containerId` is the machine id, as the document has it."""

    ip: str
    port: int | None
    url: str
    containerId: str  # noqa: N815 # the document's key


class Message(msgspec.Struct):
    message: str


class Failure(msgspec.Struct, omit_defaults=True):
    """Every error: what failed and, if that helps, why and what to do."""

    error: str
    message: str = ""


class Counts(msgspec.Struct):
    total: int
    idle: int
    used: int


class Healthy(msgspec.Struct):
    status: str
    docker: str
    machines: Counts


class Broken(msgspec.Struct):
    status: str
    docker: str
    error: str


class Listed(msgspec.Struct):
    """One machine of GET /machines/list. Here `containerId` is the engine's own id."""

    id: str
    containerId: str  # noqa: N815 # the document's key
    ip: str
    port: int | None
    isUsed: bool  # noqa: N815 # the document's key
    assignedProject: str | None  # noqa: N815 # the document's key
    url: str


class Listing(msgspec.Struct):
    machines: list[Listed]


def decode_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object in a request body; None if it holds anything else."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
