"""What systemd hands to a service: sockets that it listens on already, and a socket that is told when the service answers.

Both are named in the environment, and taken out of it, so that no process that the service starts takes them for its own.
Sources: https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html, and sd_notify.html beside it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, MutableMapping
from typing import Final

from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.http.server.listening import is_beyond_loopback
from worker_orchestrator.settings.settings import Settings

__all__ = ["take_notifier", "take_sockets"]

_FIRST_DESCRIPTOR: Final = 3


def take_sockets(settings: Settings, environ: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """The sockets that were passed to this process; none if it was not started by a socket. No child inherits them.

    Raises InvalidSetting if they are no TCP sockets, or others than the settings say: by those it is known who may call.
    """
    pid, count, _ = (environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    numbers = range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(count))
    try:
        for number in numbers:
            os.set_inheritable(number, False)  # noqa: FBT003 # its name says what it is
        sockets = [socket.socket(fileno=number) for number in numbers]
    except OSError as error:
        raise InvalidSetting(
            f"LISTEN_FDS says that {count} sockets were passed, but there are not so many: {error.strerror}. "
            "Start the service by its socket unit, or unset LISTEN_FDS."
        ) from None
    for passed in sockets:
        _check(passed, settings)
    return sockets


def _check(passed: socket.socket, settings: Settings) -> None:
    if passed.family not in {socket.AF_INET, socket.AF_INET6} or passed.type != socket.SOCK_STREAM:
        raise InvalidSetting(
            "The socket unit passed something else than a TCP socket. Give it ListenStream=, with an address and a port."
        )
    host, port = passed.getsockname()[:2]
    if port != settings.port:
        raise InvalidSetting(
            f"The socket unit listens on port {port}, and --port is {settings.port}. Set both to the same."
        )
    if is_beyond_loopback(host) and not is_beyond_loopback(settings.host):
        raise InvalidSetting(
            f"The socket unit listens on {host}, which other computers can reach, and --host is {settings.host}. Set --host "
            "to the same address, with a token; or let ListenStream= name 127.0.0.1."
        )


def take_notifier(environ: MutableMapping[str, str] = os.environ) -> Callable[[str], None]:
    """What tells systemd a line such as READY=1. Without systemd, or if it does not listen, nothing happens."""
    address = environ.pop("NOTIFY_SOCKET", "")
    if address.startswith("@"):
        address = f"\0{address[1:]}"  # a name of the abstract namespace

    def tell(line: str) -> None:
        if not address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
                to.setblocking(False)  # noqa: FBT003 # its name says what it is
                to.sendto(line.encode(), address)
        except OSError:
            return  # systemd says itself that it heard nothing

    return tell
