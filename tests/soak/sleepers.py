"""How soon a sleeping project's next assign answers, beside `docker start` and the first answer of the worker."""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from tests.integration.calling import call
from tests.integration.docker_command import docker
from tests.integration.running import Running
from tests.integration.test_sleep import machine, put_to_sleep
from tests.integration.test_wake_speed import start_by_hand
from tests.integration.waiting import eventually
from tests.soak.act import Act

__all__ = ["Sleepers"]

ROUNDS: Final = 30
RATIO: Final = 1.1
FLAGS: Final = ("--min-idle", "1", "--max-machines", "6", "--stop-timeout", "5")


class Sleepers(Act):
    promise: ClassVar[str] = f"an assign wakes a machine within {RATIO} times docker start and its first answer"

    def play(self) -> None:
        with self.service(*FLAGS) as service:
            service.await_idle(1)
            service.assign("p")
            by_us, by_hand = list[float](), list[float]()
            for number in range(ROUNDS):
                by_us.append(self._wake(service, f"{number} by us"))
                by_hand.append(self._wake_by_hand(service, f"{number} by hand"))
            ratio = statistics.median(by_us) / statistics.median(by_hand)
            self.measured(f"woken by an assign in {_quartiles(by_us)}")
            self.measured(f"by docker start and first answer in {_quartiles(by_hand)}")
            self.measured(f"ratio of the medians of {ROUNDS} rounds each, in turn: {ratio:.3f}")
            self.check(ratio <= RATIO, f"to be woken takes {ratio:.3f} times as long as by hand")
            self.check_log(service)

    def _wake(self, service: Running, text: str) -> float:
        before = self._asleep(service, text)
        begun_at = time.monotonic()
        answer = service.get("/p")
        took_s = time.monotonic() - begun_at
        self.check(answer.status == 200, f"the assign is answered with {answer.status}: {answer.text}")
        after = machine(service)
        same = [after[name] == before[name] for name in ("id", "generation", "port")]
        self.check(all(same), f"it is another one: {before}, {after}")
        self._check_file(after["port"], text)
        return took_s

    def _wake_by_hand(self, service: Running, text: str) -> float:
        """While the service does nothing, since it would probe the worker too."""
        asleep = self._asleep(service, text)
        assert service.process is not None
        service.process.send_signal(signal.SIGSTOP)
        try:
            took_s = start_by_hand(asleep["id"], asleep["port"], self.stage.daemon.host.removeprefix("unix://"))
        finally:
            service.process.send_signal(signal.SIGCONT)
        eventually(lambda: machine(service)["state"] == "assigned", "it is awake")
        self._check_file(asleep["port"], text)
        return took_s

    def _asleep(self, service: Running, text: str) -> Any:
        """With a file, and its container stopped."""
        found = machine(service)
        docker("exec", found["id"], "sh", "-c", f"echo '{text}' >/srv/files/note")
        put_to_sleep(service)
        eventually(lambda: "Its container is stopped" in machine(service)["reason"], "its container is stopped")
        return found

    def _check_file(self, port: int, text: str) -> None:
        kept = call(port, "GET", "/files/note").text.strip()
        self.check(kept == text, f"its file says {kept!r} instead of {text!r}")


def _quartiles(values: Sequence[float]) -> str:
    low, middle, high = (each * 1000 for each in statistics.quantiles(values, n=4))
    return f"{middle:.0f} ms (quartiles {low:.0f} and {high:.0f} ms)"
