"""Five who use their machines, each in a way of its own, and how each of them sees that it still has it."""

from __future__ import annotations

import http.client
import threading
from abc import ABC
from contextlib import ExitStack
from typing import Any, ClassVar, Final, Self

from tests.integration.calling import call
from tests.integration.docker_command import docker
from tests.integration.running import Running
from tests.integration.test_command_line import a_terminal
from tests.integration.test_exec_stream import streaming
from tests.integration.test_idle_timeout import one_whose_build_goes_on
from websockets.sync.client import connect

__all__ = ["USERS", "User"]

EVERY_S: Final = 3.0
SOCKET: Final = r"""#!/bin/sh
# A WebSocket that says nothing until it is sent SIGUSR1.
words="${HTTP_SEC_WEBSOCKET_KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
bytes=$(printf %s "$words" | busybox sha1sum | cut -c1-40 | sed 's/../\\x&/g')
printf 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
printf 'Sec-WebSocket-Accept: %s\r\n\r\n' "$(printf "$bytes" | base64)"
trap "printf '\201\005hello'" USR1
echo $$ >/tmp/socket
sleep 86400 & while :; do wait; done
"""


class User(ABC):
    """Uses a machine for as long as its block runs."""

    name: ClassVar[str]

    def __init__(self, service: Running, machine: Any) -> None:
        self.service, self.machine, self.using = service, machine, ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.using.close()

    def trouble(self) -> str:
        """What is wrong with what it was doing all the time; empty if nothing is."""
        return ""


class Asks(User):
    """Small requests to its own port."""

    name = "http"

    def __enter__(self) -> Self:
        self.statuses, self._ended = list[int | str](), threading.Event()
        asking = threading.Thread(target=self._ask)
        asking.start()
        self.using.callback(asking.join)
        self.using.callback(self._ended.set)
        return self

    def _ask(self) -> None:
        while not self._ended.wait(EVERY_S):
            try:
                self.statuses.append(call(self.machine["port"], "GET", "/").status)
            except (OSError, http.client.HTTPException) as error:
                self.statuses.append(repr(error))

    def trouble(self) -> str:
        wrong = [status for status in self.statuses if status != 200]
        return f"of {len(self.statuses)} requests: {wrong}" if wrong or not self.statuses else ""


class Listens(User):
    """A WebSocket on which nothing is said, no ping either."""

    name = "websocket"

    def __enter__(self) -> Self:
        script = "cat >/srv/cgi-bin/socket <<'END'\n" + SOCKET + "END\nchmod +x /srv/cgi-bin/socket"
        docker("exec", self.machine["id"], "sh", "-c", script)
        url = f"ws://127.0.0.1:{self.machine['port']}/cgi-bin/socket"
        self._socket = self.using.enter_context(connect(url, ping_interval=None, close_timeout=1))
        return self

    def trouble(self) -> str:
        docker("exec", self.machine["id"], "sh", "-c", "kill -USR1 $(cat /tmp/socket)")
        try:
            said = self._socket.recv(timeout=10)
        except Exception as error:  # noqa: BLE001 # whatever ended it
            return repr(error)
        return "" if said == "hello" else f"it said {said!r}"


class Runs(User):
    """One command that takes long, over the API."""

    name = "exec"

    def __enter__(self) -> Self:
        command = streaming(self.service, self.machine["id"], "sleep 3500", timeout_seconds=3600)
        assert self.using.enter_context(command).status == 200
        return self

    def trouble(self) -> str:
        processes = docker("exec", self.machine["id"], "ps").out
        return "" if "sleep 3500" in processes else f"the command does not run: {processes}"


class Types(User):
    """A terminal that is open, and at which nobody types."""

    name = "terminal"

    def __enter__(self) -> Self:
        self._screen = self.using.enter_context(a_terminal(self.service, self.machine["assignedProject"]))
        self._screen.type("echo r''eady\r")
        self._screen.await_text("ready")
        self.using.callback(self._screen.type, "exit\r")
        return self

    def trouble(self) -> str:
        self._screen.type("echo st''ill\r")
        try:
            self._screen.await_text("still")
        except (AssertionError, OSError) as error:
            return str(error)
        return ""


class Builds(User):
    """Work of its own that nobody watches."""

    name = "cpu"

    def __enter__(self) -> Self:
        self.using.enter_context(one_whose_build_goes_on(self.service, self.machine))
        return self

    def trouble(self) -> str:
        processes = docker("exec", self.machine["id"], "ps").out
        return "" if "while :" in processes else f"the build does not run: {processes}"


USERS: Final[tuple[type[User], ...]] = (Asks, Listens, Runs, Types, Builds)
