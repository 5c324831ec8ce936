"""The lease clock: what it shows after a sleep, a jump of the clock on the wall, and a restart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.unit.core.build import a_fleet, a_machine

from worker_orchestrator.clock import Clock
from worker_orchestrator.control.deciding.lease_clock import BEAT_S, DRIFT_S, STAMP_EVERY_S, LeaseClock
from worker_orchestrator.core.expiry import LATE_S
from worker_orchestrator.core.fleet import Fleet
from worker_orchestrator.core.lease import SPARED_S, Lease, Terms
from worker_orchestrator.core.machine import Cause, Change, Holding, Machine
from worker_orchestrator.errors import CommitFailed
from worker_orchestrator.store.store import Store


class FakeClock(Clock):
    """Shows what a test says."""

    def __init__(self) -> None:
        self.wall, self.slept = 1_700_000_000.0, 500.0

    def wall_ms(self) -> int:
        return round(self.wall * 1000)

    def slept_s(self) -> float:
        return self.slept


@dataclass
class Run:
    """One run of the service: its own monotonic clock begins at 50."""

    store: Store
    clock: FakeClock
    fleet: Fleet = field(init=False)
    lease_clock: LeaseClock = field(init=False)
    now: float = 50.0

    def __post_init__(self) -> None:
        self.fleet = a_fleet(*self.store.machines(), now=self.now)
        self.lease_clock = LeaseClock(self.fleet, self.store, self.clock, self.now)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.clock.wall += seconds

    def sleep(self, seconds: float) -> None:
        self.clock.slept += seconds
        self.clock.wall += seconds

    def stand_still(self, seconds: float) -> None:
        """As after SIGSTOP: the monotonic clock goes on."""
        self.pass_time(seconds)

    def run_for(self, seconds: float) -> None:
        """Look at the clock as often as the service does."""
        for _ in range(round(seconds / BEAT_S)):
            self.pass_time(BEAT_S)
            self.beat()

    def beat(self) -> None:
        self.lease_clock.beat(self.now)

    @property
    def shows(self) -> float:
        return self.fleet.lease_time(self.now)

    def spares(self) -> bool:
        return self.shows < self.fleet.nothing_expires_before


LEASED = a_machine(holding=Holding("p", lease=Lease(Terms(ttl=60), 100.0, 200.0)), generation=1)


def put(store: Store, machine: Machine) -> None:
    free = a_machine()
    store.commit([Change(None, free, Cause.ADOPTED)], {}, 1)
    store.commit([Change(free, machine, Cause.ASSIGNED)], {}, 1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "orchestrator.db") as store:
        yield store


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_it_goes_on_while_the_computer_sleeps(store: Store, clock: FakeClock) -> None:
    put(store, LEASED)
    run = Run(store, clock)
    began = run.shows
    run.run_for(SPARED_S + 1)
    assert not run.spares()
    run.sleep(600)
    run.lease_clock.follow(run.now)
    assert run.shows == pytest.approx(began + SPARED_S + 601)
    assert run.spares(), "clients come first after a wake"


@pytest.mark.parametrize("slept", [True, False])
@pytest.mark.parametrize("after_s", [0.0, 0.1, BEAT_S - 0.001])
def test_every_standstill_of_five_seconds_is_noticed_whenever_it_begins(
    store: Store,
    clock: FakeClock,
    after_s: float,
    *,
    slept: bool,
) -> None:
    """The time from the last look to its beginning is all that it may be shorter."""
    put(store, LEASED)
    run = Run(store, clock)
    stop = run.sleep if slept else run.stand_still
    run.run_for(SPARED_S + 1)
    run.pass_time(after_s)
    stop(LATE_S - BEAT_S)
    run.beat()
    assert not run.spares(), "it was shorter"
    run.pass_time(after_s)
    stop(LATE_S + 0.001)
    run.pass_time(BEAT_S - after_s)
    run.beat()
    assert run.spares()
    run.run_for(SPARED_S - 1)
    assert run.spares()
    run.run_for(1)
    assert not run.spares()


def test_a_look_in_between_does_not_hide_a_standstill(store: Store, clock: FakeClock) -> None:
    """Whoever decides something right after it looks first."""
    put(store, LEASED)
    run = Run(store, clock)
    run.run_for(SPARED_S + 1)
    run.stand_still(LATE_S + 0.001)
    run.lease_clock.follow(run.now)
    assert run.spares()
    run.beat()
    assert run.spares()


def test_the_clock_on_the_wall_moves_nothing(store: Store, clock: FakeClock) -> None:
    put(store, LEASED)
    run = Run(store, clock)
    before = run.shows
    for jump_s in (3 * 3600, -6 * 3600):
        clock.wall += jump_s
        run.beat()
    assert run.shows == before
    assert store.meta()["lease_clock"], "it is stored anew with what the clock on the wall shows now"
    run.run_for(5)
    later = Run(store, clock)
    assert later.shows == pytest.approx(before + 5)


def test_the_next_run_knows_how_long_the_service_was_away(store: Store, clock: FakeClock) -> None:
    put(store, LEASED)
    run = Run(store, clock)
    run.beat()
    shown = run.shows
    run.pass_time(STAMP_EVERY_S - 1)  # and it is killed
    clock.wall += 1000
    clock.slept = 0
    again = Run(store, clock)
    assert again.shows == pytest.approx(shown + STAMP_EVERY_S + 999)
    assert again.spares()


def test_a_clock_that_was_put_back_while_the_service_was_away_takes_no_time_away(
    store: Store, clock: FakeClock
) -> None:
    put(store, LEASED)
    run = Run(store, clock)
    run.beat()
    clock.wall -= 1e6
    assert Run(store, clock).shows == pytest.approx(run.shows)


def test_without_a_stored_clock_it_begins_with_the_latest_lease(store: Store, clock: FakeClock) -> None:
    """Nothing says how long ago that was."""
    assert Run(store, clock).shows == 0
    put(store, LEASED)
    assert Run(store, clock).shows == 200


def test_it_is_stored_rarely_and_only_where_a_lease_depends_on_it(store: Store, clock: FakeClock) -> None:
    run = Run(store, clock)
    run.beat()
    assert "lease_clock" not in store.meta()
    put(store, LEASED)
    run = Run(store, clock)
    run.beat()
    commits = store.commits
    for _ in range(int(STAMP_EVERY_S) - 1):
        run.pass_time(1)
        run.beat()
    assert store.commits == commits
    run.pass_time(1)
    run.beat()
    assert store.commits == commits + 1
    clock.wall += DRIFT_S
    run.beat()
    assert store.commits == commits + 2


def test_what_could_not_be_stored_is_stored_at_the_next_look(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, LEASED)
    run = Run(store, clock)
    with monkeypatch.context() as broken:

        def fail(*_: object) -> None:
            raise CommitFailed("disk full")

        broken.setattr(store, "commit", fail)
        run.beat()
    assert "lease_clock" not in store.meta()
    run.beat()
    assert "lease_clock" in store.meta()


def test_the_real_clock_tells_how_long_the_computer_slept() -> None:
    clock = Clock()
    assert clock.slept_s() == pytest.approx(clock.slept_s(), abs=0.01)
    assert clock.slept_s() > -0.01
