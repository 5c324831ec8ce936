"""Tells of the end of a container's main process at the very moment it ends, if this kernel shows us the process.

Docker 26 and later report a death when the network of the container is torn down, 0.2 s late; Podman's events are as late.
The kernel itself reports it at once, by a descriptor of the process (a pidfd). That costs the worker nothing, needs no right
over it, and works for every engine whose processes are visible from here. They are not if the engine is on another
computer, in a virtual machine (Docker Desktop), or outside the process namespace of the service.

Nothing is ever sent to a process, and what is told only casts doubt. So a number that meanwhile belongs to another process
does no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

__all__ = ["CAN_SEE_ENDS", "SHARE_OF_DESCRIPTORS", "MainProcesses"]

CAN_SEE_ENDS: Final = hasattr(os, "pidfd_open")
"""Whether this system has such descriptors: Linux since 5.3."""
SHARE_OF_DESCRIPTORS: Final = 4
"""A quarter of the descriptors that this process may have. The others are for callers, workers and the engine."""


class MainProcesses:
    """The main processes that are followed, each by the id of its container. `told` is called with that id at its end."""

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told
        self._descriptors: dict[str, int] = {}  # by container id
        self._followed: dict[str, int] = {}  # process ids by container id: exactly those of `_descriptors`
        self._ended: dict[
            str, int
        ] = {}  # process ids by container id, until the container is forgotten or starts again

    def __contains__(self, container_id: str) -> bool:
        return container_id in self._descriptors

    @property
    def ended(self) -> Collection[str]:
        """The ids of the containers whose main process is known to have ended."""
        return self._ended.keys()

    @property
    def has_room(self) -> bool:
        """Whether one more may be followed."""
        return len(self._descriptors) < _most()

    def living(self, container_id: str) -> int | None:
        """The number of the main process of this container, which lives; None if it is not followed, or has ended."""
        descriptor = self._descriptors.get(container_id)
        return None if descriptor is None or _is_readable(descriptor) else self._followed[container_id]

    def has_ended(self, container_id: str, pid: int) -> bool:
        """Whether this main process of this container is known to have ended, whatever the engine still shows."""
        return self._ended.get(container_id) == pid

    def follow(self, container_id: str, pid: int) -> bool:
        """Tell when this process ends, instead of any former one of this container.

        False if it cannot be followed: it has ended, it is not visible here, or too many are followed already.
        """
        if self._followed.get(container_id) == pid:
            return True
        descriptor = _descriptor_of(container_id, pid) if self.has_room or container_id in self else None
        if descriptor is None:
            if container_id in self:
                self._note_end(container_id)  # the engine names another process, so that this one has ended
            return False
        self._close(container_id)
        self._ended.pop(container_id, None)
        self._descriptors[container_id], self._followed[container_id] = descriptor, pid
        asyncio.get_running_loop().add_reader(descriptor, self._note_end, container_id)
        return True

    def forget_all_but(self, container_ids: Collection[str]) -> None:
        """Forget the ends in containers that are gone."""
        self._ended = {name: pid for name, pid in self._ended.items() if name in container_ids}

    def close(self) -> None:
        """Follow nothing any more."""
        for container_id in list(self._descriptors):
            self._close(container_id)

    def _note_end(self, container_id: str) -> None:
        self._ended[container_id] = self._followed[container_id]
        self._close(container_id)
        self._told(container_id)

    def _close(self, container_id: str) -> None:
        descriptor = self._descriptors.pop(container_id, None)
        self._followed.pop(container_id, None)
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)


def _descriptor_of(container_id: str, pid: int) -> int | None:
    """A descriptor of this process, which the caller closes; None unless it is visible and belongs to this container.

    It is opened before it is examined: if its number had been given to another process since, it would be readable at once.
    """
    if not CAN_SEE_ENDS or not container_id:
        return None
    try:
        descriptor = os.pidfd_open(pid)
    except (OSError, OverflowError):
        return None
    if _belongs_to(pid, container_id):
        return descriptor
    os.close(descriptor)
    return None


def _is_readable(descriptor: int) -> bool:
    """Whether the process of this descriptor has ended."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _belongs_to(pid: int, container_id: str) -> bool:
    """Whether this process is in a control group of this container: engines name these groups after their containers."""
    with contextlib.suppress(OSError):
        return container_id in Path(f"/proc/{pid}/cgroup").read_text(errors="replace")
    return False


def _most() -> int:
    """How many processes may be followed at once."""
    import resource  # noqa: PLC0415 # not on Windows, where nothing is followed

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 2**16 if soft == resource.RLIM_INFINITY else soft // SHARE_OF_DESCRIPTORS
