"""Ends a command that was started in a container, with all that it started. Docker has no call for that.

Each command carries a mark in its environment, which its children inherit. A second command, as the same user, looks for
processes with the mark, for their children and for members of their sessions, and kills them until none is left: so it also
finds what went into the background. It is a shell script that uses only builtins, and gets the mark as an argument, so that
it never finds itself.

Limits: a process that wiped its environment *and* left its session *and* outlived its ancestors is not found. A process that
became another user's cannot be killed. The container's own shell is trusted. In a container without a shell the same is done
from outside, if that container's processes run on this computer and we have the right to; there only the mark counts.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Final

import aiodocker

from worker_orchestrator.engines.docker.wire import Wire
from worker_orchestrator.engines.marked import SCRIPT, Search

__all__ = ["kill_inside", "kill_on_this_computer"]

_PASSES: Final = 100


async def kill_inside(client: aiodocker.Docker, native_id: str, mark: str, user: str) -> Search | None:
    """Kill all that bears this mark in this container; None without a shell. Raises DockerError."""
    script = await client.containers.container(native_id).exec(["sh", "-c", SCRIPT, "sh", mark], user=user)
    wire = Wire(client, script.id, tty=False, options={})
    output = bytearray()
    try:
        await wire.open()
        while (message := await wire.read()) is not None:
            output += message.data[: 4 - len(output)]
    finally:
        await wire.close()
    return next((search for search in Search if search.value == bytes(output)), None)


def kill_on_this_computer(mark: str) -> None:
    """Kill all that bears this mark on this computer, as the containers of a local engine do."""
    if sys.platform != "linux":
        return
    for _ in range(_PASSES):
        processes = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        if not [pid for pid in processes if _kill_if_marked(pid, mark)]:
            return


def _kill_if_marked(pid: int, mark: str) -> bool:
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(pid)  # so that the process which is looked at is the one that is killed
        try:
            if mark.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                return True
        finally:
            os.close(handle)
    return False
