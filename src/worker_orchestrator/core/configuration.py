"""What is known of the configuration of a machine: what a project gave it when it was running already.

The values are in the memory of its worker's container and nowhere else. Here is only how far that is, and a digest under a
key, which tells whether values that come again are the same::

    WRITING   they are being written, or the hook runs
    DONE      all of it is there, and the hook ended well
    FAILED    the hook ended badly
    LOST      it was in memory, and its container has stopped since

A machine that has one is *dirty* also when its project has left it: only a clean one may become idle.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = ["Configuration", "Stage"]


class Stage(StrEnum):
    """How far the configuration of a machine is."""

    WRITING = "writing"
    DONE = "done"
    FAILED = "failed"
    LOST = "lost"


class Configuration(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What is known of the last configuration of a machine.

    `is_certain`: nothing of it is under way that may still land in the container. Until then cleaning would prove nothing.
    `exit_code` is that of the hook (None: there was none, or it was killed), `took_ms` how long the set-up took.
    """

    stage: Stage
    digest: str
    is_certain: bool = False
    exit_code: int | None = None
    took_ms: int | None = None
