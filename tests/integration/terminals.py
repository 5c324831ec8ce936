"""A command on a terminal of its own, as a person runs it: what the screen was sent, keys that are typed, another size."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Screen", "on_a_terminal"]


@dataclass(slots=True)
class Screen:
    """The other side of the terminal: `seen` is all that the command wrote to it."""

    process: subprocess.Popen[bytes]
    near: int
    far: int
    seen: str = ""

    def type(self, keys: str) -> None:
        os.write(self.near, keys.encode())

    def await_text(self, text: str, *, within_s: float = 20.0) -> None:
        """Until it was written since the last `forget`."""
        deadline = time.monotonic() + within_s
        while text not in self.seen:
            assert time.monotonic() < deadline, f"never on the screen: {text!r} in {self.seen!r}"
            self._read(0.1)

    def forget(self) -> None:
        self.seen = ""

    def resize(self, columns: int, rows: int) -> None:
        """As a window does: the command's process hears SIGWINCH."""
        fcntl.ioctl(self.near, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)  # it has this terminal, but does not lead a session of it

    def settings(self) -> list[Any]:
        """What the terminal is set to do: echo, line by line, signals."""
        return termios.tcgetattr(self.far)

    def wait(self, *, within_s: float = 20.0) -> int:
        """Its exit code; reads on meanwhile, since nobody ends whose terminal takes no more."""
        deadline = time.monotonic() + within_s
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end: {self.seen!r}"
            self._read(0.05)
        self._read(0.0)
        return self.process.returncode

    def _read(self, within_s: float) -> None:
        ready, _, _ = select.select([self.near], [], [], within_s)
        if ready:
            with suppress(OSError):
                self.seen += os.read(self.near, 65536).decode(errors="replace")


def _hear_every_signal() -> None:
    """A program inherits what its parent ignores, as with nohup."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def on_a_terminal(
    words: Sequence[str], *, cwd: Path, env: dict[str, str], columns: int = 80, rows: int = 24
) -> Iterator[Screen]:
    """Run this command with a terminal for its standard input, output and error."""
    near, far = pty.openpty()
    fcntl.ioctl(near, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        words,
        stdin=far,
        stdout=far,
        stderr=far,
        cwd=cwd,
        env={**env, "TERM": "xterm"},
        preexec_fn=_hear_every_signal,  # noqa: PLW1509 # nothing here holds a lock that it needs
    )
    screen = Screen(process, near, far)
    try:
        yield screen
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(near)
        os.close(far)
