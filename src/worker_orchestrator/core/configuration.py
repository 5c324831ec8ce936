"""What is known of the configuration of a machine: what a project gave it when it was running already.

The values are in the memory of its worker's container and nowhere else. Here is only how far that is, and a digest under a
key, which tells whether values that come again are the same::

    WRITING   they are being written, or the hook runs; or the service ended meanwhile
    DONE      all of it is there, and the hook ended well
    FAILED    the hook ended badly, or not all of it is there
    LOST      it was being written or was there, in memory, and its container was to stop, or has stopped, since

None of these proves that nothing is there: a container that was to be restarted may not have been. Only a machine that was
cleaned has no configuration again. One that has a configuration is *dirty* also when its project has left it, and only a
clean one may become idle.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec
from msgspec.structs import replace

__all__ = ["NOT_SENT", "UNKNOWN", "Configuration", "Stage"]


class Stage(StrEnum):
    """How far the configuration of a machine is."""

    WRITING = "writing"
    DONE = "done"
    FAILED = "failed"
    LOST = "lost"


class Configuration(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What is known of the last configuration of a machine.

    `is_certain`: nothing that was written before may still land in the container. While it is WRITING that is said of what
    came before it. `exit_code` is that of the hook (None: there was none, or it was killed), `took_ms` how long the set-up
    took. `was_done`: its project had it set up well at some time, so that there may be files in it that nobody else has.
    """

    stage: Stage
    digest: str
    is_certain: bool = False
    exit_code: int | None = None
    took_ms: int | None = None
    was_done: bool = False

    @property
    def is_in_memory(self) -> bool:
        """Whether all or some of it is in the memory of its container, as far as is known."""
        return self.stage in {Stage.WRITING, Stage.DONE}

    @property
    def may_land(self) -> bool:
        """Whether something of it may still be written, whoever has the machine by then. Cleaning would prove nothing."""
        return self.stage is Stage.WRITING or not self.is_certain

    def lost(self) -> Configuration:
        """What is known of it once its container has stopped, or is to stop."""
        return replace(self, stage=Stage.LOST, is_certain=not self.may_land)


UNKNOWN: Final = Configuration(Stage.LOST, "", was_done=True)
"""That of a machine whose record was lost or is old: it may have been configured since, and something may still land."""
NOT_SENT: Final = Configuration(Stage.LOST, "", is_certain=True)
"""That of a machine whose project sent nothing, and that is cleaned all the same: it may wait there for what others send."""
