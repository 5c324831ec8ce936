"""Under `reuse` no tenant finds anything of another one, whatever hooks do and whenever the service is killed.

ROUNDS=1000 pytest tests/integration/test_late_tenants.py takes a quarter of an hour.
"""

from __future__ import annotations

import http.client
import os
import random
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tests.integration.calling import call
from tests.integration.inside import a_probe_image, inside
from tests.integration.late_service import DIRECTORY, FLAGS, put
from tests.integration.running import Running, a_service
from tests.integration.waiting import eventually

ROUNDS = int(os.environ.get("ROUNDS", "24"))
SEED = int(os.environ.get("SEED", "1"))
CLIENTS = 4
CRASHING = Path(__file__).with_name("crashing_service.py")
KEEPS = f"cp -r {DIRECTORY} /dev/shm/kept; (exec 3<{DIRECTORY}/env; export MARK; exec setsid sleep 900) & sleep 0.1"
QUICK_HOOKS = {"true": 200, "exit 3": 424, KEEPS: 200, f"{KEEPS}; exit 1": 424}
HOOKS = {
    **QUICK_HOOKS,
    "sleep 60": 424,
    "yes $MARK | head -c 2000000": 200,
    "trap '' TERM HUP INT; while :; do sleep 60; done": 424,
}
"""What hooks do, and how the request for them is answered."""
POINTS = [
    *[
        (change, when)
        for change in ("configuring", "configured", "released", "cleaned")
        for when in ("before", "after")
    ],
    *[(engine_call, when) for engine_call in ("configure", "hook", "clean") for when in ("before", "during", "after")],
    ("setting-up", "after"),
    ("setup_failed", "after"),
]


@pytest.fixture(scope="module")
def image(example_image: str) -> Iterator[str]:
    with a_probe_image() as tag:
        yield tag


@dataclass(slots=True)
class Tenants:
    """What one client does, over and over: a project comes, looks around, is configured, and leaves."""

    service: Running
    name: str
    chance: random.Random
    hooks: Mapping[str, int] = field(default_factory=lambda: HOOKS)
    rounds: int = 0
    unclean: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def play(self, rounds: int) -> None:
        for _ in range(rounds):
            try:
                self.one()
            except (OSError, http.client.HTTPException):
                return  # the service is gone
            self.rounds += 1

    def one(self) -> None:
        project = f"{self.name}-{self.rounds}"
        answer = self.service.get(f"/{project}", timeout_s=40)
        if answer.status != 200:
            self.broken.append(f"{project}: {answer.status} {answer.text}")
            return
        self.look_around(answer.json, project)
        hook, status = self.chance.choice(list(self.hooks.items()))
        values = {"HOOK": hook, "MARK": f"mark-of-{project}"}, {"A": f"mark-of-{project}"}
        told = put(self.service, project, *values)
        if told.status != status:
            self.broken.append(f"{project} with {hook!r}: {told.status} {told.text}")
        self.service.release(project)

    def look_around(self, worker: Any, project: str) -> None:
        """Whatever bears a mark was left by somebody else. That a process ends meanwhile, as one of ours may, is no find."""
        script = (
            f"ls -A {DIRECTORY}; grep -rls mark-of- {DIRECTORY} /dev/shm /proc/[0-9]*/environ; ps | grep '[s]leep 900'"
        )
        found = inside(worker, script).out
        if found:
            self.unclean.append(f"{project} found in {worker['containerId']}: {found}")


def test_every_tenant_finds_a_clean_machine(image: str, tmp_path: Path) -> None:
    """With hooks that fail, hang, flood, and leave files, open files and processes."""
    flags = ("--image", image, "--min-idle", "2", "--max-machines", "8", *FLAGS, "--late-timeout", "4")
    with a_service(tmp_path / "service", *flags) as service:
        service.await_idle(2)
        crowd = [Tenants(service, f"client-{n}", random.Random(f"{SEED}/{n}")) for n in range(CLIENTS)]
        threads = [Thread(target=client.play, args=(ROUNDS // CLIENTS,)) for client in crowd]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        causes = dict(service.rows("SELECT cause, count(*) FROM event GROUP BY cause"))
    print(
        f"\n{sum(client.rounds for client in crowd)} tenants (seed {SEED}), {causes.get('cleaned', 0)} cleaned machines"
    )
    assert [found for client in crowd for found in client.unclean] == []
    assert [what for client in crowd for what in client.broken] == []
    assert causes.get("cleaned", 0) >= ROUNDS // 4, causes


@pytest.fixture(scope="module")
def mortal(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that is killed again and again, and goes on with what it had."""
    flags = ("--image", image, "--min-idle", "1", "--max-machines", "3", *FLAGS, "--late-timeout", "10")
    with a_service(tmp_path_factory.mktemp("mortal"), *flags) as service:
        service.await_idle(1)
        service.end(signal.SIGKILL)
        yield service


@pytest.mark.parametrize(("what", "when"), POINTS)
def test_no_tenant_finds_anything_after_a_kill(mortal: Running, what: str, when: str) -> None:
    """Between the request, the record, the values, the hook, the reply, the release and the cleaning."""
    if mortal.process is not None:  # the test before this one failed
        mortal.end(signal.SIGKILL)
    mortal.start(command=(sys.executable, str(CRASHING), what, when, "1"), await_answer=False)
    eventually(mortal._answers_or_ended, "the service answers", within_s=30)
    name = f"{what}-{when}"
    before = Tenants(mortal, name, random.Random(f"{SEED}/{name}"), QUICK_HOOKS)
    client = Thread(target=before.play, args=(40,))
    client.start()
    code = mortal.wait()
    client.join()
    assert code == -signal.SIGKILL, f"the crash point was not reached:\n{mortal.log}"
    mortal.start()
    for (project,) in mortal.rows("SELECT project FROM machine WHERE project IS NOT NULL"):
        own = call(mortal.ports.api, "GET", f"/v1/projects/{project}/machine").json
        if own["configured"]:
            assert inside(own, f"cat {DIRECTORY}/secrets/A").out == f"mark-of-{project}"
        mortal.release(project)
    after = Tenants(mortal, f"after-{name}", random.Random(0), QUICK_HOOKS)
    after.play(2)
    dirty = "SELECT id FROM machine WHERE state = 'ready' AND project IS NULL AND configuration <> ''"
    assert mortal.rows(dirty) == []
    mortal.end(signal.SIGKILL)
    assert before.unclean + after.unclean == []
    assert before.broken + after.broken == []
