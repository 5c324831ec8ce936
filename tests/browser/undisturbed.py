#!/usr/bin/env python3
"""Starts the program that `UNDISTURBED` names so that it hears nothing of the computer's network: no netlink socket opens.

Chromium drops what it loads (ERR_NETWORK_CHANGED) whenever an interface comes or goes, and each container that another test
starts brings two. Where it cannot hear of them it takes the network as it is. `filters` says how: by a seccomp filter, which
its children inherit.

Sources: https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html, <linux/bpf_common.h>, <linux/audit.h>
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from typing import Final

AF_NETLINK: Final = 16
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER_AT, ARCHITECTURE_AT, FIRST_ARGUMENT_AT = 0, 4, 16
ALLOW, FAIL = 0x7FFF0000, 0x00050000
SOCKET: Final = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""By machine: what the kernel calls its architecture, and the number of the call `socket`."""


def steps(architecture: int, socket: int) -> bytes:
    """The filter: a call of `socket` for a netlink socket fails, all else is as it was."""
    program = (
        (LOAD_WORD, 0, 0, ARCHITECTURE_AT),
        (JUMP_IF_EQUAL, 0, 5, architecture),
        (LOAD_WORD, 0, 0, NUMBER_AT),
        (JUMP_IF_EQUAL, 0, 3, socket),
        (LOAD_WORD, 0, 0, FIRST_ARGUMENT_AT),
        (JUMP_IF_EQUAL, 0, 1, AF_NETLINK),
        (RETURN, 0, 0, FAIL | errno.EAFNOSUPPORT),
        (RETURN, 0, 0, ALLOW),
    )
    return b"".join(struct.pack("=HBBI", *step) for step in program)


def set_filter() -> None:
    known = SOCKET.get(platform.machine())
    if sys.platform != "linux" or known is None:
        return
    held = ctypes.create_string_buffer(filters := steps(*known), len(filters))
    program = struct.pack("@HP", len(filters) // 8, ctypes.addressof(held))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel takes no filter")


if __name__ == "__main__":
    set_filter()
    path = os.environ["UNDISTURBED"]
    os.execv(path, [path, *sys.argv[1:]])  # the browser of the tests
