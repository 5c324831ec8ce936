"""The clock on the wall is set three hours ahead and back, and three hours behind, while deadlines pass."""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from tests.soak.act import Act, wait_until
from tests.soak.tenants import KINDS, Tenant, Tenants
from tests.soak.verdict import Bounds

__all__ = ["ClockSet"]

THREE_H: Final = 3 * 3600.0
STEPS: Final = ((65.0, THREE_H), (95.0, 0.0), (120.0, -THREE_H), (150.0, 0.0))
"""When, in seconds of the act, the clock is set to what, in seconds beside the true time."""
DUE: Final = (
    (80.0, "ttl"), (83.0, "max_age"), (86.0, "idle_timeout"), (89.0, "confirm_within"),
    (105.0, "ttl"), (108.0, "idle_timeout"), (111.0, "max_age"),
    (130.0, "ttl"), (133.0, "max_age"), (136.0, "idle_timeout"), (139.0, "confirm_within"),
    (160.0, "ttl"),
)  # fmt: skip
FAR: Final = "far"
FAR_S: Final = 2 * 3600.0
EXACT_S: Final = 1.0
READ_S: Final = 1.5
"""So soon after an assignment its use is read for the first time: from then on it is known to be quiet."""
NOTICED_S: Final = 8.0
"""After so long a clock that was set is on record for the next start."""
LIBRARY: Final = "/usr/lib/*/faketime/libfaketimeMT.so.1"
FLAGS: Final = ("--min-idle", "2", "--max-machines", "20", "--stop-timeout", "1")


@dataclass(frozen=True, slots=True)
class WallClock:
    """That of one process. Its other clocks and the times of files stay true, and so does all else of this computer."""

    file: Path

    @property
    def command(self) -> tuple[str, ...]:
        libraries = sorted(Path("/").glob(LIBRARY.lstrip("/")))
        assert libraries, "libfaketime is not installed: apt-get install faketime"
        switches = ("FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1")
        named = (f"LD_PRELOAD={libraries[0]}", f"FAKETIME_TIMESTAMP_FILE={self.file}")
        return ("env", *named, *switches, sys.executable, "-m", "worker_orchestrator")

    def set(self, offset_s: float) -> None:
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{offset_s:+.0f}\n", encoding="ascii")
        fresh.replace(self.file)

    def offset_s(self) -> float:
        return float(self.file.read_text(encoding="ascii"))


class ClockSet(Act):
    promise: ClassVar[str] = "the clock on the wall moves no deadline"

    def play(self) -> None:
        clock = WallClock(self.stage.folder / "wall-clock")
        clock.set(0)
        with self.service(*FLAGS, start=False) as service, Tenants(service, clock.offset_s) as tenants:
            service.start(command=clock.command)
            begun_at = time.monotonic()
            due = [self._tenant(tenants, begun_at, at_s, by) for at_s, by in DUE]
            tenants.assign(FAR, **dict.fromkeys(KINDS, FAR_S))
            self._judge_first(tenants, due)
            worst_s = 0.0
            for at_s, offset_s in STEPS:
                wait_until(begun_at + at_s)
                worst_s = max(worst_s, self._set(clock, offset_s, tenants))
            self.measured(f"a deadline that is left moved by {worst_s * 1000:.0f} ms at most when the clock was set")
            self.await_ends(due, within_s=30)
            self._judge_ends(due)
            self._kill(clock, tenants, THREE_H)
            self._kill(clock, tenants, 0)
            told = tenants.ends_told()
            self.check(told == dict.fromkeys((one.project for one in due), 1), f"not each end was told once: {told}")
            self.check_log(service)

    def _tenant(self, tenants: Tenants, begun_at: float, at_s: float, by: str) -> Tenant:
        """One whose deadline passes so long after the begin of the act."""
        limit_s = round(begun_at + at_s - time.monotonic(), 3)
        return tenants.assign(f"{by}-{at_s:g}", **{by: limit_s})

    def _judge_first(self, tenants: Tenants, due: list[Tenant]) -> None:
        """What is told of them at the start is what they asked for."""
        left, now = tenants.remaining(), time.monotonic()
        off_s = [abs(left[one.project] - (one.got_at + one.limit_s - now)) for one in due]
        self.check(max(off_s) <= READ_S, f"a deadline is told wrong by {max(off_s):.2f} s")

    def _set(self, clock: WallClock, offset_s: float, tenants: Tenants) -> float:
        """Set it, and look at once and a little later. Returns by how much a deadline moved at most."""
        before, at = tenants.remaining(), time.monotonic()
        clock.set(offset_s)
        self.say(f"the clock is set to {offset_s / 3600:+.0f} h; deadlines to come: {len(before)}")
        worst_s = 0.0
        for pause_s in (0.0, 3.0):
            time.sleep(pause_s)
            worst_s = max(worst_s, self._moved_s(before, at, tenants))
        return worst_s

    def _moved_s(self, before: dict[str, float], at: float, tenants: Tenants) -> float:
        left, passed_s = tenants.remaining(), time.monotonic() - at
        gone = [project for project in before.keys() - left.keys() if before[project] > passed_s + EXACT_S]
        self.check(not gone, f"lost when the clock was set: {gone}")
        moved = {project: left[project] - before[project] + passed_s for project in before.keys() & left.keys()}
        worst_s = max(map(abs, moved.values()))
        self.check(worst_s <= EXACT_S, f"deadlines moved, in seconds: {moved}")
        return worst_s

    def _judge_ends(self, due: list[Tenant]) -> None:
        late_s = []
        for one in due:
            if one.lost_at is not None:
                read_s = READ_S if one.project.startswith(("idle_timeout", "confirm_within")) else 0.0
                self.check_end(one, one.asked_at + one.limit_s, one.got_at + one.limit_s + read_s)
                late_s.append(one.lost_at - one.got_at - one.limit_s)
        self.measured(f"{len(late_s)} of {len(due)} ended, {Bounds.of(late_s)} after their time")

    def _kill(self, clock: WallClock, tenants: Tenants, offset_s: float) -> None:
        """With a clock that was set and a `kill -9` a little later, the time between is not counted twice."""
        service = tenants.service
        before, at = tenants.remaining()[FAR], time.monotonic()
        clock.set(offset_s)
        time.sleep(NOTICED_S)
        service.end(signal.SIGKILL)
        service.start(command=clock.command)
        moved_s = tenants.remaining()[FAR] - before + time.monotonic() - at
        self.check(abs(moved_s) <= EXACT_S, f"a deadline moved by {moved_s:.2f} s over a restart at {offset_s:+.0f} s")
        self.measured(
            f"over a kill -9 with the clock at {offset_s / 3600:+.0f} h, a deadline moved by {moved_s:+.2f} s"
        )
