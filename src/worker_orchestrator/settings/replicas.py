"""Reads what several replicas of a service have in common, and says what does not go with them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from worker_orchestrator.settings.parsers import text

if TYPE_CHECKING:
    from worker_orchestrator.settings.settings import Settings

__all__ = ["FORWARD", "KUBERNETES", "REDIRECT", "contradictions", "owner", "replica_address"]

KUBERNETES: Final = "kubernetes"
"""The store that replicas share."""
FORWARD: Final = "forward"
REDIRECT: Final = "redirect"
_ALONE: Final = "is for several replicas, but store is sqlite"
_NOT_KEPT: Final = {
    "webhook": "no message of it would outlive its leader",
    "e2b": "what it keeps of sandboxes would end with each leader",
    "mcp": "what it counts for each caller would begin anew with each leader",
}
"""What does not go with this store, and why."""


def owner(value: Any) -> str:
    said = text(value)
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", said):
        raise ValueError("a name of 1 to 40 lower-case letters, digits and hyphens")
    return said


def replica_address(value: Any) -> str:
    """A web address without a path. Raises ValueError."""
    said = text(value).rstrip("/")
    try:
        parts = urlsplit(said)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # its port or its IPv6 address
        is_address = False
    if not is_address or not re.fullmatch(r"https?://[A-Za-z0-9._:\[\]-]{1,255}", said):
        raise ValueError("a URL without a path, such as http://10.0.0.7:9092")
    return said


def contradictions(settings: Settings) -> Iterator[str]:
    """What does not go together, in sentences."""
    if settings.store != KUBERNETES:
        for name in ("owner", "replica_address", "standby"):
            if getattr(settings, name) not in {"", FORWARD}:
                yield f"{name} {_ALONE}. Leave it out, or set store to kubernetes."
        return
    if settings.engine != KUBERNETES:
        yield f"store is kubernetes, but engine is {settings.engine}. Only machines that are pods can be recorded there."
    if not settings.owner:
        yield "store is kubernetes, but owner is not set. Give all replicas of this service the same name."
    for name, why in _NOT_KEPT.items():
        if getattr(settings, name):
            yield f"{name} does not go with store kubernetes: {why}. Leave it out, or set store to sqlite."
    if settings.durability != "process":
        yield "durability is for store sqlite: what Kubernetes has answered is on the disks of its etcd. Leave it out."
    if settings.standby == FORWARD and settings.replica_address.startswith("https:"):
        yield (
            "replica_address begins with https:, and a standby that forwards speaks HTTP with the leader. Name an address "
            "with http:, or set standby to redirect or refuse."
        )
