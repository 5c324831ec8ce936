"""What the fleet and each of its pools should be. The shell hands it in as data, and the core compares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

__all__ = ["UNKNOWN_POOL", "PoolSpec", "Spec"]


class PoolSpec(msgspec.Struct, frozen=True):
    """What a pool should be.

    `template` is None while the engine cannot say what to run: `pending` means that it is still finding out (an image is
    being pulled), and `problem` says in words what prevents it. A `paused` pool starts and replaces no machine.
    """

    template: str | None
    min_idle: int = 2
    max_idle: int | None = None
    recycle: bool = False
    paused: bool = False
    problem: str = ""
    pending: bool = False


UNKNOWN_POOL: Final = PoolSpec(
    None,
    min_idle=0,
    max_idle=0,
    recycle=True,
    problem="The settings have no pool of this name, so it makes no machines.",
)
"""What a pool should be that machines on record belong to, but that the settings do not name.

Its free machines are retired, and a machine that is released is removed.
"""


class Spec(msgspec.Struct, frozen=True):
    """What the whole fleet should be: sizes, host ports (None: the engine plans addresses) and time limits in seconds.

    `restarts_in_place`: the engine can start an exited instance again with its files. If it cannot, an exited machine of a
    project fails.
    """

    pools: Mapping[str, PoolSpec]
    max_machines: int = 100
    first_port: int | None = 9093
    last_port: int = 65535
    start_timeout_s: float = 60.0
    verify_after_s: float = 1.0
    evidence_s: float = 600.0
    restarts_in_place: bool = True

    def pool(self, name: str) -> PoolSpec:
        """What this pool should be; `UNKNOWN_POOL` if the settings do not name it."""
        return self.pools.get(name, UNKNOWN_POOL)
