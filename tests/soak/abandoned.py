"""Fifty projects come and never go, while five others use their machines, each in another way."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar, Final

from tests.integration.calling import call
from tests.integration.running import Running
from tests.soak.act import Act, wait_until
from tests.soak.tenants import Tenant, Tenants
from tests.soak.users import USERS, User
from tests.soak.verdict import BUSY_S, LATE_S, Bounds

from worker_orchestrator.core.lease import SPARED_S

__all__ = ["Abandoned"]

VISITORS: Final = 50
MAX_MACHINES: Final = 10
IDLE_S: Final = 20.0
READING_S: Final = IDLE_S / 3
ANOTHER_S: Final = 8.0
"""For a machine to be removed, and another one to be made in its place, on a busy computer."""
FLAGS: Final = (
    "--min-idle",
    "1",
    "--max-machines",
    str(MAX_MACHINES),
    "--stop-timeout",
    "1",
    "--assign-timeout",
    "120",
)
RULES: Final = ("--idle-timeout", f"{IDLE_S:g}", "--idle-cpu", "0.05")


@dataclass(frozen=True, slots=True)
class Visit:
    """One who came: how long it waited, when it looked at its page, and never again."""

    tenant: Tenant
    waited_s: float
    looked_at: float


class Abandoned(Act):
    promise: ClassVar[str] = f"{VISITORS} abandoned projects on {MAX_MACHINES} machines; who uses one keeps it"

    def play(self) -> None:
        with self.service(*FLAGS, *RULES) as service, Tenants(service) as tenants:
            begun_at = time.monotonic()
            with ExitStack() as using:
                users = [using.enter_context(kind(service, self._machine(tenants, kind))) for kind in USERS]
                self.say(f"these use their machines: {', '.join(user.name for user in users)}")
                visits = [self._visit(tenants, number) for number in range(1, VISITORS + 1)]
                last = self._visit(tenants, VISITORS + 1)
                waited_s = last.waited_s
                self.measured(f"project {VISITORS + 1} got a machine after {waited_s:.2f} s; in all it took "
                              f"{time.monotonic() - begun_at:.0f} s")  # fmt: skip
                self._judge(visits, begun_at)
                wait_until(begun_at + self.stage.minutes * 60)
                self._judge_users(tenants, users, time.monotonic() - begun_at)
            left_at = time.monotonic()
            kept = [one for one in tenants.all if one.project in {user.name for user in users}]
            self.await_ends(kept, within_s=2 * IDLE_S + READING_S + LATE_S + BUSY_S)
            ends = [one.lost_at - left_at for one in kept if one.lost_at is not None]
            self.measured(f"those five, once nobody used them any more, ended after {Bounds.of(ends)}")
            self._judge_feed(service, tenants)

    def _machine(self, tenants: Tenants, kind: type[User]) -> object:
        """As its user knows it."""
        tenant = tenants.assign(kind.name)
        return {"id": tenant.machine, "port": tenant.port, "assignedProject": tenant.project}

    def _visit(self, tenants: Tenants, number: int) -> Visit:
        begun_at = time.monotonic()
        tenant = tenants.assign(f"visitor-{number}")
        waited_s = time.monotonic() - begun_at
        status = call(tenant.port, "GET", "/").status
        self.check(status == 200, f"the machine of {tenant.project} answers {status}")
        if waited_s > 1:
            self.say(f"{tenant.project} waited {waited_s:.1f} s")
        return Visit(tenant, waited_s, time.monotonic())

    def _judge(self, visits: list[Visit], begun_at: float) -> None:
        """Nobody lost a machine too early, and nobody waited for longer than that takes."""
        grace_over_at = begun_at + SPARED_S
        later = [visit for visit in visits if visit.tenant.asked_at > grace_over_at]
        longest_s = max((visit.waited_s for visit in later), default=0.0)
        self.measured(f"those who came after the first minute waited {longest_s:.1f} s at most")
        most_s = IDLE_S + READING_S + LATE_S + ANOTHER_S
        self.check(longest_s <= most_s, f"somebody waited {longest_s:.1f} s for a machine: more than {most_s:g} s")
        used_s = [visit.tenant.lost_at - visit.looked_at for visit in later if visit.tenant.lost_at is not None]
        had = Bounds.of(used_s)
        self.measured(f"{len(used_s)} of them have lost their machines by now, {had} after they looked at a page")
        self.check(had.least >= IDLE_S - 0.5, f"one was lost after {had.least:.2f} s")
        most_s = IDLE_S + READING_S + LATE_S + BUSY_S
        self.check(had.most <= most_s, f"one was kept for {had.most:.2f} s")

    def _judge_users(self, tenants: Tenants, users: list[User], passed_s: float) -> None:
        lost = set(tenants.lost())
        for user in users:
            kept = self.check(user.name not in lost, f"{user.name} lost its machine, though it used it")
            trouble = user.trouble() if kept else "it has none"
            self.check(not trouble, f"{user.name}: {trouble}")
        kept_all = [user.name for user in users if user.name not in lost]
        self.measured(f"in use all the time, and kept for {passed_s:.0f} s: {', '.join(kept_all)}")

    def _judge_feed(self, service: Running, tenants: Tenants) -> None:
        self.await_ends(tenants.all, within_s=2 * IDLE_S + READING_S)
        told = tenants.ends_told()
        wrong = {one.project: told[one.project] for one in tenants.all if told[one.project] != 1}
        self.check(not wrong, f"ends that were not told once: {wrong}")
        self.measured(f"{sum(told.values())} ends, each told once")
        self.check_log(service)
