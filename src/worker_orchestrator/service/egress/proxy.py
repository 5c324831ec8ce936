"""One Squid: it listens where workers of one pool reach it, and says what it refused.

What it is told is in memory, handed over as open files, so nothing is left on a disk. If it ends it is started again, after
a pause that grows.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog

from worker_orchestrator.engines.fenced import Fence
from worker_orchestrator.service.egress.configuration import configuration, hosts, own_addresses
from worker_orchestrator.service.egress.launch import MODULE, account
from worker_orchestrator.settings.setting import ENV_PREFIX

__all__ = ["Proxy", "remove_memory", "squid_file"]

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
GOOD_S: Final = 60.0
_DENIED: Final = b" TCP_DENIED"
_READ_BYTES: Final = 64 * 1024
_MOST_LINES: Final = 50
"""So many lines of one reading are looked at one by one, the rest is counted: a worker may ask as often as it likes."""
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 # where Squid has its own

_log = structlog.get_logger(__name__)


def squid_file() -> str | None:
    """Where Squid is on this computer."""
    return shutil.which("squid", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))


def _service_name(owner: str, pool: str = "") -> str:
    digests = [hashlib.sha256(text.encode()).hexdigest()[:8] for text in (owner, pool) if text]
    return "wo" + "".join(digests)


def remove_memory(owner: str, pool: str = "") -> None:
    """Remove what a Squid that was killed left of its shared memory. Without a pool: of all pools."""
    for file in _SHARED_MEMORY.glob(f"{_service_name(owner, pool)}*.shm"):
        with contextlib.suppress(OSError):
            file.unlink()


class Proxy:
    """That of one pool. `refused` gets the address of a worker (empty: several), what it asked for, and how often."""

    def __init__(self, owner: str, pool: str, refused: Callable[[str, str, int], None]) -> None:
        self._owner, self._pool, self._refused = owner, pool, refused
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._files = [os.memfd_create(name) for name in ("squid.conf", "hosts")]
        self._told: tuple[Fence, Sequence[str], str] | None = None
        self._ends, self._begun_at, self._rests_until = 0, 0.0, 0.0
        self._last_words = ""

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def ensure(self, fence: Fence, names: Sequence[str]) -> None:
        """Have it run with these names."""
        text = configuration(fence, names, f"/proc/self/fd/{self._files[1]}", own_addresses())
        if self.runs and self._told == (fence, names, text):
            return
        grows = self._told is not None and self._told[0] == fence and {*self._told[1]} <= {*names}
        if self.runs and not grows:
            await self._end()  # connections to what is allowed no more end as well
        elif not self.runs and self._process is not None and not self._may_start():
            return
        self._write(text, hosts(names))
        self._told = (fence, names, text)
        if self.runs:
            assert self._process is not None
            self._process.send_signal(signal.SIGHUP)
            _log.info("the proxy of a pool has other names", pool=self._pool, names=len(names))
        else:
            await self._start()

    def _may_start(self) -> bool:
        """After an end that nobody wanted: whether its pause is over."""
        now = asyncio.get_running_loop().time()
        if not self._rests_until:
            self._ends = 1 if now - self._begun_at > GOOD_S else self._ends + 1
            pause_s = min(FIRST_PAUSE_S * 2 ** (self._ends - 1), LONGEST_PAUSE_S)
            self._rests_until = now + pause_s
            says = self._last_words[-300:]
            _log.warning("the proxy of a pool ended", pool=self._pool, says=says, pause_seconds=pause_s)
        return now >= self._rests_until

    def _write(self, *texts: str) -> None:
        for file, text in zip(self._files, texts, strict=True):
            os.ftruncate(file, 0)
            os.pwrite(file, text.encode(), 0)

    async def _start(self) -> None:
        squid = squid_file()
        if squid is None:
            return  # it was there at the start, and is looked for again
        remove_memory(self._owner, self._pool)
        told, tells = os.pipe()
        if (ids := account()) is not None:
            os.fchown(tells, *ids)  # it opens the pipe by its name
        loop = asyncio.get_running_loop()
        self._begun_at, self._rests_until, self._last_words = loop.time(), 0.0, ""
        name = _service_name(self._owner, self._pool)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", MODULE, str(os.getpid()), squid),
                *("-N", "-n", name, "-f", f"/proc/self/fd/{self._files[0]}"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=tells,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=self._files,
                env={key: value for key, value in os.environ.items() if not key.startswith(ENV_PREFIX)},
            )
        finally:
            os.close(tells)
        self._reading = asyncio.create_task(self._read(told), name="refusals")
        _log.info("the proxy of a pool runs", pool=self._pool, pid=self._process.pid)

    async def _read(self, told: int) -> None:
        reader = asyncio.StreamReader()
        pipe = os.fdopen(told, "rb")
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        held = b""
        try:
            while data := await reader.read(_READ_BYTES):
                lines = (held + data).split(b"\n")
                held = lines.pop()[-_READ_BYTES:]
                self._take([line for line in lines if _DENIED in line])
                self._last_words = next((it.decode("latin-1") for it in lines if b"FATAL" in it), self._last_words)
        finally:
            transport.close()

    def _take(self, lines: Sequence[bytes]) -> None:
        for line in lines[:_MOST_LINES]:
            address, _, rest = line.decode("latin-1").partition(" ")
            self._refused(address, rest.rpartition(" ")[2], 1)
        if (more := len(lines) - _MOST_LINES) > 0:
            self._refused("", "", more)

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        remove_memory(self._owner, self._pool)

    async def aclose(self) -> None:
        await self._end()
        for file in self._files:
            os.close(file)
