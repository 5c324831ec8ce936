"""The faults. Each is applied once and withdrawn once; both say in a few words what they did."""

from __future__ import annotations

import random
import resource
import select
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import ClassVar, Final

from tests.chaos.harm import Kind, Span
from tests.chaos.model import Row
from tests.chaos.stage import BALLAST, PARKED, Stage, mount
from tests.chaos.values import LATE
from tests.integration.docker_command import docker

__all__ = ["FAULTS", "Fault"]

WATCHED_S: Final = 8.0
"""So long somebody waits for a pause, or for a parked machine. Reserves are looked after more often than that."""
LOOK_S: Final = 0.05


class Fault(ABC):
    """One fault of one run. `holds` is what it has for itself while it lasts, `needs` what must be free when it begins."""

    holds: ClassVar[frozenset[str]] = frozenset()
    needs: ClassVar[frozenset[str]] = frozenset()
    lasts_s: ClassVar[tuple[float, float]] = (0.0, 0.0)
    weight: ClassVar[int] = 2

    def __init__(self, stage: Stage, chance: random.Random) -> None:
        self.stage, self.chance = stage, chance

    @classmethod
    def name(cls) -> str:
        return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in cls.__name__).strip()

    @abstractmethod
    def apply(self) -> str: ...

    def withdraw(self) -> str:
        return ""


# the service


class ServiceKilled(Fault):
    holds = frozenset({"service"})
    lasts_s = (0.1, 2.0)
    weight = 5

    def apply(self) -> str:
        return self.stage.end_service(signal.SIGKILL)

    def withdraw(self) -> str:
        self.stage.want_service()
        return "is started"


class ServiceStopped(ServiceKilled):
    weight = 2

    def apply(self) -> str:
        return self.stage.end_service(signal.SIGTERM)


class ServiceKilledAtPause(ServiceKilled):
    """Right after a container was paused, or let go on, and before the service knows how that ended."""

    needs = frozenset({"daemon"})
    weight = 3

    def apply(self) -> str:
        words = [
            "docker",
            "--host",
            self.stage.daemon.host,
            "events",
            "--filter",
            "event=pause",
            "--filter",
            "event=unpause",
        ]
        with subprocess.Popen([*words, "--format", "{{.Action}}"], stdout=subprocess.PIPE, text=True) as events:
            assert events.stdout is not None
            happened = select.select([events.stdout], [], [], WATCHED_S)[0]
            ended = self.stage.end_service(signal.SIGKILL) if happened else "nothing was paused"
            events.kill()
            said = events.stdout.readline().strip()
        return f"{said}: {ended}" if happened else ended


class ServiceFrozen(Fault):
    holds = frozenset({"service"})
    lasts_s = (0.3, 6.0)
    span: Span | None = None

    def apply(self) -> str:
        self.span = self.stage.harm.begin(Kind.SERVICE_FROZEN)
        did = self.stage.with_process(lambda process: process.send_signal(signal.SIGSTOP))
        return "SIGSTOP" if did else "was down"

    def withdraw(self) -> str:
        assert self.span is not None, "it was applied"
        if self.chance.random() < 0.25:
            how = self.stage.end_service(signal.SIGKILL)
            self.stage.want_service()
        else:
            how = "SIGCONT"
            self.stage.with_process(lambda process: process.send_signal(signal.SIGCONT))
        self.stage.harm.end(self.span)
        return how


class ClockSet(Fault):
    holds = frozenset({"clock"})

    def apply(self) -> str:
        offset_s = self.chance.choice([0.0, self.chance.uniform(-6, 6) * 3600, self.chance.uniform(-90, 90)])
        file = self.stage.service.folder / "offset"
        file.with_suffix(".new").write_text(str(offset_s), encoding="ascii")
        file.with_suffix(".new").replace(file)
        return f"to {offset_s / 60:+.0f} min"


# its disk


class DiskFull(Fault):
    holds = frozenset({"disk"})
    lasts_s = (0.5, 6.0)
    weight = 3
    span: Span | None = None

    @property
    def file(self) -> Path:
        return self.stage.service.state_dir / BALLAST

    def apply(self) -> str:
        self.span = self.stage.harm.begin(Kind.DISK)
        written = 0
        with suppress(OSError), self.file.open("wb", buffering=0) as file:
            while True:
                written += file.write(bytes(4096))
        return f"{written >> 10} KiB written"

    def withdraw(self) -> str:
        assert self.span is not None, "it was applied"
        self.file.unlink()
        self.stage.harm.end(self.span)
        return ""


