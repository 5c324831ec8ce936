"""Becomes Squid, as a user without rights, and ends with the service, also when that is killed.

Its arguments are the process that started it, Squid's file and its arguments. The kernel forgets whose end is to end a
process when that changes its user, so the user comes first.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

__all__ = ["MODULE", "account", "main"]

MODULE: Final = "worker_orchestrator.service.egress.launch"
_PR_SET_PDEATHSIG: Final = 1
_USERS: Final = ("proxy", "squid", "nobody")


def account() -> tuple[int, int] | None:
    """The user and the group that Squid is to have; None: those of this process, which is not root."""
    if os.geteuid() != 0:
        return None
    import pwd  # noqa: PLC0415 # not on Windows

    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = next(known[name] for name in _USERS if name in known)
    return entry.pw_uid, entry.pw_gid


def main() -> None:
    parent, squid, *arguments = sys.argv[1:]
    if (ids := account()) is not None:
        os.setgroups([])
        os.setgid(ids[1])
        os.setuid(ids[0])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit(1)  # it has ended meanwhile
    os.execv(squid, ["squid", *arguments])  # noqa: S606 # no shell is wanted


if __name__ == "__main__":
    main()
