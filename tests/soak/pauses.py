"""The service is stopped for longer than deadlines last: by SIGSTOP, and by `kill -9` with a start much later."""

from __future__ import annotations

import signal
import time
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Final

from tests.integration.calling import call
from tests.integration.receiving import Receiver
from tests.integration.running import Running
from tests.integration.test_webhook import a_port
from tests.integration.waiting import eventually
from tests.soak.act import Act, wait_until
from tests.soak.tenants import KINDS, Tenant, Tenants

from worker_orchestrator.core.lease import SPARED_S

__all__ = ["ServiceFrozen", "ServiceKilled"]

LIMITS_S: Final = (30.0, 45.0)
KEPT, FAR = "kept", "far"
KEPT_S: Final = 58.0
FAR_S: Final = 86_400.0
KEEPS_AFTER_S: Final = 30.0
SETTLES_S: Final = 3.0
AWAY_S: Final = 75.0
FLAGS: Final = ("--min-idle", "4", "--max-machines", "20", "--stop-timeout", "1")


@dataclass(frozen=True, slots=True)
class Back:
    """When the service went on: not before `first`, and by `last` it answered."""

    first: float
    last: float


class _Pause(Act):
    """Deadlines pass while the service does not run. Nothing ends in the minute after that, then all that is due, once."""

    def play(self) -> None:
        with Receiver(a_port()).listening() as receiver:
            flags = (*FLAGS, "--webhook", f"http://127.0.0.1:{receiver.port}/")
            with self.service(*flags) as service, Tenants(service) as tenants:
                begun_at = time.monotonic()
                service.await_idle(4)
                self.prepare(begun_at)
                far = tenants.assign(FAR, ttl=FAR_S)
                kept = tenants.assign(KEPT, ttl=KEPT_S)
                due = [tenants.assign(f"{by}-{limit:g}", **{by: limit}) for limit in LIMITS_S for by in KINDS]
                time.sleep(SETTLES_S)
                self.check(not tenants.lost(), f"lost before anything happened: {tenants.lost()}")
                back = self.pause(service)
                self._judge(service, tenants, back, kept, due)
                self._judge_told(tenants, receiver, back, [*due, kept])
                self.check(far.lost_at is None, "one that has a day left was lost")
                self.check_log(service)

    def prepare(self, begun_at: float) -> None:
        """What must be over before the deadlines begin. Its first minute began at `begun_at`."""

    @abstractmethod
    def pause(self, service: Running) -> Back:
        """The service does not run for longer than the deadlines last."""

    def _judge(self, service: Running, tenants: Tenants, back: Back, kept: Tenant, due: list[Tenant]) -> None:
        wait_until(back.first + KEEPS_AFTER_S)
        kept_at = time.monotonic()
        answer = call(service.ports.api, "POST", f"/v1/projects/{KEPT}/machine/keepalive")
        self.check(answer.status == 204, f"the keepalive is answered with {answer.status}")
        wait_until(back.first + SPARED_S - 0.5)
        self.check(not tenants.lost(), f"lost in the first minute: {tenants.lost()}")
        self.await_ends(due, within_s=15)
        self.check_ends(due, back.first + SPARED_S, back.last + SPARED_S, "after the minute of grace")
        self.await_ends([kept], within_s=KEPT_S)
        self.check_ends([kept], kept_at + KEPT_S, kept_at + KEPT_S + 0.2, f"after a keepalive and its {KEPT_S:g} s")
        eventually(lambda: tenants.ends_told()[KEPT], "it is told", within_s=5)

    def _judge_told(self, tenants: Tenants, receiver: Receiver, back: Back, ended: list[Tenant]) -> None:
        told = tenants.ends_told()
        self.check(told == {one.project: 1 for one in ended}, f"not each end was told once, in the feed: {told}")
        eventually(lambda: "machine.expired" in receiver.types(KEPT), "its webhook is called", within_s=10)
        for one in ended:
            ids = [sent.message["id"] for sent in receiver.of(one.project) if sent.message["type"] == "machine.expired"]
            self.check(len(ids) == 1, f"the webhook was told {len(ids)} times of the end of {one.project}: {ids}")
        early = [sent.message for sent in receiver.sent if back.first < sent.at < back.first + SPARED_S]
        self.check(not early, f"the webhook was told in the minute of grace: {early}")
        self.measured(f"{len(ended)} ends, each told once in the feed and once to the webhook")


class ServiceFrozen(_Pause):
    promise: ClassVar[str] = (
        "SIGSTOP for longer than deadlines last: nothing ends in the minute after that, then all, once"
    )

    def prepare(self, begun_at: float) -> None:
        """Its first minute: what happens after it is not due to the start."""
        wait_until(begun_at + SPARED_S)

    def pause(self, service: Running) -> Back:
        assert service.process is not None
        stopped_at = time.monotonic()
        service.process.send_signal(signal.SIGSTOP)
        self.say(f"SIGSTOP for {self.stage.minutes:g} min")
        wait_until(stopped_at + max(self.stage.minutes * 60, max(LIMITS_S) + 5))
        first = time.monotonic()
        service.process.send_signal(signal.SIGCONT)
        status = service.get("/health").status
        last = time.monotonic()
        self.check(status == 200, f"/health answers {status}")
        self.measured(f"SIGSTOP for {first - stopped_at:.0f} s; it answered {last - first:.2f} s after SIGCONT")
        self.check_said(service)
        return Back(first, last)

    def check_said(self, service: Running) -> None:
        said = "nothing expires for a minute"
        eventually(lambda: said in service.log, f"the log says: {said}", within_s=10)


class ServiceKilled(_Pause):
    promise: ClassVar[str] = "a restart past all deadlines: nothing ends in the minute after that, then all, once"

    def pause(self, service: Running) -> Back:
        service.end(signal.SIGKILL)
        killed_at = time.monotonic()
        self.say(f"kill -9, and a start {AWAY_S:g} s later")
        wait_until(killed_at + AWAY_S)
        first = time.monotonic()
        service.start()
        last = time.monotonic()
        self.measured(f"it was away for {first - killed_at:.0f} s, and answered {last - first:.2f} s after its start")
        return Back(first, last)
