"""Docker is stopped for longer than deadlines last, and started; and it is frozen for as long as nobody uses a machine."""

from __future__ import annotations

import signal
import time
from typing import ClassVar, Final

from tests.integration.docker_command import docker
from tests.integration.waiting import eventually
from tests.soak.act import Act, wait_until
from tests.soak.tenants import KINDS, Tenant, Tenants

from worker_orchestrator.core.lease import SPARED_S

__all__ = ["DockerStopped"]

LIMITS_S: Final = (25.0, 40.0)
SETTLES_S: Final = 3.0
AWAY_S: Final = 60.0
SILENT_S: Final = 20.0
FROZEN_S: Final = 45.0
READ_S: Final = 8.0
"""So soon after the engine answers again the machines are read."""
FAR: Final = "far"
FLAGS: Final = ("--min-idle", "2", "--max-machines", "20", "--stop-timeout", "1")


class DockerStopped(Act):
    promise: ClassVar[str] = "nothing ends while Docker is away, nor for idleness right afterwards"

    def play(self) -> None:
        with self.service(*FLAGS) as service, Tenants(service) as tenants:
            begun_at = time.monotonic()
            service.await_idle(2)
            wait_until(begun_at + SPARED_S)
            far = tenants.assign(FAR, ttl=86_400)
            due = [tenants.assign(f"{by}-{limit:g}", **{by: limit}) for limit in LIMITS_S for by in KINDS]
            time.sleep(SETTLES_S)
            self.check(not tenants.lost(), f"lost before anything happened: {tenants.lost()}")
            self._stop(tenants, [far, *due])
            self._judge_stop(tenants, due)
            self._freeze(tenants)
            told = tenants.ends_told()
            ended = {one.project: 1 for one in tenants.all if one is not far}
            self.check(told == ended, f"not each end was told once: {told}")
            self.check(far.lost_at is None, "one that has a day left was lost")
            self.measured(f"{len(told)} ends, each told once")
            self.check_log(service)

    def _stop(self, tenants: Tenants, held: list[Tenant]) -> None:
        """Nobody asks the machines themselves when they are back: that would be use of them."""
        daemon = self.stage.daemon
        stopped_at = time.monotonic()
        daemon.stop()
        self.say(f"Docker is stopped, in {time.monotonic() - stopped_at:.1f} s")
        wait_until(stopped_at + AWAY_S)
        self.check(not tenants.lost(), f"lost while Docker was away: {tenants.lost()}")
        self._started_at = time.monotonic()
        daemon.start()
        names = {one.machine for one in held}
        eventually(lambda: names <= set(docker("ps", "--format", "{{.Names}}").lines), "all run again", within_s=60)
        eventually(lambda: names <= {one["id"] for one in tenants.service.machines()}, "all serve again", within_s=60)
        self._serve_at = time.monotonic()
        away_s, took_s = self._started_at - stopped_at, self._serve_at - self._started_at
        self.measured(f"Docker was away for {away_s:.0f} s; all served again {took_s:.1f} s after its start")

    def _judge_stop(self, tenants: Tenants, due: list[Tenant]) -> None:
        wait_until(self._started_at + SPARED_S - 0.5)
        self.check(not tenants.lost(), f"lost in the minute after Docker's start: {tenants.lost()}")
        self.await_ends(due, within_s=self._serve_at - self._started_at + 20)
        first, last = self._started_at + SPARED_S, self._serve_at + SPARED_S
        self.check_ends(due, first, last, "after the minute that follows Docker's start")

    def _freeze(self, tenants: Tenants) -> None:
        """Its containers run on, but nobody can be asked."""
        silent = [tenants.assign(f"{by}-frozen", **{by: SILENT_S}) for by in KINDS[2:]]
        time.sleep(SETTLES_S)
        frozen_at = time.monotonic()
        self.stage.daemon.send(signal.SIGSTOP)
        try:
            wait_until(frozen_at + FROZEN_S)
            lost = [one.project for one in silent if one.lost_at is not None]
            self.check(not lost, f"lost for idleness while Docker was frozen: {lost}")
        finally:
            goes_on_at = time.monotonic()
            self.stage.daemon.send(signal.SIGCONT)
        self.await_ends(silent, within_s=SILENT_S + READ_S + 10)
        first = goes_on_at + SILENT_S
        self.check_ends(
            silent, first, first + READ_S, f"after Docker answered again and the {SILENT_S:g} s that follow"
        )
