"""Tells containers that Docker lost the network of from those that are just ending, which look the same for a moment.

If dockerd is killed while it starts a container, the next one (seen with 28.5) shows it as running, on a network that does
not lead to it: its port is not published, and `docker network connect` is refused. Only a restart of the container helps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from worker_orchestrator.core.instance import Instance

__all__ = ["LOST_AFTER_S", "LostNetworks"]

LOST_AFTER_S: Final = 3.0
"""Since Docker 26 the network of a container that ends is taken down up to 0.3 s before it is shown as ended."""


class LostNetworks:
    """Since when (loop time) the listings have shown which containers without their network, by container id."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def judged(self, instances: Iterable[Instance], as_of: float) -> list[Instance]:
        """These instances of one listing. Nothing is said of the network of one that has lacked it for a short time only."""
        instances = list(instances)
        self._since = {i.native_id: self._since.get(i.native_id, as_of) for i in instances if i.needs_restart}
        return [
            replace(i, needs_restart=False, trouble="")
            if i.needs_restart and as_of - self._since[i.native_id] < LOST_AFTER_S
            else i
            for i in instances
        ]
