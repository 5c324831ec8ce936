"""The chaos: clients work, faults come and go in the order of a seed, and the model is asked after each of them.

usage: python -m tests.chaos.chaos --seed N --seconds S [--keep FOLDER]    in namespaces of its own: see test_chaos.py
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.chaos.crowd import Crowd
from tests.chaos.faults import Fault
from tests.chaos.harm import Kind
from tests.chaos.leftovers import back_up, check_leftovers
from tests.chaos.model import Row
from tests.chaos.plan import Step, plan
from tests.chaos.stage import MAX_MACHINES, MIN_IDLE, PARKED, Stage, mount
from tests.integration.calling import call
from tests.integration.daemon import IS_PODMAN, Daemon, a_daemon
from tests.integration.docker_command import docker
from tests.integration.inside import a_probe_image

__all__ = ["main"]

CALM_S: Final = 90.0
"""So soon after the last fault all must be as it should."""
CALM_AFTER_KILL_S: Final = 300.0
"""A dockerd that came back from `kill -9` gives some new containers a network in which nobody reaches them: each of them
costs the pool a start time-out, and the pool tries one at a time."""
PAUSE_S: Final = 0.2


@dataclass(slots=True)
class Chaos:
    """One run."""

    stage: Stage
    seed: int
    seconds: float
    active: dict[int, Fault] = field(default_factory=dict)
    started_again: set[str] = field(default_factory=set)
    repaired: set[tuple[str, str]] = field(default_factory=set)  # machine ids, and what was done

    def run(self) -> None:
        """Until the time is over or something does not hold."""
        stage, crowd = self.stage, Crowd.of(self.stage, self.seed)
        stage.open()
        try:
            self._until_settled()
            crowd.start()
            self._play()
            for number in list(self.active):
                self._withdraw(number)
            crowd.finish()
            stage.timeline.fault("all faults are withdrawn")
            if not stage.model.broken.is_set():
                self._until(lambda: "" if stage.is_up else "the service is not up")
                self._until(lambda: "" if all(stage.resize(pool, None) for pool in PARKED) else "no size can be set")
                with ThreadPoolExecutor(1) as beside:
                    backup = beside.submit(back_up, stage)
                    crowd.go_home()
                    self._until_settled()
                    crowd.ask_all()
                backup.result()
                stage.check()
                self._count_wakes()
                check_leftovers(stage)
        finally:
            crowd.done.set()
            stage.close()

    def _play(self) -> None:
        """The steps of the plan, with its gaps; a step that takes long moves all that follow."""
        begun_at = time.monotonic()
        ends_at = begun_at + self.seconds
        for step in plan(self.seed):
            free_s = min(begun_at + step.at_s, ends_at) - time.monotonic()
            if self.stage.model.broken.wait(max(0.0, free_s)) or time.monotonic() >= ends_at:
                return
            does_at = time.monotonic()
            self._do(step)
            begun_at += time.monotonic() - does_at
            self.stage.check()

    def _do(self, step: Step) -> None:
        if step.ends:
            self._withdraw(step.number)
            return
        chance = random.Random(f"{self.seed}/fault/{step.number}")
        fault = self.active[step.number] = step.kind(self.stage, chance)
        self._tell(step.number, fault, fault.apply())
        self.stage.timeline.count(f"fault {fault.name()}")

    def _withdraw(self, number: int) -> None:
        fault = self.active.pop(number)
        said = fault.withdraw()
        if fault.lasts_s[1]:
            self._tell(number, fault, f"over {said}")

    def _tell(self, number: int, fault: Fault, what: str) -> None:
        self.stage.timeline.fault(f"{number:4} {fault.name()}: {what}")

    # in the end

    def _until_settled(self) -> None:
        self._until(self._unsettled)

    def _until(self, look: Callable[[], str]) -> None:
        calm_s = CALM_AFTER_KILL_S if self.stage.timeline.counts["fault daemon killed"] else CALM_S
        deadline = time.monotonic() + calm_s
        while (wrong := look()) and not self.stage.model.broken.is_set():
            if time.monotonic() > deadline:
                self.stage.model.fail(f"{calm_s:g} s after the last fault: {wrong}")
            time.sleep(PAUSE_S)

    def _unsettled(self) -> str:
        """What is not as it should be when nothing is the matter; empty if all is."""
        stage = self.stage
        if not stage.is_up:
            return "the service is not up"
        health = stage.service.get("/health")
        if health.status != 200:
            return f"/health says {health.text}"
        containers = stage.containers()
        rows = {row.id: row for row in stage.rows() or () if not row.gone}
        if leaked := containers.keys() - rows.keys():
            return f"containers without a record: {leaked}"
        listed = {machine["id"]: machine for machine in stage.service.machines()}
        if wrong := self._unlisted(rows.values(), listed, containers):
            return wrong
        for name, machine in listed.items():
            if containers.get(name) != "running" or not _answers(machine["port"]):
                return f"{name} is {containers.get(name)}, of {machine['assignedProject']}, and does not answer"
        idle = Counter(rows[name].pool for name, machine in listed.items() if name in rows and not machine["isUsed"])
        parked = Counter(row.pool for row in rows.values() if row.state == "parked")
        full = all(idle[pool] >= count for pool, count in MIN_IDLE.items()) and self._has_reserves(parked, len(rows))
        if full:
            return ""
        has = f"{dict(idle)} idle machines of {MIN_IDLE}, {dict(parked)} parked ones of {PARKED}"
        return f"{has}: {sorted(rows.values(), key=str)}"

    def _unlisted(self, rows: Iterable[Row], listed: Collection[str], containers: Mapping[str, str]) -> str:
        """What is not in the list of machines that serve, though it is neither parked nor may have failed for good."""
        for row in rows:
            if row.state == "parked":
                if containers.get(row.id) != "paused":
                    return f"{row.id} is parked on record, and its container is {containers.get(row.id)}"
                continue
            failed = row.state == "failed" and row.project is not None and self.stage.model.may_have_failed(row)
            if row.id not in listed and not failed:
                self._repair(row)
                self._start_again(row)
                return f"not in the list: {row}"
        return ""

    def _has_reserves(self, parked: Mapping[str, int], machines: int) -> bool:
        """Whether each reserve has its size. One that follows demand may be larger, and take the room of the others."""
        if not self.stage.is_adaptive:
            return all(parked[pool] == count for pool, count in PARKED.items())
        return machines == MAX_MACHINES or all(parked[pool] >= count for pool, count in PARKED.items())

    def _count_wakes(self) -> None:
        """How often machines went into a reserve and came out of it, as far as events are kept."""
        counts = dict(self.stage.service.rows("SELECT cause, count(*) FROM event GROUP BY cause"))
        for cause in ("parked", "unparked"):
            self.stage.timeline.counts[f"machines {cause}"] += counts.get(cause, 0)
            self.stage.model.check(counts.get(cause, 0) > 0, f"no machine was ever {cause}")

    def _repair(self, row: Row) -> None:
        """What the reason tells the operator to do, once for each machine, after dockerd was killed."""
        told = next((word for word in ("restart Docker", "containerd-shim") if word in row.reason), "")
        if IS_PODMAN or not told or (row.id, told) in self.repaired:
            return
        self.repaired.add((row.id, told))
        self.stage.timeline.count(f"repair {told}")
        if told == "containerd-shim":
            native = docker(
                "inspect", "--format", "{{.Id}}", row.id, host=self.stage.daemon.host, check=False
            ).out.strip()
            subprocess.run(["pkill", "-KILL", "-f", f"containerd-shim.*{native or row.id}"], check=False)
        else:
            with self.stage.harm.during(Kind.DAEMON_DOWN), self.stage.harm.during(Kind.DAEMON_DYING):
                self.stage.daemon.stop()
                self.stage.daemon.start()

    def _start_again(self, row: Row) -> None:
        """As its owner would, once, where it waits for minutes because it was killed again and again."""
        if row.state == "starting" and row.project is not None and row.id not in self.started_again:
            self.started_again.add(row.id)
            status = call(self.stage.service.ports.api, "POST", f"/v1/machines/{row.id}/restart").status
            self.stage.timeline.count(f"restart {status}")


def _answers(port: int) -> bool:
    try:
        return call(port, "GET", "/health", timeout_s=5).status == 200
    except (OSError, http.client.HTTPException):
        return False


def report(chaos: Chaos, keep: Path | None) -> int:
    """The counts; and if something did not hold, all that helps to find out why. Returns the exit code."""
    stage, timeline = chaos.stage, chaos.stage.timeline
    if keep is not None:
        save(chaos, keep)
    for title, kind in (("calls", "call "), ("faults", "fault ")):
        print(f"{title}: {timeline.summary(kind)}")
    others = [key for key in timeline.counts if not key.startswith(("call ", "fault "))]
    print(", ".join(f"{timeline.counts[key]} {key}" for key in sorted(others)))
    print(f"seed {chaos.seed}, {timeline.now_s:.0f} s, {len(stage.model.violations)} violations", flush=True)
    if not stage.model.violations:
        return 0
    print("\n-- what clients heard of these machines and projects")
    print(*timeline.about(stage.model.names_in_violations, last=30), sep="\n")
    print("\n-- the log of the service ends with")
    print(*stage.service.log.splitlines()[-40:], sep="\n")
    print("\n-- what did not hold")
    print(*stage.model.violations, sep="\n")
    print(f"\nThe same faults again: make chaos SEED={chaos.seed}. All there is to see is in {keep}", flush=True)
    return 1


def save(chaos: Chaos, folder: Path) -> None:
    """Keep what the namespaces take along when they end."""
    stage = chaos.stage
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(stage.service.state_dir, folder)
    shutil.copy(stage.service.log_file, folder / "service.log")
    shutil.copy(stage.daemon.folder / "log", folder / "dockerd.log")
    (folder / "faults.txt").write_text("\n".join(stage.timeline.faults))
    (folder / "calls.txt").write_text("\n".join(stage.timeline.calls))


@contextmanager
def in_memory() -> Iterator[Path]:
    """A folder in which nothing outlives us, for all that is temporary. Wherever the project stands, it stays in sight."""
    folder = Path(tempfile.mkdtemp(prefix="wo-chaos-"))
    assert mount("-t", "tmpfs", "tmpfs", str(folder)), "in a mount namespace of its own, as root"
    tempfile.tempdir = str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = None
        subprocess.run(["umount", "-l", str(folder)], check=False)
        folder.rmdir()


@contextmanager
def an_image_in(daemon: Daemon) -> Iterator[str]:
    """An image in this daemon whose workers let themselves be looked into."""
    os.environ["DOCKER_HOST"] = daemon.host
    with a_probe_image() as image:
        del os.environ["DOCKER_HOST"]
        yield image
        os.environ["DOCKER_HOST"] = daemon.host


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args(words)
    chance = random.Random(given.seed)
    on_release, on_failure = chance.choice(["reuse", "recycle"]), chance.choice(["keep", "replace"])
    sizing = chance.choice(["fixed", "adaptive"])
    ways = f"--on-release {on_release}, --on-setup-failure {on_failure}, --sizing {sizing}"
    print(f"seed {given.seed}, {given.seconds:g} s of faults, {ways}", flush=True)
    with in_memory() as folder, a_daemon() as daemon, an_image_in(daemon) as image:
        stage = Stage.prepare(daemon, folder / "chaos", image, on_release, on_failure, sizing)
        chaos = Chaos(stage, given.seed, given.seconds)
        try:
            chaos.run()
        except Exception:  # noqa: BLE001 # whatever it was, the report says it
            stage.model.fail(f"the chaos itself failed:\n{traceback.format_exc()}")
        return report(chaos, given.keep)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