class WritesFail(Fault):
    """The kernel refuses each write to a file, as a broken disk does (EFBIG instead of EIO)."""

    holds = frozenset({"disk"})
    lasts_s = (0.3, 5.0)
    weight = 3
    span: Span | None = None
    pid = 0

    def apply(self) -> str:
        self.span = self.stage.harm.begin(Kind.DISK)
        return "" if self.stage.with_process(lambda process: self._limit(process.pid, 0)) else "was down"

    def withdraw(self) -> str:
        assert self.span is not None, "it was applied"
        with suppress(ProcessLookupError):
            if self.pid:
                self._limit(self.pid, resource.RLIM_INFINITY)
        self.stage.harm.end(self.span)
        return ""

    def _limit(self, pid: int, size: int) -> None:
        self.pid = pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


class StateReadOnly(Fault):
    """The kernel refuses this while a file is open for writing, so the service is killed first; and cannot come back."""

    holds = frozenset({"disk", "service"})
    lasts_s = (1.5, 4.0)
    span: Span | None = None

    def apply(self) -> str:
        self.span = self.stage.harm.begin(Kind.DISK)
        self.stage.end_service(signal.SIGKILL)
        done = mount("-o", "remount,ro", str(self.stage.service.state_dir))
        self.stage.want_service()
        return "with a kill -9" if done else "REFUSED by the kernel"

    def withdraw(self) -> str:
        assert self.span is not None, "it was applied"
        assert mount("-o", "remount,rw", str(self.stage.service.state_dir)), "it can be written again"
        self.stage.harm.end(self.span)
        return ""


# the daemon


class DaemonFrozen(Fault):
    holds = frozenset({"daemon"})
    needs = frozenset({"containers"})
    lasts_s = (0.5, 6.0)
    weight = 3
    span: Span | None = None

    def apply(self) -> str:
        self.span = self.stage.harm.begin(Kind.DAEMON_FROZEN)
        self.stage.daemon.send(signal.SIGSTOP)
        return "SIGSTOP"

    def withdraw(self) -> str:
        assert self.span is not None, "it was applied"
        self.stage.daemon.send(signal.SIGCONT)
        self.stage.harm.end(self.span)
        return "SIGCONT"


class DaemonStopped(Fault):
    holds = frozenset({"daemon"})
    needs = frozenset({"containers"})
    lasts_s = (0.1, 3.0)
    span: Span | None = None

    def apply(self) -> str:
        self.span = self.stage.harm.begin(Kind.DAEMON_DOWN)
        with self.stage.harm.during(Kind.DAEMON_DYING):
            self.end()
        return ""

    def end(self) -> None:
        self.stage.daemon.stop()

    def withdraw(self) -> str:
        assert self.span is not None, "it was applied"
        self.stage.daemon.start()
        self.stage.harm.end(self.span)
        return "is started"


class DaemonKilled(DaemonStopped):
    weight = 1

    def end(self) -> None:
        self.stage.daemon.kill()

    def withdraw(self) -> str:
        with self.stage.harm.during(Kind.DAEMON_DYING):  # it ends what it finds running
            return super().withdraw()


# containers


class ContainersKilled(Fault):
    needs = frozenset({"daemon"})
    weight = 6
    kind: ClassVar[Kind] = Kind.KILLED
    words: ClassVar[tuple[str, ...]] = ("kill",)

    def apply(self) -> str:
        targets = self.targets()
        with ExitStack() as harms:
            for target in targets:
                harms.enter_context(self.stage.harm.during(self.kind, target))
            if targets:
                docker(*self.words, *targets, host=self.stage.daemon.host, check=False)
        return " ".join(targets)

    def targets(self) -> list[str]:
        """Some that run: of projects, idle, or any."""
        rows = self.stage.rows() or ()
        spared = {row.id for row in rows if self.spares(row)}
        running = sorted(name for name, status in self.stage.containers().items() if status == "running")
        running = [name for name in running if name not in spared]
        assigned = {row.id for row in rows if row.project is not None}
        kind, count = self.chance.random(), self.chance.randint(1, 4)
        chosen = [name for name in running if (name in assigned) == (kind < 0.5)] if kind < 0.85 else running
        return self.chance.sample(chosen, min(count, len(chosen)))

    def spares(self, row: Row) -> bool:
        return False


