"""One act of a soak: a service of its own on the dockerd of the run, something that happens to it, and what must hold."""

from __future__ import annotations

import time
import traceback
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tests.integration.daemon import Daemon
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually
from tests.soak.tenants import Tenant
from tests.soak.verdict import BUSY_S, LATE_S, Bounds, Verdict

__all__ = ["Act", "Stage", "wait_until"]


def wait_until(at: float) -> None:
    """For what has its time in a plan, and is no condition."""
    time.sleep(max(0.0, at - time.monotonic()))


@dataclass(frozen=True, slots=True)
class Stage:
    """What all acts of a run share. `minutes`: for how long the long ones last."""

    folder: Path
    daemon: Daemon
    minutes: float
    verdict: Verdict


class Act(ABC):
    """`promise` is what it shows, in one sentence."""

    promise: ClassVar[str]

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    @classmethod
    def name(cls) -> str:
        return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in cls.__name__).strip()

    def run(self) -> None:
        """Whatever goes wrong is part of the verdict, and ends no other act."""
        self.say(self.promise)
        try:
            self.play()
        except Exception:  # noqa: BLE001 # the verdict says what it was
            self.check(False, f"it could not go on:\n{traceback.format_exc()}")  # noqa: FBT003
        self.say("is over")

    @abstractmethod
    def play(self) -> None: ...

    # for those who play

    def service(self, *flags: str, start: bool = True) -> AbstractContextManager[Running]:
        folder = self.stage.folder / self.name().replace(" ", "-")
        return a_service(folder, *flags, docker_host=self.stage.daemon.host, start=start)

    def say(self, text: str) -> None:
        self.stage.verdict.say(self.name(), text)

    def measured(self, text: str) -> None:
        self.stage.verdict.measured(self.name(), text)

    def check(self, holds: object, wrong: str) -> bool:
        return self.stage.verdict.check(holds, self.name(), wrong)

    def check_log(self, service: Running) -> None:
        for word in ("Traceback", "defect"):
            self.check(word not in service.log, f"the log speaks of a {word}:\n{service.log[-4000:]}")

    def await_ends(self, tenants: list[Tenant], *, within_s: float) -> None:
        """Until all of them have lost their machines, or for so long."""
        try:
            eventually(lambda: all(one.lost_at for one in tenants), "all of them end", within_s=within_s)
        except AssertionError:
            left = [one.project for one in tenants if one.lost_at is None]
            self.check(not left, f"still there {within_s:.0f} s later: {left}")

    def check_ends(self, tenants: list[Tenant], first: float, last: float, what: str) -> None:
        """All of them ended between `first`, when they were due, and `last`, with as much delay as may be."""
        ended = [self.check_end(one, first, last) for one in tenants if one.lost_at is not None]
        if ended:
            self.measured(f"{len(ended)} of {len(tenants)} ended {Bounds.of(ended)} {what}")

    def check_end(self, one: Tenant, first: float, last: float) -> float:
        """It was due between `first` and `last`. Returns how many seconds after `first` it ended."""
        assert one.lost_at is not None, f"{one.project} still has its machine"
        self.check(one.lost_at >= first, f"{one.project} lost its machine {first - one.lost_at:.2f} s too early")
        late_s = one.lost_at - last
        self.check(late_s <= LATE_S + BUSY_S, f"{one.project} lost its machine {late_s:.2f} s late")
        return one.lost_at - first
