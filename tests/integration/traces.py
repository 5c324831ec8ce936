"""What a project leaves behind in its machine and at its URL, and looks for it where others would meet it."""

from __future__ import annotations

import threading
import time
from typing import Final

from tests.integration.calling import call
from tests.integration.docker_command import docker
from tests.integration.running import Running
from tests.integration.waiting import eventually

__all__ = ["KINDS", "FormerUrl", "found_in", "leave"]

MARK: Final = "left-behind"
_PORT: Final = 7777
_LEAVE: Final = f"""
echo {MARK} >/tmp/{MARK}; echo {MARK} >/srv/files/notes; echo {MARK} >/etc/{MARK}
X={MARK} setsid sleep 987654 >/dev/null 2>&1 &
setsid nc -l -p {_PORT} >/dev/null 2>&1 &
"""
_LOOK: Final = rf"""
p='{MARK[:-1]}[{MARK[-1]}]'
[ -n "$(find / -xdev -name "*$p*" 2>/dev/null)" ] && echo files
grep -rqs "$p" /srv /tmp /etc && echo contents
cat /proc/[0-9]*/environ 2>/dev/null | tr '\0' '\n' | grep -q "$p" && echo environment
ps | grep -q '98765[4]' && echo processes
cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ':{_PORT:04X} ' && echo sockets
true
"""
KINDS: Final = ["files", "contents", "environment", "processes", "sockets"]
MINUTE_S: Final = 60.0
_PAUSE_S: Final = 0.1


def leave(machine_id: str) -> None:
    """Leave something of every kind in this machine."""
    docker("exec", machine_id, "sh", "-c", _LEAVE)
    eventually(lambda: found_in(machine_id) == KINDS, "it left something of each kind")


def found_in(machine_id: str) -> list[str]:
    """The kinds of what was left that are in this machine."""
    return docker("exec", machine_id, "sh", "-c", _LOOK).lines


class FormerUrl(threading.Thread):
    """Asks at the URL of a machine from its end on, for a minute. `strangers`: who had its port then, or answered there."""

    def __init__(self, service: Running, machine_id: str, port: int) -> None:
        super().__init__(daemon=True)
        self._service, self._machine_id, self._port = service, machine_id, port
        self._left = threading.Event()
        self.looks, self.strangers = 0, list[str]()

    def run(self) -> None:
        while self._owners():
            if self._left.wait(_PAUSE_S):
                return
        ends_at = time.monotonic() + MINUTE_S - 1  # it may have been gone for a moment
        while time.monotonic() < ends_at and not self._left.wait(_PAUSE_S):
            self.looks += 1
            self.strangers += [*self._owners(), *self._answers()]

    def leave(self) -> None:
        """Ask no more."""
        self._left.set()
        self.join()

    def _owners(self) -> list[str]:
        rows = self._service.rows(f"SELECT id FROM machine WHERE port = {self._port} AND gone = 0")  # a number
        return [str(name) for (name,) in rows]

    def _answers(self) -> list[str]:
        try:
            return [call(self._port, "GET", "/", timeout_s=1).text]
        except OSError:
            return []
