"""The door's process, as the service starts and watches it: it is there from the first visit of a preview on.

Connections are handed over at once, also while it starts: they wait in the socket between the two. If it ends, its
connections end as well, and another one is started when somebody comes, at once or after a pause that grows with each end.
It ends by itself when the service does, also by SIGKILL: its end of the socket is closed then.

One that hangs keeps all that it was given, and never ends. So it is asked all the time whether it is there, and killed if it
does not say so.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from typing import Final

import msgspec
import structlog

from worker_orchestrator.door.channel import Channel, Heard
from worker_orchestrator.door.messages import Changed, Config, Gone, Ping, Pong, Question, asked, encoded
from worker_orchestrator.door.process import MODULE
from worker_orchestrator.http.previews.finding import Finding, Spawn, ToldRoutes
from worker_orchestrator.settings.setting import ENV_PREFIX

__all__ = ["DoorProcess", "can_run"]

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 30.0
GOOD_S: Final = 60.0
"""Having run for so long, it is started again at once if it ends."""
END_S: Final = 2.0
PING_S: Final = 2.0
"""So often it is asked whether it is there. Nothing is counted while the service itself stands still."""
MOST_UNANSWERED: Final = 3
"""So many such questions may be without an answer: it hangs for at least 4 s, or 6, before it is killed."""
START_S: Final = 30.0
"""So long it may take until its first answer, on a computer that is very busy."""

_log = structlog.get_logger(__name__)


def can_run() -> bool:
    """Whether connections can be handed over here: not on Windows, and only where httptools reads them."""
    if not hasattr(socket, "send_fds"):
        return False
    try:
        import httptools  # noqa: F401, PLC0415 # only to see whether it is there
    except ImportError:
        return False
    return True


class DoorProcess:
    """`config` is for the process. `finding` answers its questions, `told` says which answers hold no more."""

    def __init__(self, config: Config, finding: Finding, told: ToldRoutes) -> None:
        self._config, self._finding, self._told = config, finding, told
        self._channel: Channel | None = None
        self._theirs: socket.socket | None = None  # the other end, until the process has it
        self._needed = asyncio.Event()
        self._runs = False  # from its start until it is known to have ended
        self._ends, self._rests_until = 0, 0.0  # in a row, and in loop time
        self._spawn: Spawn | None = None
        self._unanswered, self._has_answered = 0, False  # pings since its last answer
        told.gone = self._tell_gone

    def hand_over(self, descriptor: int, read: bytes) -> bool:
        """Give it this connection, of which these bytes were read. False if it rests, or has too much to do."""
        if self._channel is None:
            if self._spawn is None or self._runs or asyncio.get_running_loop().time() < self._rests_until:
                return False  # what one is given that is about to end would get no reply
            own, self._theirs = socket.socketpair()
            self._channel = Channel(own, Heard(self._hear, lambda connection, _: connection.close(), self._lost))
            self._needed.set()
        return self._channel.hand_over(descriptor, read)

    def tell_changed(self) -> None:
        """Who may see what may have changed: what goes on is looked at again."""
        if self._channel is not None:
            self._channel.tell(encoded(Changed()))

    async def run(self, spawn: Spawn) -> None:
        """Keep it running whenever it is needed, until cancelled. `spawn` runs what goes on beside."""
        self._spawn = spawn
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._needed.wait()
                begun_at, self._runs = loop.time(), True
                how = await self._run_once()
                self._lost()
                self._needed.clear()
                self._runs = False
                self._ends = 1 if loop.time() - begun_at > GOOD_S else self._ends + 1
                pause_s = min(FIRST_PAUSE_S * 2 ** (self._ends - 1), LONGEST_PAUSE_S)
                self._rests_until = loop.time() + pause_s
                _log.warning("the door ended, and starts again when somebody comes", how=how, pause_seconds=pause_s)
        finally:
            self._spawn = None
            self._lost()

    async def _run_once(self) -> str:
        """Until it ends. Returns how that was."""
        theirs, self._theirs = self._theirs, None
        if theirs is None:
            return "what it was to be given could not be sent"
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                MODULE,
                str(theirs.fileno()),
                msgspec.json.encode(self._config).decode(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)},
            )
        except OSError as error:
            return f"it could not be started: {error.strerror or error}"
        finally:
            theirs.close()
        _log.info("the door is open", pid=process.pid)
        watch = asyncio.create_task(self._watch(process))
        try:
            code = await process.wait()
            return "it did not answer, and was killed" if watch.done() else f"exit code {code}"
        finally:
            watch.cancel()
            if process.returncode is None:
                self._lost()  # it ends when it sees that
                await _ended(process)

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Return when it hangs, and was killed."""
        self._unanswered, self._has_answered = 0, False
        while self._channel is not None:
            if self._unanswered >= (MOST_UNANSWERED if self._has_answered else START_S / PING_S):
                _log.error("the door hangs", pid=process.pid, unanswered=self._unanswered)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                return
            self._unanswered += 1
            self._channel.tell(encoded(Ping()))
            await asyncio.sleep(PING_S)
        await asyncio.Event().wait()  # it ends by itself

    def _hear(self, message: bytes) -> None:
        try:
            heard = asked(message)
        except msgspec.MsgspecError:
            _log.error("the door asked what nobody understands")
            return
        if isinstance(heard, Pong):
            self._unanswered, self._has_answered = 0, True
        elif self._spawn is not None:
            self._spawn(self._answer(heard), f"where {heard.host[:100]} leads")

    async def _answer(self, question: Question) -> None:
        assert self._spawn is not None, "nobody asks before it runs"
        route = await self._finding.answer(question, self._spawn)
        if self._channel is not None:
            self._channel.tell(encoded(route))

    def _tell_gone(self, key: str) -> None:
        if self._channel is not None:
            self._channel.tell(encoded(Gone(key)))

    def _lost(self) -> None:
        """It has gone, or is to go: nothing that it was told counts any more."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        if self._theirs is not None:
            self._theirs.close()
            self._theirs = None
        self._told.forget_all()


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Once it has ended, or was killed. Not asyncio.timeout: Python 3.11.2 has none in a task that is being cancelled."""
    ending = asyncio.create_task(process.wait())
    if not (await asyncio.wait({ending}, timeout=END_S))[0]:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    await ending