class ContainersRemoved(ContainersKilled):
    weight = 4
    kind = Kind.REMOVED
    words = ("rm", "-f")


class ContainersPaused(ContainersKilled):
    holds = frozenset({"containers"})
    lasts_s = (0.5, 6.0)
    weight = 3
    kind = Kind.PAUSED
    words = ("pause",)
    paused: Iterable[str] = ()
    is_calm = False

    def apply(self) -> str:
        # containerd waits for ever for a container that was paused while a program began in it, a hook for example
        with self.stage.inside, self.stage.setups.closed() as self.is_calm:
            self.paused = super().apply().split()
        return " ".join(self.paused)

    def spares(self, row: Row) -> bool:
        """One in which a hook may begin, or the program that waits for values where no project has ever been."""
        if row.pool != LATE:
            return False
        if row.generation:
            return not self.is_calm
        return "tar" not in docker("top", row.id, "-eo", "args", host=self.stage.daemon.host, check=False).out

    def withdraw(self) -> str:
        for name in self.paused:
            docker("unpause", name, host=self.stage.daemon.host, check=False)
        return ""


class ReserveMeddled(ContainersKilled):
    """Parked machines are let go on, killed or removed by others; some of them just as they are needed."""

    weight = 5

    def apply(self) -> str:
        how = self.chance.choice(["unpause", "kill", "rm"])
        type(self).kind = {"unpause": Kind.LET_GO_ON, "kill": Kind.KILLED, "rm": Kind.REMOVED}[how]
        type(self).words = ("rm", "-f") if how == "rm" else (how,)
        return f"{how} {super().apply()}"

    def targets(self) -> list[str]:
        until = time.monotonic() + WATCHED_S
        while not (parked := self._parked()) and time.monotonic() < until:
            time.sleep(LOOK_S)
        return self.chance.sample(parked, min(self.chance.randint(1, 4), len(parked)))

    def _parked(self) -> list[str]:
        return sorted(row.id for row in self.stage.rows() or () if row.state == "parked")


class ReserveResized(Fault):
    """Another size at run time, while machines are on their way into the reserve and out of it."""

    holds = frozenset({"reserve"})
    lasts_s = (0.3, 6.0)
    weight = 3

    def apply(self) -> str:
        pool, parked = self.chance.choice(list(PARKED)), self.chance.randint(0, 5)
        return f"{pool} to {parked}" if self.stage.resize(pool, parked) else "was not done"

    def withdraw(self) -> str:
        done = [pool for pool in PARKED if self.stage.resize(pool, None)]
        return " ".join(done)


class PortsTaken(Fault):
    """Listening sockets of others, which never answer: on loopback or on all addresses."""

    holds = frozenset({"ports"})
    lasts_s = (2.0, 15.0)
    weight = 3

    def apply(self) -> str:
        ports = self.stage.service.ports
        self.taken: list[tuple[socket.socket, Span]] = []
        for port in self.chance.sample(range(ports.first, ports.last + 1), 16):
            address = self.chance.choice(["127.0.0.1", "0.0.0.0", "::1"])
            thief = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            span = self.stage.harm.begin(Kind.PORT, str(port))
            try:
                thief.bind((address, port))
                thief.listen()
                self.taken.append((thief, span))
            except OSError:
                thief.close()
                span.ended_at = 0.0  # somebody has it: nothing was harmed
        return " ".join(str(thief.getsockname()[1]) for thief, _ in self.taken)

    def withdraw(self) -> str:
        for thief, span in self.taken:
            thief.close()
            self.stage.harm.end(span)
        return ""


FAULTS: Final[tuple[type[Fault], ...]] = (
    ServiceKilled,
    ServiceKilledAtPause,
    ServiceStopped,
    ServiceFrozen,
    ClockSet,
    DiskFull,
    WritesFail,
    StateReadOnly,
    DaemonFrozen,
    DaemonStopped,
    DaemonKilled,
    ContainersKilled,
    ContainersRemoved,
    ContainersPaused,
    ReserveMeddled,
    ReserveResized,
    PortsTaken,
)
