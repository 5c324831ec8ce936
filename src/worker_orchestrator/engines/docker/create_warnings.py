"""What an engine warns of when it creates a container. Most of it says that something that was asked for was dropped.

Source: the warnings of `verifyPlatformContainerResources` in Docker's daemon/daemon_unix.go, the same texts since 20.10
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["dropped", "is_worth_telling"]

_KEPT: Final = re.compile(r"memory limited without swap", re.IGNORECASE)
"""The limit of memory itself is in force."""
_DROPPED: Final = re.compile(
    r"discarded|ignor(?:ed|ing)|not supported|does not support|unsupported|no effect|not mounted|networking will not work",
    re.IGNORECASE,
)


def dropped(warnings: Sequence[object]) -> str:
    """The first warning that an option was dropped, in the engine's words; empty if there is none."""
    texts = (plain(warning, 300) for warning in warnings)
    return next((text for text in texts if _DROPPED.search(text) and not _KEPT.search(text)), "")


def is_worth_telling(warning: object) -> bool:
    """Whether this is no mere empty text."""
    return bool(plain(warning).strip())
